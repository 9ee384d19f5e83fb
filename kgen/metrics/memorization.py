"""Does a model give back its training data, and does it give away what it was trained on?

All functions take float arrays (N, ...): pixels, or a classifier's features; each row is one example.
"""

import numpy as np
from scipy import stats
from scipy.special import gammaln

from kgen.core import pictures
from kgen.metrics._validation import check_features
from kgen.metrics.fidelity import distance_blocks

_GROUPS = 10  # of the jackknife
_BLOCK_ELEMENTS = 2**23  # of a block of distances


def nearest_neighbours(samples, data):
    """The nearest row of ``data`` to each sample.

    Args:
        samples: float array (N, ...).
        data: float array (M, ...), of the same shape per row.
    Returns:
        ``(indices, distances)``: int array (N,) into ``data``, and float array (N,), Euclidean.
    Raises:
        TypeError: one array holds integers and the other floats.
        ValueError: the shapes do not belong together, an array is empty or not finite.
    """
    samples, data = _comparable(samples=samples, data=data)
    indices, distances = np.empty(len(samples), int), np.empty(len(samples))
    # Which one is nearest by a product of matrices, many times as fast as differences; how near it is by differences, so that a copy is at 0.
    middle = data.mean(0)  # far from the origin the product would lose digits
    centred = data - middle
    squares, step = np.square(centred).sum(1), max(1, _BLOCK_ELEMENTS // len(data))
    for start in range(0, len(samples), step):
        rows = slice(start, start + step)
        indices[rows] = (squares - 2.0 * (samples[rows] - middle) @ centred.T).argmin(1)
        distances[rows] = np.linalg.norm(samples[rows] - data[indices[rows]], axis=1)
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
        TypeError, ValueError: as ``nearest_neighbours``.
    """
    samples, data = np.asarray(samples), np.asarray(data)
    seen = (samples, data) if features is None else (features(samples), features(data))
    indices, distances = nearest_neighbours(*seen)
    rows = np.argsort(distances, kind="stable")[:n]
    pictures.save_grid(np.concatenate([samples[rows], data[indices[rows]]]), path, columns=len(rows))
    return rows, indices[rows], distances[rows]


def memorization_report(samples, train, test, *, seed=0):
    """How much nearer samples lie to the training data than to data that the model has not seen.

    A model that has learnt the distribution draws samples that are as near to the one as to the other. Of two sets of unequal size the larger
    is nearer by its size alone: so the first figure is the mean over all subsets of the larger set that are as large as the smaller one, which has
    a closed form. The order of rows says nothing. The second looks at all training examples, from samples and from test examples alike.

    Args:
        samples: float array (N, ...): pixels or features.
        train: float array (T, ...), what the model was trained on.
        test: float array (R, ...), what it was not, from the same distribution.
        seed: int: which rows ``duplicates`` takes, and the groups of the jackknife.
    Returns:
        dict of figures, each a dict with ``value``, ``floor``, ``standard_error`` (of the value), ``floor_standard_error``, ``unit`` and ``samples``:
        ``nearer_to_train``, the share of samples that lie nearer to a training example than to any test example (ties half), floor 0.5;
        ``copies``, the share that lies as near to a training example as one in a hundred test examples does, beside that share of test examples;
        ``duplicates``, the share of samples that lie as near to another sample, beside the same share of training examples: of as many rows
        of both, drawn by ``seed``.
        The error of the first is over draws of samples, training and test rows; that of ``copies`` over samples, and of its floor over test rows.
    Raises:
        TypeError: some arrays hold integers and others floats.
        ValueError: shapes do not belong together, or there are fewer than 2 rows of one of them.
    """
    samples, train, test = _comparable(samples=samples, train=train, test=test)
    if min(len(samples), len(train), len(test)) < 2:
        raise ValueError(
            f"samples, train, test: expected at least 2 rows each, received {len(samples)}, {len(train)}, {len(test)}."
        )
    rng = np.random.default_rng(seed)
    nearer, error = _share_nearer(samples, train, test, rng)
    to_train, from_test = nearest_neighbours(samples, train)[1], nearest_neighbours(test, train)[1]
    near = np.quantile(from_test, 0.01)
    copies, usual = to_train <= near, from_test <= near
    rows = min(len(samples), len(train))
    alike, alike_train = (
        _share_alike(x[rng.choice(len(x), rows, replace=False)] if len(x) > rows else x, near) for x in (samples, train)
    )
    figures = {
        "nearer_to_train": ((nearer, error), (0.5, 0.0), "share of samples"),
        "copies": (_share(copies), _share(usual), f"share of samples within {near:.4g} of a training example"),
        "duplicates": (alike, alike_train, f"share within {near:.4g} of another"),
    }
    return {
        name: {
            "value": float(value[0]),
            "floor": float(floor[0]),
            "standard_error": float(value[1]),
            "floor_standard_error": float(floor[1]),
            "unit": unit,
            "samples": len(samples),
        }
        for name, (value, floor, unit) in figures.items()
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


def _share(hits):
    """The share of true rows and its standard error, which is not 0 where none or all are (Laplace's rule of succession)."""
    p = (hits.sum() + 1) / (len(hits) + 2)
    return hits.mean(), np.sqrt(p * (1 - p) / len(hits))


def _share_nearer(samples, train, test, rng):
    """The share of samples nearer to ``train`` than to ``test``, ties half; and its standard error over samples and (by a jackknife) rows of both.

    It is the mean over all subsets of the larger set that are as large as the smaller one.

    A subset of n of the T rows of the larger set has none of the k nearest of them with probability C(T - k, n) / C(T, n).
    """
    small, large = (test, train) if len(test) <= len(train) else (train, test)
    groups = [rng.permutation(len(x)) % min(_GROUPS, len(x)) for x in (small, large)]
    sizes = [np.bincount(g) for g in groups]
    nearest = np.empty((len(samples), len(sizes[0])))  # row of each group of the smaller set
    for rows, block in distance_blocks(samples, small):
        nearest[rows] = np.stack([block[:, groups[0] == g].min(1) for g in range(len(sizes[0]))], axis=1)
    lowest = nearest.min(1)
    without = np.stack([np.delete(nearest, g, axis=1).min(1) for g in range(len(sizes[0]))])
    # How many rows of the larger set are nearer than the nearest of the smaller one, and how many at most as far.
    below = np.zeros((2, len(samples), len(sizes[1])))
    below_without = np.zeros((2, len(sizes[0]), len(samples)))
    for rows, block in distance_blocks(samples, large):
        for i, compare in enumerate((np.less, np.less_equal)):
            hits = compare(block, lowest[rows, None])
            below[i, rows] = np.stack([hits[:, groups[1] == g].sum(1) for g in range(len(sizes[1]))], axis=1)
            for g, limits in enumerate(without):
                below_without[i, g, rows] = compare(block, limits[rows, None]).sum(1)

    def large_is_nearer(counts, total, n):
        return 1.0 - np.mean([_none_of(k, total, min(n, total)) for k in counts], axis=0)

    n, total = len(small), len(large)
    each = large_is_nearer(below.sum(-1), total, n)
    fewer = [large_is_nearer(below_without[:, g], total, n - size) for g, size in enumerate(sizes[0])]
    others = [large_is_nearer(below.sum(-1) - below[..., g], total - size, n) for g, size in enumerate(sizes[1])]
    share = each.mean()
    variance = np.var(each) / len(each) + _jackknife(np.array(fewer)) + _jackknife(np.array(others))
    return (share if large is train else 1.0 - share), np.sqrt(variance)


def _jackknife(values):
    """The variance of a mean over samples that comes from the rows which ``values`` (groups, samples) leave out group by group.

    Less what the scatter of few samples adds to it, which the variance over samples has already.
    """
    change = values - values.mean(0)
    noise = np.var(change, axis=1) / values.shape[1]
    return max(0.0, (1 - 1 / len(values)) * np.sum(change.mean(1) ** 2 - noise))


def _none_of(k, total, n):
    """The probability that n of ``total`` rows, drawn without putting back, have none of k given ones: C(total - k, n) / C(total, n)."""
    left = np.maximum(total - k - n, 0)
    log = gammaln(total - k + 1) - gammaln(left + 1) - gammaln(total + 1) + gammaln(total - n + 1)
    return np.where(total - k >= n, np.exp(log), 0.0)


def _share_alike(x, near):
    """The share of rows that have another row within ``near``, and its standard error, by leaving out each row in turn."""
    flat, count = x.reshape(len(x), -1), len(x)
    others, partner = np.empty(count, int), np.empty(count, int)
    for rows, block in distance_blocks(flat, flat):
        hits = np.sqrt(block) <= near
        hits[np.arange(len(hits)), np.arange(rows.start, rows.start + len(hits))] = False
        others[rows], partner[rows] = hits.sum(1), hits.argmax(1)
    alike = others > 0
    # Without a row, those whose only other it was stand alone.
    lost = np.bincount(partner[others == 1], minlength=count)
    without = (alike.sum() - alike - lost) / (count - 1)
    return alike.mean(), max(np.sqrt((count - 1) * np.var(without)), _share(alike)[1])


def _comparable(**arrays):
    """The arrays (N, ...) in float64, of one size per row; raises where some hold integers, such as pixels in 0..255, and others floats."""
    arrays = {name: np.asarray(x) for name, x in arrays.items()}
    if len({x.dtype.kind in "iub" for x in arrays.values()}) > 1:
        received = ", ".join(str(x.dtype) for x in arrays.values())
        raise TypeError(
            f"{', '.join(arrays)}: expected all of them in the same units, received {received}. Convert pixels in 0..255 by "
            "kgen.data.from_uint8(x)."
        )
    flat = [_flat(name, x) for name, x in arrays.items()]
    sizes = [x.shape[1] for x in flat]
    if len(set(sizes)) > 1:
        raise ValueError(
            f"{', '.join(arrays)}: expected rows of one size, received {' and '.join(str(size) for size in sizes)}."
        )
    return flat


def _flat(name, x):
    x = np.asarray(x)
    if x.ndim < 2 or x.size == 0:
        raise ValueError(f"{name}: expected an array (N, ...) that is not empty, received shape {x.shape}.")
    return check_features(x.reshape(len(x), -1), name)
