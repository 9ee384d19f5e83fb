"""Precision, recall, density and coverage of samples, and the same without each of some groups of them, from one look at the distances.

Standard errors by the jackknife need ten times the figures. Asked for one by one they would compute each distance some sixty times.
"""

import numpy as np

from kgen.metrics.fidelity import check_centres, check_neighbours, distance_blocks


def squared_radii(points, k, left_out=()):
    """Squared distance from each point to its k-th nearest neighbour, of all points and without each group: (1 + groups, N).

    What a row says of the points of the group that is left out means nothing.
    """
    radii = np.empty((1 + len(left_out), len(points)))
    # Without a tenth of all, the k-th neighbour is among the nearest few nearly always; where it is not, all are looked through.
    few = min(len(points), 4 * (k + 1) + 20)
    for rows, distances in distance_blocks(points, points):
        nearest = np.argpartition(distances, few - 1, axis=1)[:, :few]
        values = np.take_along_axis(distances, nearest, axis=1)
        order = values.argsort(axis=1)
        nearest, values = np.take_along_axis(nearest, order, axis=1), np.take_along_axis(values, order, axis=1)
        radii[0, rows] = values[:, k]  # index 0 is the point itself
        for i, group in enumerate(left_out, start=1):
            gone = np.zeros(len(points), bool)
            gone[group] = True
            stay = ~gone[nearest]
            found = stay.cumsum(axis=1) == k + 1
            radii[i, rows] = values[np.arange(len(values)), found.argmax(axis=1)]
            lacking = np.flatnonzero(~found.any(axis=1) & ~gone[rows])
            if len(lacking):
                radii[i, rows.start + lacking] = np.partition(distances[lacking][:, ~gone], k, axis=1)[:, k]
    return radii


def neighbour_figures(real, generated, k, left_out=(), real_radii=None):
    """What ``precision_recall`` and ``density_coverage`` return, of all of ``generated`` and without each group of its rows.

    Args:
        real: float array (N, D), N > k.
        generated: float array (M, D), M > k without any of the groups.
        k: which nearest neighbour sets the radius.
        left_out: groups of rows of ``generated``, int arrays, no row in two of them.
        real_radii: float array (N,), ``squared_radii(real, k)[0]``, where it is known.
    Returns:
        float array (1 + groups, 4): precision, recall, density, coverage.
    """
    check_neighbours(k)
    real, generated = check_centres(real, "real", k), check_centres(generated, "generated", k)
    real_radii = squared_radii(real, k)[0] if real_radii is None else real_radii
    radii = squared_radii(generated, k, left_out)
    for i, group in enumerate(left_out, start=1):
        radii[i, group] = -1.0  # no ball at all
    belongs = np.zeros((len(generated), len(left_out)), "float32")
    for i, group in enumerate(left_out):
        belongs[group, i] = 1.0
    counts = np.array([len(generated), *(len(generated) - len(group) for group in left_out)])
    on_real = np.zeros(len(generated), bool)
    recalled, inside, covered = (np.zeros(len(counts)) for _ in range(3))
    for rows, distances in distance_blocks(real, generated):
        within = distances < real_radii[rows, None]
        on_real |= within.any(axis=0)
        balls = np.count_nonzero(within, axis=1)[:, None] - np.hstack(
            [np.zeros((len(within), 1)), within.astype("float32") @ belongs]
        )
        inside += balls.sum(0)
        covered += np.count_nonzero(balls, axis=0)
        recalled += [(distances < r).any(axis=1).sum() for r in radii]
    precision = np.array([on_real.sum(), *(on_real.sum() - on_real[group].sum() for group in left_out)]) / counts
    return np.stack([precision, recalled / len(real), inside / (k * counts), covered / len(real)], axis=1)
