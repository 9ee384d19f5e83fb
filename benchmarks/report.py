"""``RESULTS.md``: the machine, the tables, the goals."""

import datetime
import pathlib
import platform

import numpy as np

from benchmarks import machine
from benchmarks.plan import GOALS, KGEN

REMARKS = "## Remarks"
_REMARKS_START = f"{REMARKS}\n\nWritten by hand: why goals are missed. The program keeps this section as it is.\n"

PARTS = {
    "a": (
        "(a) Diffusion against diffusers",
        """The same U-Net with the same weights: `kgen.networks.UNet` and `diffusers.UNet2DModel`. Training: noise
prediction, mean squared error, Adam, no averaged weights; kgen inside `fit`, diffusers in a plain torch loop with
`DDPMScheduler.add_noise` over batches that are made beforehand. Sampling: 20 steps of DDIM without noise, from the
seed to a numpy array: `model.sample`, and a loop over `DDIMScheduler.step` under `torch.inference_mode`.""",
    ),
    "b": (
        "(b) The VAE against a plain torch loop",
        """A convolutional encoder and decoder, latent 16, Gaussian likelihood of fixed scale, inside
`fit`, which also logs reconstruction and KL; the same layers in `torch.nn` with the same weights and
`torch.optim.Adam`.""",
    ),
    "d": (
        "(d) Language model against transformers",
        """A GPT-2 of 6 layers, 6 heads and 192 numbers per token, with the same weights: `kgen.autoregressive.GPT` and
`GPT2LMHeadModel`. Greedy generation of 256 tokens after a prompt of 16: `model.generate`, whose loop is one compiled call, and
`generate` with its dynamic cache (its default) and its static one.""",
    ),
    "e": (
        "(e) Steps of other families",
        """The same layers and sizes on both sides, each with weights of its own: `DCGAN` (32 and 64 channels) and a torch
loop with the same two losses; `StyleGAN2` (width 32, mixed styles, no regularisers) and `HierarchicalVAE` (three layers
of latents) and the same in plain torch, with as many weights; kgen's `VAE` and `VQVAE` (256 codes with moving averages)
and pythae's with the same torch layers, in a plain loop around pythae's loss; `NeuralSplineFlow` and `zuko.flows.NSF`,
both autoregressive, of 3 transforms with 8 bins and networks of 2 x 64, over points of the plane. kgen inside `fit`, and
in `sample`.""",
    ),
    "c": (
        "(c) What kgen's step costs over one by hand",
        """One network, one loss, one metric, inside `fit`: by kgen's `objective`, and by the `train_step` of Keras's
guide for the backend. "With kgen's callback" adds to the latter the callback by which kgen's `fit` stops at a loss
that is not finite; with it, as with most callbacks, Keras waits for each step's result before it starts the next.
"Once more" is the same program a second time, and shows what the measurement itself can tell apart.""",
    ),
}

METHOD = """\
One process per framework, each with {threads} threads; they take turns in {rounds} rounds, one at work at a time.
Medians over the rounds. Ratios are taken within a round, peer / this: above 1, this is the faster one. A repetition
is a number of steps inside one `fit`, the first of them not counted. "First run" is what comes before all that:
tracing, compiling, and one or two steps, or one call. On a CPU TensorFlow trains without XLA unless told
`jit_compile=True`, as Keras's `compile` chooses; its sampling loops are compiled by XLA."""

AGREEMENT = """\
The same weights and inputs on both sides; the largest difference, relative to the largest value. Samples are those
of kgen's seed 0, from the same first noise. diffusers counts times from 0 where kgen counts from 1, and where it has
clipped the image it keeps the network's noise; in this check, not in the timed loop, its network is given the later
time and its scheduler `use_clipped_model_output=True`, which makes the two the same process."""


def ratios(comparison, contender):
    """peer/contender in each round: above 1 the contender is the faster one."""
    return np.array(comparison.baseline.seconds) / np.array(contender.seconds)


def _quartiles(values, form):
    low, high = np.percentile(values, [25, 75])
    return f"{form(low)} to {form(high)}"


def _time(seconds):
    return f"{1000 * seconds:.2f}" if seconds < 0.1 else f"{1000 * seconds:.0f}"


