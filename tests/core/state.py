"""The whole state of a model as numpy arrays, to compare and to put back."""

import numpy as np


def _variables(model):
    weights = {id(v) for v in model.weights}
    groups = {
        "weight": model.weights,
        "seed": [v for v in model.variables if id(v) not in weights],
        "optimizer": getattr(getattr(model, "optimizer", None), "variables", []),
    }
    return {(kind, i, v.path): v for kind, group in groups.items() for i, v in enumerate(group)}


def state(model, *kinds):
    """Dict from (kind, index, path) to a copy of each variable; ``kinds`` among "weight", "seed", "optimizer", all by default."""
    kinds = kinds or ("weight", "seed", "optimizer")
    return {k: np.array(v.numpy()) for k, v in _variables(model).items() if k[0] in kinds}


def restore(model, values):
    """Puts back what ``state`` gave."""
    variables = _variables(model)
    for key, value in values.items():
        variables[key].assign(value)


def differing(a, b):
    """The paths where two states are not equal bit for bit."""
    if [(k[:2], v.shape) for k, v in a.items()] != [(k[:2], v.shape) for k, v in b.items()]:
        raise ValueError(f"The states are of different models: {list(a)} and {list(b)}.")
    return [k[2] for (k, u), v in zip(a.items(), b.values(), strict=True) if not np.array_equal(u, v)]


def largest_difference(a, b):
    """The largest absolute difference between two states, as floats."""
    pairs = zip(a.values(), b.values(), strict=True)
    return max(float(np.max(np.abs(u.astype("float64") - v.astype("float64")), initial=0.0)) for u, v in pairs)
