"""One model of each family, and systems by name, trained for the same time on the same data, side by side: ``kgen compare``.

A family's model is its defaults, made a little smaller, with a constant learning rate and averaged weights: what it gives before anyone
tunes it. A system is a class of kgen with its own defaults, given the shape of the data, and their classes where it takes them.
"""

import dataclasses
import datetime
import difflib
import importlib
import inspect
import json
import math
import pathlib
import time
import warnings

import keras
import numpy as np

import kgen
from kgen.backend import keras_private
from kgen.core import checks, pictures
from kgen.core.presets.allowlist import ROOMS
from kgen.core.run import environment
from kgen.core.saving import aside

SAMPLES = 1000  # drawn from each model, if there are as many training examples
LEVELS = {"digits": 17}  # of a pixel; 256 elsewhere


class TimeLimit(keras.callbacks.Callback):
    """Ends training ``seconds`` after the end of its first step, which compiles."""

    def __init__(self, seconds):
        super().__init__()
        self.seconds, self.steps, self.start = seconds, 0, None

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1
        self.start = self.start or time.perf_counter()
        if time.perf_counter() - self.start >= self.seconds:
            keras_private.model_of(self).stop_training = True


@dataclasses.dataclass(frozen=True)
class Data:
    """What the models are trained on and measured against."""

    name: str
    x: np.ndarray
    y: np.ndarray | None
    x_test: np.ndarray
    y_test: np.ndarray | None

    @property
    def shape(self):
        return self.x.shape[1:]

    @property
    def is_images(self):
        return len(self.shape) == 3

    @property
    def num_classes(self):
        return None if self.y is None else int(self.y.max()) + 1

    @property
    def levels(self):
        return LEVELS.get(self.name, 256)


def read(data, image_size=None, seed=0):
    """``Data`` by the name of a dataset or a path, as ``kgen.data.load`` takes them: rows in random order, images rounded to the levels of a pixel.

    Figures take the first so many rows, which in stored order may be of one class; and models of levels take no values between them.
    """
    x, y = kgen.data.load(data, split="train", image_size=image_size, seed=seed)
    x_test, y_test = kgen.data.load(data, split="test", image_size=image_size, seed=seed)
    name = str(data)
    if x.ndim == 4:  # resizing leaves values between the levels, as floats of one's own may have them
        x, x_test = (kgen.data.at_levels(a, LEVELS.get(name, 256)) for a in (x, x_test))
    parts = []
    for rows, labels in ((x, y), (x_test, y_test)):
        order = np.random.default_rng(seed).permutation(len(rows))
        parts += [rows[order].astype("float32"), None if labels is None else labels[order]]
    return Data(name, *parts)


def entries():
    """Dict from the name of each family that can be compared to its ``entry(data)``, which gives a model and its optimizer.

    A family is a room of kgen with a module ``entry``; it may name the backends it needs, and whether it is of images alone.
    """
    found = {}
    for room in sorted(pathlib.Path(kgen.__file__).parent.glob("*/entry.py")):
        found[room.parent.name] = importlib.import_module(f"kgen.{room.parent.name}.entry")
    return {name: found[name] for name in sorted(found, key=lambda n: (found[n].ORDER, n))}


def comparable(data):
    """Names of the families that can be compared on ``data`` with this backend."""
    backend = keras.config.backend()
    return [
        name
        for name, room in entries().items()
        if backend in getattr(room, "BACKENDS", (backend,))
        and (data.is_images or not getattr(room, "IMAGES_ALONE", False))
    ]


def systems():
    """Dict from the name of each system, in small letters, to its class: the models of every room of kgen."""
    rooms = [importlib.import_module(f"kgen.{room}") for room in ROOMS]
    public = [getattr(room, name) for room in rooms for name in getattr(room, "__all__", ())]
    return {c.__name__.lower(): c for c in public if inspect.isclass(c) and issubclass(c, kgen.GenerativeModel)}


