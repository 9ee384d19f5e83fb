"""What a page needs to know of the data, measured when a recipe saves its model and kept beside the preset as ``facts.json``.

Where the test examples' log-likelihoods lie, and where latent vectors do: their mean, their principal axes and the deviations along them.
"""

import json
import math
import pathlib

import numpy as np

from kgen.core import checks
from kgen.core.presets import allowlist
from kgen.core.saving import aside

NAME = "facts.json"
LARGEST = 2**22  # bytes
AXES = 8  # principal axes that are kept, at most
PLACES = np.linspace(0.0, 1.0, 101)


def measure(model, x, *, examples=500, log_prob=None, **conditions):
    """The facts of a model.

    Args:
        model: one of kgen's.
        x: float array (N, ...), test examples.
        examples: how many of them are used, evenly spaced, at most.
        log_prob: dict of what ``model.log_prob`` is given beside them, such as ``{"levels": 17}``; None where the model has no likelihood,
            or takes too long for it: the page has no such view then.
        **conditions: those of the examples, such as ``labels=``, for a model whose likelihood or encoder wants them.
    Returns:
        dict: ``log_prob``, of a model with a likelihood, with the 101 ``quantiles``, ``examples`` and ``options``; ``latent``, of one with
        latent vectors (of whatever shape, laid out flat), with ``mean``, ``axes`` and ``deviations``. Either may be missing.
    """
    chosen = np.linspace(0, len(x) - 1, min(checks.positive_int("examples", examples), len(x))).astype(int)
    x = np.asarray(x)[chosen]
    given = {name: value if np.ndim(value) == 0 else np.asarray(value)[chosen] for name, value in conditions.items()}
    found = {}
    if log_prob is not None:
        nats = model.log_prob(x, **log_prob, **given)
        quantiles = np.quantile(nats[np.isfinite(nats)], PLACES)
        found["log_prob"] = {"quantiles": quantiles.tolist(), "examples": len(x), "options": dict(log_prob)}
    if callable(getattr(model, "encode", None)) and callable(getattr(model, "decode", None)):
        z = model.encode(x, **given)
        if z.dtype.kind == "f":  # codes have no axes
            z = z.reshape(len(z), -1)
            mean = z.mean(0)
            _, sizes, axes = np.linalg.svd(z - mean, full_matrices=False)
            kept = min(AXES, len(axes))
            deviations = sizes[:kept] / math.sqrt(max(len(z) - 1, 1))
            latent = {"mean": mean, "axes": axes[:kept], "deviations": deviations}
            found["latent"] = {name: np.round(value.astype("float64"), 6).tolist() for name, value in latent.items()}
    return found


def write(folder, facts):
    """Writes ``facts.json`` beside a preset."""
    with aside(pathlib.Path(folder) / NAME) as temporary:
        temporary.write_text(json.dumps(facts, allow_nan=False) + "\n", encoding="utf-8")


def read(folder):
    """The facts beside a preset, {} where there are none. A folder may be a stranger's: whatever is not as ``measure`` makes it is refused.

    Raises:
        ValueError: the file is not as ``write`` writes it.
    """
    path = pathlib.Path(folder) / NAME
    if not path.is_file() or path.is_symlink():
        return {}
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path}: expected at most {LARGEST} bytes, received {path.stat().st_size}.")
    facts = allowlist.parse(path.read_bytes(), str(path))
    wanted = {"log_prob": {"quantiles", "examples", "options"}, "latent": {"mean", "axes", "deviations"}}
    for name, parts in facts.items():
        if name not in wanted or not isinstance(parts, dict) or set(parts) != wanted[name]:
            raise ValueError(f"{path}: {str(name)[:80]}: expected log_prob or latent, as kgen writes them.")
    try:
        if "log_prob" in facts:
            options = facts["log_prob"]["options"]
            plain = isinstance(options, dict) and all(isinstance(v, (int, str)) for v in options.values())
            if not plain or _numbers(facts["log_prob"]["quantiles"]).shape != PLACES.shape:
                raise ValueError("log_prob")
            checks.positive_int("examples", facts["log_prob"]["examples"])
        if "latent" in facts:
            mean, axes, deviations = (_numbers(facts["latent"][k]) for k in ("mean", "axes", "deviations"))
            if mean.ndim != 1 or axes.shape != (*deviations.shape, len(mean)) or not 0 < len(axes) <= AXES:
                raise ValueError("latent")
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: expected numbers as kgen writes them: {error}") from None
    return facts


def _numbers(value):
    numbers = np.asarray(value, "float64")
    if not np.isfinite(numbers).all():
        raise ValueError("a number is not finite")
    return numbers
