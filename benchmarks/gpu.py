"""``python -m benchmarks.gpu``: diffusion on a GPU, kgen on JAX beside diffusers, plain and with ``torch.compile``, on the same weights.

A worker for each program and size, since ``torch.compile`` keeps one shape at a time; all prepare at once and then take turns.
"""

import contextlib
import pathlib
import statistics
import tempfile
import threading

import click
import numpy as np

from benchmarks import agreement
from benchmarks.workers import Contender, Worker, measure, prepare

CASES = (  # title, job, arguments, steps of a turn
    ("Training step, batch 64", "ddpm.train", {"batch": 64, "steps": 50}, 50),
    ("Training step, batch 256", "ddpm.train", {"batch": 256, "steps": 30}, 30),
    ("Sampling, batch 1", "ddpm.sample", {"batch": 1}, 1),
    ("Sampling, batch 64", "ddpm.sample", {"batch": 64}, 1),
)
PROGRAMS = {"kgen, JAX": {}, "diffusers": {}, "diffusers, torch.compile": {"compiled": True}}


@click.command()
@click.option("--size", default="28x28", show_default=True, help="A U-Net of benchmarks/sizes.py.")
@click.option("--rounds", default=9, show_default=True, type=click.IntRange(min=1), help="Turns of each program.")
@click.option("--threads", default=4, show_default=True, type=click.IntRange(min=1), help="Of each program.")
@click.option("--device", default="gpu", type=click.Choice(("gpu", "cpu")), help="cpu to try the command out.")
def main(size, rounds, threads, device):
    """Prints a table: medians of the rounds, and how often kgen is as fast."""
    opened = []

    def worker(label):
        kind = ("kgen", threads, "jax") if label.startswith("kgen") else ("peers", threads)
        opened.append(Worker(*kind, device=device))
        return opened[-1]

    try:
        with tempfile.TemporaryDirectory() as folder:
            reference = _agree(worker("kgen"), worker("peers"), size, pathlib.Path(folder))
            cases = {}
            for title, job, arguments, _ in CASES:
                shared = {"size": size, **arguments}
                cases[title] = [
                    Contender(label, worker(label), job, {**shared, **more, **({"reference": reference} if i else {})})
                    for i, (label, more) in enumerate(PROGRAMS.items())
                ]
            starting = [
                threading.Thread(target=prepare, args=(c, str(i), steps))
                for contenders, (_, _, _, steps) in zip(cases.values(), CASES, strict=True)
                for i, c in enumerate(contenders)
            ]
            for thread in starting:
                thread.start()
            for thread in starting:
                thread.join()
            for (title, contenders), (_, _, _, steps) in zip(cases.items(), CASES, strict=True):
                measure(contenders, rounds, steps, contextlib.nullcontext())
                _say(title, contenders)
    finally:
        for w in opened:
            w.close()


def _agree(kgen, peers, size, folder):
    """Writes kgen's weights to a file, says how far the peer's outputs with them lie from kgen's, and returns the file's name.

    With TensorFloat-32 on both sides they differ by a thousandth, where a CPU's differ by a millionth.
    """
    path, theirs = str(folder / "reference.npz"), str(folder / "peer.npz")
    outputs = kgen.ask("call", job="ddpm.reference", arguments={"size": size, "path": path})["result"]
    peers.ask("outputs", job="ddpm.outputs", arguments={"size": size, "reference": path}, path=theirs)
    with np.load(path) as ours, np.load(theirs) as other:
        for name in outputs:
            print(f"{name}: relative to its range they differ by {agreement.difference(ours[name], other[name]):.1e}")
    return path


def _say(title, contenders):
    print(f"\n{title}\n\n| program | ms | first run, s | kgen is faster by |\n|---|---|---|---|", flush=True)
    kgen = contenders[0]
    for c in contenders:
        if c.error:
            print(f"| {c.label} | failed: {c.error[-600:]} | | |")
            continue
        ratio = "" if c is kgen or kgen.error else f"{_ratio(c, kgen):.2f}x"
        print(f"| {c.label} | {1000 * statistics.median(c.seconds):.2f} | {c.first:.0f} | {ratio} |", flush=True)


def _ratio(peer, kgen):
    return statistics.median(p / k for p, k in zip(peer.seconds, kgen.seconds, strict=True))


if __name__ == "__main__":
    main()