def make(system, data):
    """A model of a system for ``data``, of its own defaults.

    Raises:
        ValueError: a name that is none; a system that takes more than data and their classes, or other data; that samples nothing by itself,
            or is not trained by steps.
    """
    known = systems()
    cls = known.get(system.lower().replace("_", "").replace("-", "").strip())
    if cls is None:
        near = difflib.get_close_matches(system.lower(), known, 3, 0.4) or sorted(known)
        raise ValueError(f"systems: expected names of kgen's models, received {system!r}. Near it: {', '.join(near)}.")
    try:
        try:
            model = cls(data.shape, num_classes=data.num_classes)
        except (TypeError, ValueError):  # has no classes, or none by default
            model = cls(data.shape)
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise ValueError(f"systems: {cls.__name__} is not made of data of shape {data.shape} alone: {error}") from error
    sample = {e.name: e for e in model.endpoints()}.get("sample")
    if sample is None:
        raise ValueError(f"systems: {cls.__name__} samples nothing by itself, so there is nothing to compare.")
    more = [n for n, s in sample.inputs.items() if s.default is None and s.kind != "label" and n != "seed"]
    if more:
        raise ValueError(f"systems: {cls.__name__} needs {', '.join(more)} to sample, which the data do not have.")
    if "batch_size" not in inspect.signature(cls.fit).parameters:
        raise ValueError(f"systems: {cls.__name__} is not trained by steps, which minutes could end; fit it by itself.")
    try:
        model.check_data(data.x, _labels(model, data))
    except (TypeError, ValueError) as error:
        raise ValueError(f"systems: {cls.__name__} does not take these data as they are: {error}") from error
    return model


def _labels(model, data):
    return data.y if getattr(model, "num_classes", None) is not None else None


def measure(model, data, seed):
    """Figures of a trained model, as ``{name: {"value", "floor", "unit"}}``, and its samples."""
    labels = None
    large = data.is_images and math.prod(data.shape) > 500
    count = min(500 if large else SAMPLES, len(data.x))
    if getattr(model, "num_classes", None) is not None:
        labels = data.y[:count]
    start = time.perf_counter()
    samples = _drawn(model, count, seed, labels)
    first = time.perf_counter() - start
    if not np.isfinite(samples).all():  # it diverged: that is its figure, and the others go on
        quality = "frechet_distance" if data.is_images else "coverage"
        return {quality: {"value": math.nan, "unit": "not finite: the model diverged"}}, np.zeros_like(samples)
    start = time.perf_counter()  # once more: the first call compiles
    _drawn(model, count, seed + 1, labels)
    seconds = min(first, time.perf_counter() - start)
    figures = {"samples_per_second": {"value": count / seconds, "unit": "1/s"}}
    if data.is_images:
        known = data.name in kgen.metrics.classifiers()
        extractor = kgen.metrics.load_classifier(data.name) if known else _Pixels()
        report = kgen.metrics.fidelity_report(
            np.clip(samples, -1, 1), train=data.x, test=data.x_test, extractor=extractor
        )
        figures |= {k: v for k, v in report.items() if k in ("frechet_distance", "precision", "recall", "coverage")}
        bits = _bits_per_dim(model, data)
        if bits is not None:
            figures["bits_per_dim"] = {"value": bits, "unit": f"bits/dim, {data.levels} levels"}
    else:
        rows = min(count, len(data.x_test))
        distances = [kgen.metrics.sliced_wasserstein_distance(data.x_test[:rows], a[:rows]) for a in (samples, data.x)]
        figures["sliced_wasserstein"] = {"value": distances[0], "floor": distances[1], "unit": "units of the data"}
        coverage = [kgen.metrics.density_coverage(data.x_test[:rows], a[:rows])[1] for a in (samples, data.x)]
        figures["coverage"] = {"value": coverage[0], "floor": coverage[1], "unit": "share"}
        toy = kgen.data.TOYS.get(data.name)
        modes = getattr(toy(), "modes", None) if toy else None
        if modes is not None:
            found, ideal = (kgen.metrics.mode_coverage(a[:rows], modes, toy().scale) for a in (samples, data.x))
            figures["modes"] = {"value": found["modes"], "floor": ideal["modes"], "unit": f"of {len(modes)}"}
            figures["near_a_mode"] = {"value": found["share"], "floor": ideal["share"], "unit": "share within 3 sd"}
        if model.likelihood == "exact":
            nats = -float(np.mean(model.log_prob(data.x_test[:1000])))
            figures["nats"] = {"value": nats, "unit": "nats per point, test"}
    return figures, samples


