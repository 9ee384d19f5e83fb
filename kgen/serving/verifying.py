"""Does an export answer as the model does? Asked before it goes to a server, of the runtime that the server is built on."""

import dataclasses
import io
import pathlib
import pickle
import subprocess
import sys
import tempfile

import keras
import numpy as np

import kgen
from kgen import backend
from kgen.core import checks, presets
from kgen.serving import bundle, marking, signatures, warmup
from kgen.serving.exporting import chosen, offered
from kgen.serving.protobuf import read_saved_model_signatures

_WARM_UP = "warm-up"


@dataclasses.dataclass(frozen=True)
class Answer:
    """One signature at one batch size.

    Args:
        signature: its name; ``<name>_xla`` was run with XLA, the others with XLA switched off, as in a stock server.
        batch: rows of the request.
        seconds: the shortest time of an answer, after one that compiles; None where there was none.
        difference: the largest difference from the model, relative to 1 + |value| / 10; infinite where an output is missing or of another shape.
        fault: what is wrong, or "".
    """

    signature: str
    batch: int
    seconds: float | None
    difference: float
    fault: str = ""


class Report(list):
    """The ``Answer`` of each signature and batch size. ``ok`` says whether all is as in the model; ``str`` is a table.

    ``warmed_up`` is the number of the version's warm-up requests that were answered; one that was not is an ``Answer`` with its fault.
    """

    warmed_up = 0

    @property
    def ok(self):
        return all(not answer.fault for answer in self)

    def __str__(self):
        lines = [f"{'signature':<24} {'batch':>5} {'ms':>10} {'difference':>11}"]
        for a in self:
            milliseconds = "" if a.seconds is None else f"{1000 * a.seconds:.2f}"
            lines.append(
                f"{a.signature:<24} {a.batch:>5} {milliseconds:>10} {a.difference:>11.1e} {a.fault or 'ok'}".rstrip()
            )
        lines.append(f"warm-up: {self.warmed_up} requests answered")
        return "\n".join(lines)


def verify(base, model=None, *, batch_sizes=None, tolerance=1e-4, repeats=3):
    """Compares what the newest version in ``base`` answers with what the model computes.

    Every signature is run through TensorFlow's C API in a process without Keras and without TensorFlow's Python: those that a stock
    TF Serving runs with XLA switched off, ``<name>_xla`` with XLA. Rows must come out the same alone, together, in another order, and
    beside rows with values out of range, which must come out marked. Each warm-up request, with which the server starts, must be answered.

    Args:
        base: TF Serving's base path, such as a recipe's folder, or one version's folder in it.
        model: the model that was exported; ``base/model.keras``, or the preset in ``base``, if None.
        batch_sizes: numbers of rows of the requests; those that the version was exported with if None.
        tolerance: the largest difference allowed, relative to 1 + |value| / 10.
        repeats: timed answers of each request; no more once they have taken five seconds together.
    Returns:
        ``Report``, a list of ``Answer`` that prints as a table; ``report.ok`` is False where anything differs.
    Raises:
        FileNotFoundError: there is no version in ``base``, or no model to compare it with.
        ValueError: ``model`` lacks what was exported; ``batch_sizes`` are not integers from 1 to the most rows that the version accepts.
    """
    version = newest(base)
    if model is None:
        file = version.parent / "model.keras"
        if not file.exists() and not presets.is_preset(file.parent):
            raise FileNotFoundError(f"{file} does not exist: pass model=, the model that {version} was exported from.")
        model = kgen.load(file if file.exists() else file.parent)
    manifest = bundle.read_manifest(version)
    sizes = _sizes(batch_sizes, manifest.get("batch_sizes"))
    report = Report()
    if strange := sorted(set(manifest.get("endpoints") or ()) - set(offered(model))):
        raise ValueError(
            f"model: expected the one that was exported to {version}, received a {type(model).__name__}, which has no {', '.join(strange)}."
        )
    endpoints = chosen(model, manifest.get("endpoints"))
    rows = {
        e.name: {name: warmup.example_rows(spec, name, sizes[-1]) for name, spec in e.inputs.items()} for e in endpoints
    }
    with signatures.quiet():
        expected = {e.name: _computed(model, e, rows[e.name]) for e in endpoints}
    spoiled = {e.name: _spoiled(e, rows[e.name]) for e in endpoints}
    # Versions exported by kgen 0.1 mark no rows: they refuse the request.
    marking_signatures = {n for n, s in read_saved_model_signatures(version).items() if marking.VALID in s.outputs}
    for xla in (False, True):
        served = {e.name: (e.name, f"{e.name}_xla" if xla else e.name) for e in endpoints}
        if not xla:
            served["serving_default"] = (_default(endpoints, version), "serving_default")
        requests = {}
        for name, signature in served.values():
            for size in sizes:
                requests[signature, size] = (signature, {k: v[:size] for k, v in rows[name].items()}, repeats)
            backwards = {k: v[::-1].copy() for k, v in rows[name].items()}
            requests[signature, "backwards"] = (signature, backwards, 0)
            if signature in marking_signatures and spoiled[name][1]:
                requests[signature, "spoiled"] = (signature, spoiled[name][0], 0)
        if not xla:
            requests |= _warm_up_requests(version, report)
        answers = _answers(version, requests, xla)
        for name, signature in served.values():
            wanted = expected[name]
            for size in sizes:
                outputs, seconds = answers[signature, size]
                difference, fault = _compare(outputs, {k: v[:size] for k, v in wanted.items()}, tolerance)
                report.append(Answer(signature, size, seconds, difference, fault))
            outputs, _ = answers[signature, "backwards"]
            difference, fault = _compare(outputs, {k: v[::-1] for k, v in wanted.items()}, tolerance)
            if fault:
                report.append(Answer(signature, sizes[-1], None, difference, f"rows in another order: {fault}"))
            if (signature, "spoiled") in answers:
                outputs, _ = answers[signature, "spoiled"]
                difference, fault = _compare(outputs, wanted, tolerance, refused=spoiled[name][1])
                if fault:
                    report.append(Answer(signature, sizes[-1], None, difference, f"rows out of range: {fault}"))
        _count_warm_up(report, requests, answers)
    return report


