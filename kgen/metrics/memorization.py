"""Does a model give back its training data, and does it give away what it was trained on?

All functions take float arrays (N, ...): pixels, or a classifier's features; each row is one example.
"""

import numpy as np
from scipy import stats

from kgen.core import pictures
from kgen.metrics._validation import check_features
from kgen.metrics.fidelity import distance_blocks


def nearest_neighbours(samples, data):
    """The nearest row of ``data`` to each sample.

    Args:
        samples: float array (N, ...).
        data: float array (M, ...), of the same shape per row.
    Returns:
        ``(indices, distances)``: int array (N,) into ``data``, and float array (N,), Euclidean.
    Raises:
        ValueError: the shapes do not belong together, an array is empty or not finite.
    """
    samples, data = _flat("samples", samples), _flat("data", data)
    if samples.shape[1] != data.shape[1]:
        raise ValueError(f"samples, data: expected rows of one size, received {samples.shape[1]} and {data.shape[1]}.")
    indices, distances = np.empty(len(samples), int), np.empty(len(samples))
    for rows, block in distance_blocks(samples, data):
        indices[rows] = block.argmin(1)
        distances[rows] = np.sqrt(block.min(1))
    return indices, distances


def save_nearest_pairs(samples, data, path, *, n=8, features=None):
    """Draws samples above the training images that lie nearest to them, the closest pairs first, to a PNG file.

    Args:
        samples: float array (N, H, W, C) in [-1, 1], C = 1 or 3.
        data: float array (M, H, W, C) in [-1, 1].
        path: where to write.
        n: number of pairs.
        features: maps images to rows (N, D) in which distances are measured, such as ``load_classifier("digits").features``; pixels if None.
    Returns:
        ``(rows, indices, distances)`` of the pairs: int arrays into ``samples`` and ``data``, and float array.
    Raises:
        ValueError: as ``nearest_neighbours``.
    """
    samples, data = np.asarray(samples), np.asarray(data)
    seen = (samples, data) if features is None else (features(samples), features(data))
    indices, distances = nearest_neighbours(*seen)
    rows = np.argsort(distances, kind="stable")[:n]
    pictures.save_grid(np.concatenate([samples[rows], data[indices[rows]]]), path, columns=len(rows))
    return rows, indices[rows], distances[rows]


def memorization_report(samples, train, test):
    """How much nearer samples lie to the training data than to data that the model has not seen.

    As many rows of both are compared, the first ones. A model that has learnt the distribution draws samples that are as near to one
    as to the other.

    Args:
        samples: float array (N, ...): pixels or features.
        train: float array (T, ...), what the model was trained on.
        test: float array (R, ...), what it was not.
    Returns:
        dict of figures, each a dict with ``value``, ``floor``, ``unit`` and ``samples``:
        ``nearer_to_train``, the share of samples that lie nearer to a training example than to any test example (ties half), floor 0.5;
        ``copies``, the share that lies as near to a training example as one in a hundred test examples does, beside that share of test examples;
        ``duplicates``, the share of samples that lie as near to another sample, beside the same share of training examples; as many rows of
    both, the first ones.
    Raises:
        ValueError: shapes do not belong together, or there are fewer than 2 rows of one of them.
    """
    count = min(len(train), len(test))
    if count < 2 or len(samples) < 2:
        raise ValueError(
            f"samples, train, test: expected at least 2 rows each, received {len(samples)}, {len(train)}, {len(test)}."
        )
    train, test = np.asarray(train)[:count], np.asarray(test)[:count]
    to_train, to_test = nearest_neighbours(samples, train)[1], nearest_neighbours(samples, test)[1]
    from_test = nearest_neighbours(test, train)[1]
    near = np.quantile(from_test, 0.01)
    both = min(len(samples), count)
    share = np.mean(to_train < to_test) + 0.5 * np.mean(to_train == to_test)

    def figure(value, floor, unit):
        return {"value": float(value), "floor": float(floor), "unit": unit, "samples": len(samples)}

    return {
        "nearer_to_train": figure(share, 0.5, "share of samples"),
        "copies": figure(
            np.mean(to_train <= near),
            np.mean(from_test <= near),
            f"share of samples within {near:.4g} of a training example",
        ),
        "duplicates": figure(
            _alike(samples[:both], near), _alike(train[:both], near), f"share within {near:.4g} of another"
        ),
    }


def membership_auc(members, others):
    """How well an attacker who sees a score of each example tells training examples from others: the area under the ROC curve.

    Args:
        members: float array (N,), scores of training examples, higher where the attacker believes in membership: ``model.log_prob(train)``
            of a model with a likelihood, or minus the distance to the nearest sample of one without (``nearest_neighbours``).
        others: float array (M,), scores of examples that were not trained on.
    Returns:
        ``(auc, p_value)``: 0.5 where nothing is given away, 1 where everything is; and the probability of such a difference, or a larger
        one in the same direction, by chance (Mann-Whitney).
    Raises:
        ValueError: an array is empty, not (N,), or holds NaN.
    Reference:
        Yeom et al., Privacy Risk in Machine Learning, 2018, arXiv 1709.01604; Chen et al., GAN-Leaks, 2020, arXiv 1909.03935.
    """
    members, others = np.asarray(members, "float64"), np.asarray(others, "float64")
    for name, values in (("members", members), ("others", others)):
        if values.ndim != 1 or len(values) == 0 or np.isnan(values).any():
            raise ValueError(
                f"{name}: expected one number for each example, (N,) and no NaN, received shape {values.shape}."
            )
    test = stats.mannwhitneyu(members, others, alternative="greater")
    return float(test.statistic / (len(members) * len(others))), float(test.pvalue)


def _alike(x, near):
    """The share of rows that have another row nearer than ``near``."""
    x = _flat("x", x)
    return sum(int(((np.sqrt(block) <= near).sum(1) > 1).sum()) for _, block in distance_blocks(x, x)) / len(x)


def _flat(name, x):
    x = np.asarray(x)
    if x.ndim < 2 or x.size == 0:
        raise ValueError(f"{name}: expected an array (N, ...) that is not empty, received shape {x.shape}.")
    return check_features(x.reshape(len(x), -1), name)
