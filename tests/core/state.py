"""The whole state of a model as numpy arrays, to compare and to put back."""

import numpy as np


def _variables(model):
    groups = {
        "weight": [v for v in model.weights],
        "seed": [v for v in model.variables if all(v is not w for w in model.weights)],
        "optimizer": list(model.optimizer.variables) if model.optimizer is not None else [],
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
    kinds = [(k[:2], k[2].split("/")[-1]) for k in a], [(k[:2], k[2].split("/")[-1]) for k in b]
    if kinds[0] != kinds[1]:
        raise ValueError(f"The states are of different models: {kinds}.")
    return [k[2] for (k, u), v in zip(a.items(), b.values(), strict=True) if not np.array_equal(u, v)]


def largest_difference(a, b):
    """The largest absolute difference between two states, as floats."""
    pairs = zip(a.values(), b.values(), strict=True)
    return max(float(np.max(np.abs(u.astype("float64") - v.astype("float64")), initial=0.0)) for u, v in pairs)
