"""Every sampler at so many network calls: the Fréchet distance of its samples, and the seconds that they took.

    python benchmarks/samplers.py ddpm_digits                         all of them at 5, 10, 20 and 50 calls, and the ancestral sampler at 250
    python benchmarks/samplers.py ddpm_fashion_mnist --calls 10 --only ddim,unipc,heun

A trained model draws 1,000 samples, of classes as they are in the data, without guidance, from the same seed by each sampler; features are
those of the frozen classifier, compared with test data. Writes ``benchmarks/samplers_<model>.json``, a table, and a plot beside the file; what
is in the file already is not measured again.
"""

import json
import pathlib
import time

import click

import kgen
from kgen.diffusion import samplers

HERE = pathlib.Path(__file__).parent
# Each on the grid of its own default, and on equal steps of time.
SAMPLERS = {
    "ddim": {},
    "euler": {},
    "euler_ancestral": {},
    "ancestral": {},
    "heun": {},
    "edm": {},
    "dpm_solver_singlestep": {},
    "dpm_solver_multistep": {},
    "dpm_solver_multistep, order 3": {"order": 3},
    "dpm_solver_multistep, stochastic": {"stochastic": True},
    "unipc": {},
    "deis": {},
    "lms": {},
    "pndm": {},
    "predictor_corrector": {},
}


def made(name, calls, grid=None):
    """The sampler with the most steps that cost at most ``calls``, or None where it cannot take a step."""
    kind, options = samplers.names()[name.split(",")[0]], dict(SAMPLERS[name])
    if grid is not None:
        options["grid"] = grid
    fitting = [steps for steps in range(1, calls + 1) if kind(steps, **options).calls() <= calls]
    return kind(fitting[-1], **options) if fitting else None


def measured(model, sampler, y, reference, features):
    """Fréchet distance of 1,000 samples, and the seconds that they took after one call that compiles."""
    labels = None if model.num_classes is None else y[:1000]
    model.sample(250, seed=2, sampler=sampler, labels=None if labels is None else labels[:250], batch_size=250)
    start = time.perf_counter()
    samples = model.sample(1000, seed=1, sampler=sampler, labels=labels, batch_size=250)
    seconds = time.perf_counter() - start
    return kgen.metrics.frechet_distance(reference, features(samples)), seconds


def table(found):
    counts = sorted({int(calls) for row in found.values() for calls in row} - {0})
    floor = found["training data"]["0"]["distance"]
    found = {name: row for name, row in found.items() if name != "training data"}
    lines = ["| sampler, grid | " + " | ".join(f"{c} calls" for c in counts) + " |", "|---" * (len(counts) + 1) + "|"]
    for name, row in sorted(found.items(), key=lambda item: min(v["distance"] for v in item[1].values())):
        cells = [f"{row[str(c)]['distance']:.2f}" if str(c) in row else "" for c in counts]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, f"\nFloor, of 1,000 training pictures: {floor}"])


def plot(found, path, title):
    """One line for each sampler, on the grid that suits it best; those that never come near are left to the table."""
    import matplotlib
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot(
        xscale="log", yscale="log", xlabel="network calls", ylabel="Fréchet distance", title=title
    )
    axes.set_prop_cycle(color=matplotlib.colormaps["tab20"].colors)
    axes.axhline(found["training data"]["0"]["distance"], color="grey", linestyle=":", label="floor")
    nearest = {n: min(v["distance"] for v in row.values()) for n, row in found.items() if n != "training data"}
    best = {}
    for name in sorted(nearest, key=nearest.get):
        if nearest[name] < 20 * nearest[min(nearest, key=nearest.get)]:
            best.setdefault(name.split(" (")[0], name)
    for name in best.values():
        row = found[name]
        points = sorted((int(calls), v["distance"]) for calls, v in row.items())
        axes.plot(*zip(*points, strict=True), marker="o", label=name)
    axes.legend(fontsize=7, ncols=2)
    figure.savefig(path, dpi=120)


@click.command()
@click.argument("model")
@click.option("--data", help="The dataset; by default what stands after the first _ of the model's name.")
@click.option("--calls", default="5,10,20,50", show_default=True, help="Network calls.")
@click.option("--only", default=",".join(n for n in SAMPLERS if "," not in n), help="Samplers, by their short names.")
@click.option(
    "--xla/--no-xla", default=True, help="Whether loops are compiled by XLA: half a minute for each sampler and number."
)
@click.option("--grids", default="own", show_default=True, help="own, or names of grids, separated by commas.")
def main(model, data, calls, only, xla, grids):
    """Measures the samplers on MODEL, a preset's name or a path."""
    data = data or pathlib.Path(model).name.split("_", 1)[1]
    trained = kgen.load(model)
    if not xla:
        trained.compile(jit_compile=False)
    x, y = kgen.data.load(data, split="train")
    test, _ = kgen.data.load(data, split="test")
    features = kgen.metrics.load_classifier(data).features
    reference = features(test)
    path = HERE / f"samplers_{pathlib.Path(model).name}.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    found.setdefault(
        "training data", {"0": {"distance": round(kgen.metrics.frechet_distance(reference, features(x[:1000])), 3)}}
    )
    wanted = [name for name in SAMPLERS if name.split(",")[0] in only.split(",")]
    tasks = [(n, int(c), None if g == "own" else g) for c in calls.split(",") for g in grids.split(",") for n in wanted]
    for name, count, grid in [*tasks, ("ancestral", 250, None)]:
        sampler = made(name, count, grid)
        if sampler is None:
            continue
        key = f"{name} ({type(sampler.grid).__name__})"
        if str(count) in found.get(key, {}):
            continue
        distance, seconds = measured(trained, sampler, y, reference, features)
        found.setdefault(key, {})[str(count)] = {"distance": round(distance, 3), "seconds": round(seconds, 2)}
        click.echo(f"{key:50} {count:4} calls: {distance:8.2f}   {seconds:6.1f} s")
        path.write_text(json.dumps(found, indent=1) + "\n")
    click.echo(table(found))
    plot(found, path.with_suffix(".png"), f"{pathlib.Path(model).name}: 1,000 samples")


if __name__ == "__main__":
    main()