def _drawn(model, count, seed, labels):
    """Samples; NaN where the model's chains diverged."""
    try:
        return model.sample(count, seed=seed, **({} if labels is None else {"labels": labels}))
    except ArithmeticError:
        return np.full((count, *model.shape), np.nan, "float32")


def _bits_per_dim(model, data):
    """Bits of the levels of a pixel, where the model has a probability of these; None for densities, or no likelihood at all."""
    if not hasattr(model, "bits_per_dim") or not getattr(model, "has_levels", False):
        return None
    options = {"levels": data.levels} if "levels" in inspect.signature(model.log_prob).parameters else {}
    if getattr(model, "num_classes", None) is not None:
        options["labels"] = data.y_test[:200]
    return float(np.mean(model.bits_per_dim(data.x_test[:200], **options)))


class _Pixels:
    """The images themselves, brought to at most 64 numbers by averages over blocks: for data without a classifier."""

    name = "pixels, averaged over blocks"

    def features(self, images):
        side = 8 if images.shape[-1] == 1 else 4
        rows, columns = (np.array_split(np.arange(s), min(side, s)) for s in images.shape[1:3])
        blocks = [images[:, r][:, :, c].mean((1, 2)) for r in rows for c in columns]
        return np.concatenate(blocks, axis=-1).astype("float64")


def run(
    data="digits",
    *,
    minutes=2.0,
    families=None,
    systems=(),
    seeds=2,
    out="compare",
    image_size=None,
    batch_size=64,
    say=print,
):
    """Trains one model of each family, and of each system named, for the same time, measures all, and writes ``compare.md``, ``.json`` and ``.png``.

    What was finished stays in ``out/runs/``: the same call after an interruption goes on with what is missing.

    Args:
        data: name of a dataset, or a path, as in ``kgen.data.load``: images, or points of the plane.
        minutes: of training, for each model.
        families: names from ``entries()``; all that can be compared on the data if None.
        systems: names of models of kgen beside them, such as "stylegan2" and "sngan", as ``systems()`` has them.
        seeds: number of models of each family; from their scatter comes the stability.
        out: folder.
        image_size: (H, W) to which images are resized.
        batch_size: examples per training step.
        say: function that gets a line for each thing done.
    Returns:
        dict, what ``compare.json`` holds.
    Raises:
        ValueError: an unknown family or system, or one that is not on this data or backend; a folder of another comparison.
    """
    out = pathlib.Path(out)
    wanted = read(data, image_size)
    possible = comparable(wanted)
    names = list(possible if families is None else [checks.one_of("families", n, list(entries())) for n in families])
    for name in names:
        if name not in possible:
            raise ValueError(
                f"families: {name} cannot be compared on data of shape {wanted.shape} on the {keras.config.backend()} backend; "
                f"expected some of {', '.join(possible)}."
            )
    names += [type(make(name, wanted)).__name__ for name in systems]
    checks.positive_int("seeds", seeds)
    settings = {"data": wanted.name, "shape": list(wanted.shape), "minutes": float(minutes), "batch_size": batch_size}
    _check_folder(out, settings)
    results, samples = {}, {}
    for name in names:
        done = [_one(name, wanted, seed, minutes, batch_size, out, say) for seed in range(seeds)]
        results[name] = _together(done)
        samples[name] = np.load(out / "runs" / f"{name}-0.npy")
    report = {"settings": {**settings, "seeds": seeds}, "families": results, "recommendation": recommend(results)}
    report |= {"date": datetime.datetime.now(datetime.UTC).date().isoformat(), **environment()}
    with aside(out / "compare.json") as temporary:
        temporary.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    _draw(samples, wanted, out / "compare.png")
    with aside(out / "compare.md") as temporary:
        temporary.write_text(table(report), encoding="utf-8")
    return report