def _table(comparison):
    is_overhead = comparison.part == "c"
    last = "over by hand, %" if is_overhead else "peer / this"
    unit = "ms per call" if "sampling" in comparison.title or "Generation" in comparison.title else "ms per step"
    lines = [
        f"### {comparison.title}",
        "",
        f"| | median, {unit} | quartiles | {last} | quartiles | first run, s |",
        "|---|---|---|---|---|---|",
    ]
    form = (lambda r: f"{100 * (1 / r - 1):+.1f}") if is_overhead else (lambda r: f"{r:.2f}")
    for c in comparison.contenders:
        if c.error:
            lines.append(f"| {c.label} | failed: {c.error.strip().splitlines()[-1][:150]} | | | | |")
            continue
        cells = [c.label, _time(np.median(c.seconds)), _quartiles(c.seconds, _time), "", ""]
        if not comparison.baseline.error:
            ratio = ratios(comparison, c)
            cells[3:] = [
                form(np.median(ratio)),
                _quartiles(ratio if not is_overhead else 1 / ratio, lambda q: form(1 / q if is_overhead else q)),
            ]
            if c is comparison.baseline:
                cells[3:] = [form(1.0), ""]
        lines.append("| " + " | ".join([*cells, f"{c.first:.2f}"]) + " |")
    return lines


def _goals(comparisons):
    """One line per goal and comparison: the figure on each backend, and where the goal is met."""
    lines = [
        "| goal | measured in | " + " | ".join(k.removeprefix("kgen, ") for k in KGEN.values()) + " | met on |",
        "|---|---|" + "---|" * (len(KGEN) + 1),
    ]
    for name, (text, reached) in GOALS.items():
        for comparison in (c for c in comparisons if c.goal == name):
            cells, met = [], []
            for label in KGEN.values():
                own = next((c for c in comparison.contenders if c.label == label), None)
                if own is None or own.error or comparison.baseline.error:
                    cells.append("")
                    continue
                ratio = float(np.median(ratios(comparison, own)))
                cells.append(f"{100 * (1 / ratio - 1):+.1f} %" if name == "overhead" else f"{ratio:.2f}x")
                if reached(ratio):
                    met.append(label.removeprefix("kgen, "))
            lines.append(
                f"| {text} | {comparison.title} | " + " | ".join(cells) + f" | {', '.join(met) or '**missed**'} |"
            )
    return lines


def render(comparisons, agreement, versions, rounds, threads, others, quick):
    """The report as Markdown, without remarks.

    Args:
        comparisons: list of ``Comparison`` that have been measured.
        agreement: list of (what, who, largest difference relative to the largest value).
        versions: dict from a package to its version.
        rounds: repetitions of each contender.
        threads: cores used.
        others: share of the machine's processors that other programs took meanwhile, in [0, 1], or None.
        quick: whether this was a trial run.
    """
    today = datetime.date.today().isoformat()
    lines = [
        "# kgen beside its peers",
        "",
        f"Written by `python -m benchmarks{' --quick' if quick else ''}` on {today}.",
        "",
    ]
    if others is not None and others > machine.QUIET:
        lines += [
            "**The machine was busy with something else, from which torch suffers most: rely on no ratio here.**",
            "",
        ]
    if quick:
        lines += ["**A trial run: too few and too short repetitions, on small batches, to mean anything.**", ""]
    named = ", ".join(f"{k} {v}" for k, v in sorted({**versions, "Python": platform.python_version()}.items()))
    lines += [
        f"- Machine: {machine.describe(threads)}.",
        f"- Versions: {named}.",
        *([] if others is None else [f"- Other programs took {100 * others:.1f} % of the processors meanwhile."]),
        "",
        METHOD.format(threads=threads, rounds=rounds),
        "",
        "## Goals",
        "",
        *_goals(comparisons),
        "",
    ]
    if agreement:
        lines += ["## Agreement", "", AGREEMENT, "", "| what | backend | difference |", "|---|---|---|"]
        lines += [*(f"| {what} | {who} | {difference:.1e} |" for what, who, difference in agreement), ""]
    for part, (title, text) in PARTS.items():
        chosen = [c for c in comparisons if c.part == part]
        if chosen:
            lines += [f"## {title}", "", text, ""]
            for comparison in chosen:
                lines += [*_table(comparison), ""]
    return "\n".join(lines)


def write(path, text):
    """Writes the report; what stands under "Remarks" in a file that is there is kept."""
    path = pathlib.Path(path)
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    remarks = old[old.index(REMARKS) :] if REMARKS in old else _REMARKS_START
    path.write_text(f"{text}\n{remarks}", encoding="utf-8")
