"""From what a model answers to what the page shows, and the files that can be had of it."""

import json

import numpy as np

from kgen.core import pictures
from kgen.core.units import bits_per_dim
from kgen.core.views import FRAMES, NUMBERS, PICTURES, POINTS, TEXT, shape_of
from kgen.tools.demo import files


def show(request, answer):
    """``(shown, downloads)`` of an answer: paths of pictures, lists of them (a row's frames), a path of a plot, or text; and paths."""
    into = files.results()
    shown = {PICTURES: _pictures, FRAMES: _frames, POINTS: _points, TEXT: _text, NUMBERS: _numbers}[request.view.shows]
    shown, paths = shown(request, answer, into)
    for given in request.answers.values():
        for name, value in given.arrays.items():
            np.save(into / f"{name}.npy", value)
            paths.append(str(into / f"{name}.npy"))
    if not isinstance(request.body, str):
        (into / "request.json").write_text(json.dumps(request.body), encoding="utf-8")
        paths.append(str(into / "request.json"))
    return shown, paths


def _array(answer, into, name):
    np.save(into / f"{name}.npy", answer)
    return str(into / f"{name}.npy")


def _pictures(request, answer, into):
    pictures.save_grid(answer, into / "pictures.png")
    return files.write_pictures(answer, into), [str(into / "pictures.png"), _array(answer, into, "pictures")]


def _frames(request, answer, into):
    frames = []
    for k in range(answer.shape[1]):
        frames.append(str(into / f"frame_{k}.png"))
        pictures.save_grid(answer[:, k], frames[-1], min_side=2 * files.SHOWN)
    rows = answer.reshape(-1, *answer.shape[2:])
    pictures.save_grid(rows, into / "frames.png", columns=answer.shape[1])
    return frames, [str(into / "frames.png"), _array(answer, into, "frames")]


def _points(request, answer, into):
    model, given, panels = request.subject.model, request.conditions(), {f"{len(answer)} samples": answer}
    if model.likelihood in ("exact", "unnormalised"):

        def density(mesh):
            found = np.asarray(model.log_prob(mesh, **given), "float64")
            return found - np.nanmax(found)  # a picture has no unit

        panels["density"] = density
    pictures.save_density(panels, into / "points.png", resolution=100)
    return str(into / "points.png"), [str(into / "points.png"), _array(answer, into, "points")]


def _text(request, answer, into):
    if isinstance(answer, np.ndarray):
        answer = ("\n" + "-" * 40 + "\n").join(request.subject.model.tokenizer.decode(row) for row in answer)
    (into / "text.txt").write_text(answer, encoding="utf-8")
    return answer, [str(into / "text.txt")]


def _numbers(request, answer, into):
    paths = [_array(answer, into, "numbers")]
    known = request.subject.facts.get("log_prob")
    if request.view.call != "log_prob" or known is None:
        return np.array2string(np.asarray(answer), threshold=200, precision=4), paths
    nats, quantiles = float(answer[0]), np.asarray(known["quantiles"])
    share = float(np.interp(nats, quantiles, np.linspace(0, 100, len(quantiles))))
    bits = float(bits_per_dim(nats, shape_of(request.subject.model)))
    middle = quantiles[len(quantiles) // 2]
    text = (
        f"{nats:.1f} nats, {bits:.3f} bits per value. {share:.0f} % of {known['examples']} test examples are less likely than it; they lie "
        f"between {quantiles[0]:.1f} and {quantiles[-1]:.1f}, half of them above {middle:.1f}."
    )
    return text, paths