def _check_folder(out, settings):
    file = out / "runs" / "settings.json"
    if file.exists() and json.loads(file.read_text(encoding="utf-8")) != settings:
        raise ValueError(f"out: {out} holds a comparison with other settings. Name another folder, or remove it.")
    with aside(file) as temporary:
        temporary.write_text(json.dumps(settings), encoding="utf-8")


def _one(name, data, seed, minutes, batch_size, out, say):
    """The result of one model: trained now, or read from where an earlier call left it."""
    file = out / "runs" / f"{name}-{seed}.json"
    if file.exists():
        say(f"{name}, seed {seed}: there")
        return json.loads(file.read_text(encoding="utf-8"))
    say(f"{name}, seed {seed}: training for {minutes:g} min")
    keras.utils.set_random_seed(seed)
    if name in entries():
        model, optimizer = entries()[name].entry(data)
        model.compile(optimizer)
    else:
        model = make(name, data)
        model.compile()
        if hasattr(model, "stage_steps"):
            model = _grown(model, data, seed, minutes, batch_size)
    limit = TimeLimit(60 * minutes)
    history = _fit(model, data, batch_size, limit)
    figures, samples = measure(model, data, seed)
    result = {
        "figures": figures,
        "steps": limit.steps,
        "epochs": len(history.epoch),
        "parameters": int(sum(np.prod(v.shape) for v in model.trainable_variables)),
        "latent_space": _latent_space(model, data),
        "conditions": "none" if _labels(model, data) is None else "class",
        "likelihood": model.likelihood,
    }
    with aside(out / "runs" / f"{name}-{seed}.npy") as temporary:
        np.save(temporary, samples[:1000])
    with aside(file) as temporary:  # the last: with it this run counts as done
        temporary.write_text(json.dumps(result), encoding="utf-8")
    return result


def _fit(model, data, batch_size, limit):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return model.fit(
            data.x, _labels(model, data), batch_size=batch_size, epochs=10**6, verbose=0, callbacks=[limit]
        )


def _grown(model, data, seed, minutes, batch_size):
    """A model that grows by steps, whose stages are such that it is grown at the end: a trial says how many steps there are in the minutes."""
    limit = TimeLimit(6 * minutes)
    _fit(model, data, batch_size, limit)
    steps = 60 * minutes * (limit.steps - 1) / (time.perf_counter() - limit.start)
    stages = 2 * model.levels + 1  # each level is faded in and then trained, after the smallest
    keras.utils.set_random_seed(seed)
    model = type(model).from_config({**model.get_config(), "stage_steps": max(1, int(steps / stages))})
    model.compile()
    return model


def _latent_space(model, data):
    if not hasattr(model, "encode"):
        return "none"
    # An InfoGAN's codes are a part of its latent vector, and it has no shape of its own for them.
    size = math.prod(model.latent_shape) if hasattr(model, "latent_shape") else model.encode(data.x[:1]).size
    return "vector" if size < math.prod(data.shape) else "as large as the data"


def _together(done):
    """Means over the seeds, with the standard deviation where there are several."""
    figures = {}
    whole = max(done, key=lambda d: len(d["figures"]))  # a seed that diverged has fewer
    for key, first in whole["figures"].items():
        values = [d["figures"].get(key, {"value": math.nan})["value"] for d in done]
        figures[key] = {**first, "value": float(np.mean(values))}
        if len(values) > 1:
            figures[key]["deviation"] = float(np.std(values, ddof=1))
    return {**done[0], "figures": figures, "steps": round(float(np.mean([d["steps"] for d in done])))}


