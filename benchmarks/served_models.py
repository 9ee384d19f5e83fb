"""Every shipped model as a server answers it: writes ``saved_models/README.md``.

    python -m benchmarks.served_models                     all of them
    python -m benchmarks.served_models ddpm_digits ...     some; the figures of the others stay as they are

Each preset, and what no recipe trains (``UNTRAINED``), is exported to a folder that is then gone. ``kgen.serving.verify`` runs every signature
through TensorFlow's C API, with XLA and without, compares the answers with the model's and times them. Exit code 1 if any differ.
"""

import argparse
import json
import os
import pathlib
import sys
import tempfile

FOLDER = pathlib.Path(__file__).parent.parent / "saved_models"
BATCH_SIZES = (1, 8, 32)
HEAD = """\
# The models that the recipes left

`kgen.load("ddpm_digits")` opens one, `kgen sample ddpm_digits -n 64` draws from it. A folder holds the preset (`config.json`,
`model.safetensors` with averaged weights, `metadata.json`, and its card, `README.md`), `metrics.json` with every figure beside its floor, and
pictures. What a server needs is made by `kgen export ddpm_digits`: then the folder is a TF Serving base path, and its `SERVING.md` says how to
start a server on it.

The table is written by `python -m benchmarks.served_models`: each model exported, every signature run through TensorFlow's C API, on which TF
Serving is built, with XLA switched off as in a stock server, and as `<name>_xla` with XLA. TF Serving itself was not at hand. Milliseconds are
the shortest of up to three answers after one that compiles, without network and server. The difference is the largest from what the Keras
model computes, relative to 1 + |value| / 10. Size is what a server loads: graph and the weights in use. A thousand Metropolis steps may end
elsewhere after one rounding that turns a decision, and thirty stochastic steps from a deviation of 80 carry roundings to a little over the
bound of 1e-4: such rows are named below. Each model had one core, two were measured at a time, some beside other work: take the times as bounds.
`ConditionalGAN()`, `Flow()` and `MAF()` are classes that no recipe here trains: as they are made, for digits and for points in the plane.

"""


UNTRAINED = {
    "ConditionalGAN()": lambda kgen: kgen.gan.ConditionalGAN((8, 8, 1), num_classes=10),
    "Flow()": lambda kgen: kgen.flow.Flow(
        (2,), [kgen.flow.ActNorm(), kgen.flow.Coupling(mask=[1, 0]), kgen.flow.Coupling(mask=[0, 1])]
    ),
    "MAF()": lambda kgen: kgen.flow.MAF((2,)),
}


def shipped():
    """Names of the presets, and of the classes that no recipe trains."""
    return sorted({file.parent.name for file in FOLDER.glob("*/metadata.json")} | set(UNTRAINED))


def measure(name):
    """The figures of one model: a dict that JSON can hold."""
    import kgen
    from kgen.serving.verifying import newest

    model = UNTRAINED[name](kgen) if name in UNTRAINED else kgen.load(FOLDER / name)
    with tempfile.TemporaryDirectory() as folder:
        kgen.serving.export(model, folder)
        report = kgen.serving.verify(folder, model, batch_sizes=BATCH_SIZES)
        size = sum(f.stat().st_size for f in newest(folder).rglob("*") if f.is_file())
    print(f"{name}\n{report}\n", flush=True)
    answers = [(a.signature, a.batch, a.seconds, a.difference, a.fault) for a in report]
    return {"model": type(model).__name__, "bytes": size, "answers": answers, "ok": report.ok}


def table(found):
    """The table in Markdown of what ``measure`` gave for each model."""
    times = [f"{n} row{'s' * (n > 1)}: stock, XLA" for n in BATCH_SIZES]
    lines = [f"| model | class | MB | signature | {' | '.join(times)} | difference |", "|---" * (5 + len(times)) + "|"]
    for name, figures in sorted(found.items()):
        by_key = {}
        for signature, batch, *rest in figures["answers"]:  # the first is timed; a fault of the rows' order may follow
            by_key.setdefault((signature, batch), rest)
        signatures = [s for s, n in by_key if n == BATCH_SIZES[0] and not s.endswith("_xla") and s != "serving_default"]
        first = [f"`{name}`", figures["model"], f"{figures['bytes'] / 1e6:.1f}"]
        for signature in signatures:
            cells = []
            for n in BATCH_SIZES:
                pair = (by_key[signature, n], by_key[f"{signature}_xla", n])
                cells.append(", ".join("failed" if seconds is None else _milliseconds(seconds) for seconds, *_ in pair))
            differences = [rest[1] for (s, _), rest in by_key.items() if s in (signature, f"{signature}_xla")]
            lines.append(f"| {' | '.join([*first, f'`{signature}`', *cells, f'{max(differences):.0e}'])} |")
            first = ["", "", ""]
    faults = [
        f"- {name}, `{s}`: {fault}" for name, f in sorted(found.items()) for s, *_, fault in f["answers"] if fault
    ]
    return "\n".join([*lines, *(["", "Differences:", "", *faults] if faults else [])]) + "\n"


def _milliseconds(seconds):
    return f"{1000 * seconds:.3g}" if seconds < 1 else f"{1000 * seconds:,.0f}"


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.served_models", description=__doc__.split("\n")[0])
    parser.add_argument(
        "names", nargs="*", help="folders in saved_models, or classes such as MAF(); all, if none are named"
    )
    names = parser.parse_args().names or shipped()
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from benchmarks.machine import describe

    file = FOLDER / "served.json"
    found = json.loads(file.read_text()) if file.exists() else {}
    for name in names:
        found[name] = measure(name) | {"machine": describe(len(os.sched_getaffinity(0)))}
        file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        machines = sorted({figures["machine"] for figures in found.values()})
        missing = sorted(set(shipped()) - set(found))
        where = f"Measured on {'; '.join(machines)}."
        where += f" Not measured yet: {', '.join(missing)}." if missing else ""
        (FOLDER / "README.md").write_text(f"{HEAD}{where}\n\n{table(found)}", encoding="utf-8")
    sys.exit(0 if all(figures["ok"] for figures in found.values()) else 1)


if __name__ == "__main__":
    main()