def _sizes(given, exported):
    if given is None:
        return exported or [1, 8]  # versions of earlier kgens have no manifest, and no bound
    sizes = sorted({checks.positive_int("batch_sizes", size) for size in given})
    if exported and sizes[-1] > exported[-1]:
        raise ValueError(
            f"batch_sizes: expected integers from 1 to {exported[-1]}, the most rows that the version was exported for, received "
            f"{list(given)}."
        )
    return sizes


def _warm_up_requests(version, report):
    """The version's warm-up requests under names of their own; a file that a server could not read goes into the report."""
    try:
        found = warmup.read(version)
    except ValueError as error:
        report.append(Answer(_WARM_UP, 0, None, float("inf"), str(error)))
        return {}
    return {(_WARM_UP, i): (signature, inputs, 0) for i, (signature, inputs) in enumerate(found)}


def _count_warm_up(report, requests, answers):
    for key in (key for key in requests if key[0] == _WARM_UP):
        signature, inputs, _ = requests[key]
        outputs, _ = answers[key]
        fault = outputs if isinstance(outputs, str) else _marks_fault(outputs, 0)
        if fault:
            size = len(next(iter(inputs.values())))
            report.append(Answer(signature, size, None, float("inf"), f"warm-up request: {fault}"))
        else:
            report.warmed_up += 1


def newest(base):
    """The newest version's folder in a base path, or ``base`` itself where it is a version's folder.

    Raises:
        FileNotFoundError: there is no version.
    """
    base = pathlib.Path(base)
    if (base / "saved_model.pb").is_file():
        return base
    versions = [
        p for p in base.glob("*") if p.name.isascii() and p.name.isdecimal() and (p / "saved_model.pb").is_file()
    ]
    if not versions:
        raise FileNotFoundError(
            f"base: expected a folder with exported versions such as {base / '1'}; there is none, and kgen export makes one."
        )
    return max(versions, key=lambda p: int(p.name))


def _default(endpoints, version):
    """The endpoint that ``serving_default`` is: the first whose inputs it takes. ``export`` writes the model's first unless told."""
    wanted = read_saved_model_signatures(version)["serving_default"]
    for e in endpoints:
        if set(e.inputs) == set(wanted.inputs) and set(e.outputs) <= set(wanted.outputs):
            return e.name
    return endpoints[0].name


def _computed(model, endpoint, rows):
    """What the model gives, as numpy."""
    names = list(rows)
    run = backend.jit(lambda *tensors: endpoint.function(**dict(zip(names, tensors, strict=True))), model.variables)
    outputs = run(*[keras.ops.convert_to_tensor(rows[name]) for name in names])
    return {name: keras.ops.convert_to_numpy(value) for name, value in outputs.items()}