def recommend(results):
    """What to use, and why: text."""

    def best(key, largest=False):
        found = {n: r["figures"][key]["value"] for n, r in results.items() if key in r["figures"]}
        found = {n: v for n, v in found.items() if math.isfinite(v)}
        return (max if largest else min)(found, key=found.get) if found else None

    images = any("frechet_distance" in r["figures"] for r in results.values())
    # Between points sliced distances hardly tell a blur from narrow modes.
    quality, unit, most = (
        ("frechet_distance", "Fréchet distance", "lowest") if images else ("coverage", "coverage", "highest")
    )
    first = best(quality, largest=not images)
    if first is None:
        return "No model has a finite figure of quality: train for longer."
    figure = results[first]["figures"][quality]
    lines = [
        f"For samples: {first}, whose {unit} of {figure['value']:.3g} is the {most} (floor {figure['floor']:.3g})."
    ]

    def scatter(name):
        other = results[name]["figures"][quality]
        return math.hypot(*(f.get("deviation", 0.0) for f in (figure, other))), abs(other["value"] - figure["value"])

    near = [n for n in results if n != first and scatter(n)[1] <= scatter(n)[0]]
    if near:
        lines.append(f"Within the scatter of seeds {' and '.join(near)} may be as good.")
    fast = best("samples_per_second", largest=True)
    if fast != first:
        ratio = (
            results[fast]["figures"]["samples_per_second"]["value"]
            / results[first]["figures"]["samples_per_second"]["value"]
        )
        lines.append(f"For speed: {fast} samples {ratio:.3g} times as fast.")
    likely = best("bits_per_dim") or best("nats")
    if likely is not None:
        lines.append(f"For likelihoods (compression, anomalies): {likely}.")
    latent = [n for n, r in results.items() if r["latent_space"] == "vector"]
    if latent:
        lines.append(f"For a latent space smaller than the data: {' or '.join(latent)}.")
    return " ".join(lines)


def table(report):
    """The report as Markdown."""
    settings, results = report["settings"], report["families"]
    keys = list(dict.fromkeys(k for r in results.values() for k in r["figures"]))
    lines = [
        f"# Families compared on {settings['data']}",
        "",
        f"Each was trained for {settings['minutes']:g} min in batches of {settings['batch_size']}, {settings['seeds']} seeds; figures are "
        "means, ± the standard deviation over seeds, and in brackets their floor, the same figure of training data. Untuned defaults: what "
        "an hour of tuning would give is another question.",
        "",
        "| family | "
        + " | ".join(k.replace("_", " ") for k in keys)
        + " | likelihood | steps | parameters | latent space | conditions |",
        "|---|" + "---|" * (len(keys) + 5),
    ]
    for name, result in results.items():
        cells = [_cell(result["figures"].get(k)) for k in keys]
        facts = [result["likelihood"], f"{result['steps']:,}", f"{result['parameters']:,}", result["latent_space"]]
        lines.append(f"| {' | '.join([name, *cells, *facts, result['conditions']])} |")
    units = {k: next(r["figures"][k]["unit"] for r in results.values() if k in r["figures"]) for k in keys}
    lines += ["", "Units: " + "; ".join(f"{k.replace('_', ' ')}: {u}" for k, u in units.items()) + ".", ""]
    lines += [f"**{report['recommendation']}**", "", "![samples](compare.png)", ""]
    versions = ", ".join(f"{k} {v}" for k, v in report["versions"].items())
    return "\n".join(
        [
            *lines,
            f"{report['date']}; {versions}; {report['hardware']['cpu']}, {report['hardware']['cores']} core(s).",
            "",
        ]
    )


def _cell(figure):
    if figure is None:
        return ""
    text = f"{figure['value']:.3g}"
    if "deviation" in figure:
        text += f" ± {figure['deviation']:.2g}"
    return text + (f" ({figure['floor']:.3g})" if "floor" in figure else "")


def _draw(samples, data, path):
    """A panel of samples for the data and for each family."""
    if not data.is_images:
        if data.shape == (2,):
            pictures.save_density({"data": data.x[:1000], **samples}, path)
        return
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = {"data": data.x_test, **samples}
    figure = Figure(figsize=(2.4 * len(panels), 2.7), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    for axes, (title, images) in zip(np.atleast_1d(figure.subplots(1, len(panels))), panels.items(), strict=True):
        axes.imshow(pictures.grid(images[:36], columns=6), cmap="gray", vmin=0, vmax=255)
        axes.set_title(title)
        axes.set_axis_off()
    with aside(path) as temporary:
        canvas.print_png(temporary)