def _answers(version, requests, xla):
    with tempfile.TemporaryDirectory(prefix="kgen-verify-") as folder:
        files = [pathlib.Path(folder) / "requests", pathlib.Path(folder) / "answers"]
        files[0].write_bytes(pickle.dumps(requests))
        command = [sys.executable, "-m", "kgen.serving.answer_process", str(version), *map(str, files)]
        command += ["xla" if xla else "stock"]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode:
            raise RuntimeError(f"The process that runs {version} ended with {done.returncode}:\n{done.stderr[-2000:]}")
        return pickle.loads(files[1].read_bytes())


def _spoiled(endpoint, rows):
    """``(rows, k)``: copies of the rows, of which the first k, but not all if there are several, have a value out of range, each in another input."""
    rows, k = {name: value.copy() for name, value in rows.items()}, 0
    for name, value in rows.items():
        spec, integers = endpoint.inputs[name], np.issubdtype(value.dtype, np.integer)
        if integers and spec.high is not None and spec.high < np.iinfo(value.dtype).max:
            wrong = int(spec.high) + 1
        elif integers and spec.low is not None and spec.low > np.iinfo(value.dtype).min:
            wrong = int(spec.low) - 1
        elif integers or value.dtype == np.bool_:  # any is in range
            continue
        else:
            wrong = np.nan
        if k < max(1, len(value) - 1):
            value.reshape(len(value), -1)[k, -1] = wrong
            k += 1
    return rows, k


def _marks_fault(outputs, refused):
    """What is wrong with the marks of an answer of which the first rows, ``refused`` of them, had a value out of range."""
    if marking.VALID not in outputs:
        return ""
    valid, error = outputs[marking.VALID], outputs[marking.ERROR]
    for i in np.flatnonzero(valid != (np.arange(len(valid)) >= refused)):
        return f"row {i}: " + ("not marked" if valid[i] else error[i].decode())
    for name, value in outputs.items():
        marks = value[:refused]
        if name not in marking.DOCS and not (np.isnan(marks).all() if marks.dtype.kind == "f" else not np.any(marks)):
            return f"{name}: expected NaN, 0 or nothing in rows out of range"
    return ""


def _compare(outputs, expected, tolerance, refused=0):
    """``(difference, fault)`` of one answer; pictures made of images by the server are compared with the images.

    The first rows, ``refused`` of them, had a value out of range: they are to be marked, the others as expected.
    """
    if isinstance(outputs, str):
        return float("inf"), outputs
    fault = _marks_fault(outputs, refused)
    if fault:
        return float("inf"), fault
    outputs = {name: value[refused:] for name, value in outputs.items()}
    expected = {name: value[refused:] for name, value in expected.items()}
    largest = 0.0
    for name, wanted in expected.items():
        if name not in outputs or outputs[name].shape != wanted.shape:
            shape = outputs[name].shape if name in outputs else "nothing"
            return float("inf"), f"{name}: expected shape {wanted.shape}, received {shape}"
        got, wanted = outputs[name].astype("float64"), wanted.astype("float64")
        same = (got == wanted) | (np.isnan(got) & np.isnan(wanted))  # infinities too
        with np.errstate(invalid="ignore"):
            difference = float(
                np.max(np.where(same, 0.0, np.abs(got - wanted) / (1 + 0.1 * np.abs(wanted))), initial=0.0)
            )
        if not difference <= tolerance:  # NaN too
            return difference, f"{name}: differs by {difference:.1e}, allowed are {tolerance:.1e}"
        largest = max(largest, difference)
        fault = _pictures_fault(name, outputs)
        if fault:
            return largest, fault
    return largest, ""


def _pictures_fault(name, outputs):
    pixels = outputs.get(f"{name}_uint8")
    if pixels is None:
        return ""
    if np.abs(pixels.astype(int) - np.clip((outputs[name] + 1) * 127.5, 0, 255)).max() > 0.51:
        return f"{name}_uint8: not the images in [-1, 1] as 0 to 255"
    files = outputs.get(f"{name}_png_bytes", outputs.get("png_bytes"))
    if files is None:
        return ""
    from PIL import Image

    for file, image in zip(files, pixels, strict=True):
        if not np.array_equal(np.asarray(Image.open(io.BytesIO(file))).reshape(image.shape), image):
            return "png_bytes: a picture differs from its pixels"
    return ""
