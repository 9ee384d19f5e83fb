"""Fidelity and diversity of generated samples, measured on features of real and generated data.

Every function takes float arrays (N, D), one row of features per sample, and computes in float64 NumPy: the figures
do not depend on the backend. All of them move with the number of samples, so a figure means something only
beside its floor, the same figure between two sets of real data; `fidelity_report` gives both.
"""

import numpy as np
from scipy.spatial.distance import cdist

from kgen.metrics._moments import RunningMoments
from kgen.metrics._validation import check_features, check_matrix, check_neighbours, check_same_width

# Distances are computed in blocks of rows that hold at most this many numbers (64 MiB in float64).
_BLOCK_ELEMENTS = 2**23
_BLOCK_ROWS = 4096


def frechet_distance(real, generated):
    """Fréchet distance between Gaussians fitted to two sets of features (the formula of FID).

        d^2 = |m_r - m_g|^2 + tr(C_r + C_g - 2 (C_r C_g)^(1/2))

    m and C are the mean and the unbiased covariance of each set. This is the squared 2-Wasserstein distance between
    the Gaussians. It is biased upwards for small N, most of all where N is not much greater than D. Memory beyond the
    features is that of a few (D, D) matrices. Singular covariances, fewer rows than D, and equal rows give a finite number.

    Args:
        real: float array (N, D), N >= 2.
        generated: float array (M, D), M >= 2.

    Returns:
        float >= 0, in squared units of the features; 0 where both moments agree.

    Raises:
        TypeError: an argument does not hold real numbers.
        ValueError: an argument is not (samples, features), is not finite or has fewer than 2 rows; D differs.

    Reference:
        Heusel et al., GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium, 2017,
        Eq. 6, arXiv 1706.08500.
    """
    moments = []
    for features, argument in ((real, "real"), (generated, "generated")):
        features = check_matrix(features, argument, minimum=2)
        running = RunningMoments(argument)
        for start in range(
            0, len(features), _BLOCK_ROWS
        ):  # a copy of all in float64 could be twice as large as they are
            running.update(features[start : start + _BLOCK_ROWS], argument=argument)
        moments.append(running)
    check_same_width(*(m.mean[None] for m in moments))
    return frechet_distance_from_moments(*(part for m in moments for part in (m.mean, m.covariance())))


def frechet_distance_from_moments(mean1, cov1, mean2, cov2):
    """Fréchet distance between two Gaussians given by their moments.

    The trace of (C1 C2)^(1/2) is the sum of the singular values of F1^T F2 for any factors F F^T = C: Cholesky's, and those of
    symmetric eigendecompositions where a covariance is singular or nearly so. Unlike a general matrix square root of the product,
    this neither turns complex nor fails for singular covariances, and it loses no digits to the root of a rounding error.

    Args:
        mean1, mean2: float arrays (D,).
        cov1, cov2: float arrays (D, D), symmetric and positive semi-definite.

    Returns:
        float >= 0, in squared units of the features.

    Raises:
        ValueError: the shapes do not belong together, a number is not finite, or a covariance is not symmetric or has a
            negative eigenvalue.

    Reference:
        Dowson & Landau, The Fréchet distance between multivariate normal distributions, 1982, Eq. 4.
    """
    mean1, cov1 = _check_moments(mean1, cov1, "mean1", "cov1")
    mean2, cov2 = _check_moments(mean2, cov2, "mean2", "cov2")
    if mean1.shape != mean2.shape:
        raise ValueError(
            f"`mean1` and `mean2` must have the same shape, received {mean1.shape} and {mean2.shape}: "
            "the moments come from different feature extractors."
        )
    root1, root2 = _factor(cov1, "cov1"), _factor(cov2, "cov2")
    trace_of_root = np.linalg.svd(root1.T @ root2, compute_uv=False).sum()
    distance = np.square(mean1 - mean2).sum() + np.trace(cov1) + np.trace(cov2) - 2.0 * trace_of_root
    return float(max(distance, 0.0))


def precision_recall(real, generated, k=3):
    """Share of generated samples on the real manifold, and of real samples on the generated manifold.

    A set's manifold is the union of balls around its points, each reaching to the point's k-th nearest neighbour in
    the same set. The point itself is not its own neighbour, and a ball does not contain its border (strictly less, as
    in the `prdc` package of Naeem et al.; the paper writes <=). So of two identical sets both figures are 1, except
    for points with k exact duplicates, whose balls are empty.

    Args:
        real: float array (N, D), N > k.
        generated: float array (M, D), M > k.
        k: which nearest neighbour sets the radius; the paper uses 3.

    Returns:
        `(precision, recall)`, two floats in [0, 1].

    Raises:
        TypeError: an array does not hold real numbers, or `k` is not an integer.
        ValueError: an array is not (samples, features), is not finite or has at most k rows; D differs; `k` < 1.

    Reference:
        Kynkäänniemi et al., Improved Precision and Recall Metric for Assessing Generative Models, 2019, Eq. 1-3,
        arXiv 1904.06991.
    """
    check_neighbours(k)
    real, generated = check_centres(real, "real", k), check_centres(generated, "generated", k)
    check_same_width(real, generated)
    real_radii = _squared_radii(real, k)
    generated_radii = _squared_radii(generated, k)
    on_real = np.zeros(len(generated), bool)
    on_generated = np.zeros(len(real), bool)
    for rows, distances in distance_blocks(real, generated):
        on_real |= (distances < real_radii[rows, None]).any(axis=0)
        on_generated[rows] = (distances < generated_radii[None, :]).any(axis=1)
    return float(on_real.mean()), float(on_generated.mean())


def density_coverage(real, generated, k=5):
    """How densely generated samples lie among the real ones, and the share of real samples that have one near.

        density  = 1 / (k M) * sum_j sum_i 1[ generated_j in ball_i ]
        coverage = 1 / N * sum_i 1[ some generated_j in ball_i ]

    ball_i reaches from real_i to its k-th nearest real neighbour, which is not the point itself, and does not contain
    its border. Both are built on the real set alone, so that outliers among the generated samples do not inflate them.
    Of two identical sets both are 1 (ties aside). Of two independent sets from one distribution, the expected density
    is 1 and the expected coverage 1 - ((N - 1) ... (N - k)) / ((M + N - 1) ... (M + N - k)), which is
    about 1 - 2^-k where M = N.

    Args:
        real: float array (N, D), N > k.
        generated: float array (M, D), M >= 1.
        k: which nearest neighbour sets the radius; the paper uses 5.

    Returns:
        `(density, coverage)`: a float >= 0 that may exceed 1, and a float in [0, 1].

    Raises:
        TypeError: an array does not hold real numbers, or `k` is not an integer.
        ValueError: an array is not (samples, features), is not finite or has too few rows; D differs; `k` < 1.

    Reference:
        Naeem et al., Reliable Fidelity and Diversity Metrics for Generative Models, 2020, Eq. 4-5 and Lemma 2,
        arXiv 2002.09797; conventions of its `prdc` package.
    """
    check_neighbours(k)
    real, generated = check_centres(real, "real", k), check_features(generated, "generated", minimum=1)
    check_same_width(real, generated)
    real_radii = _squared_radii(real, k)
    inside, covered = 0, 0
    for rows, distances in distance_blocks(real, generated):
        counts = np.count_nonzero(distances < real_radii[rows, None], axis=1)
        inside += int(counts.sum())
        covered += int(np.count_nonzero(counts))
    return inside / (k * len(generated)), covered / len(real)


def _factor(covariance, argument):
    """F (D, r) with F F^T = covariance, r its numerical rank."""
    try:  # faster, where no direction is so near to null that it is mostly rounding noise
        factor = np.linalg.cholesky(covariance)
        pivots = np.square(np.diagonal(factor))
        if pivots.min() > 1e-10 * pivots.max():
            return factor
    except np.linalg.LinAlgError:
        pass
    eigenvalues, vectors = np.linalg.eigh(covariance)
    # What eigh returns below this is rounding noise; its square root would add 1e-8 of the scale per null direction.
    tolerance = len(eigenvalues) * np.finfo(np.float64).eps * np.abs(eigenvalues).max()
    # A covariance that was kept in float32 may be indefinite by float32 rounding; more than that is not a covariance.
    if eigenvalues[0] < -1e-5 * np.abs(eigenvalues).max():
        raise ValueError(
            f"`{argument}` must be positive semi-definite, received the eigenvalue {eigenvalues[0]:.6g} "
            f"beside the largest {eigenvalues[-1]:.6g}."
        )
    kept = eigenvalues > tolerance
    return vectors[:, kept] * np.sqrt(eigenvalues[kept])


def _check_moments(mean, covariance, mean_argument, covariance_argument):
    mean = np.asarray(mean, np.float64)
    covariance = np.asarray(covariance, np.float64)
    if mean.ndim != 1 or covariance.shape != (mean.size, mean.size):
        raise ValueError(
            f"`{mean_argument}` and `{covariance_argument}` must have shapes (D,) and (D, D), "
            f"received {mean.shape} and {covariance.shape}."
        )
    for values, argument in ((mean, mean_argument), (covariance, covariance_argument)):
        if not np.isfinite(values).all():
            raise ValueError(f"`{argument}` must be finite, received NaN or infinity.")
    if not np.allclose(covariance, covariance.T, rtol=1e-5, atol=1e-7 * np.abs(covariance).max(initial=0.0)):
        raise ValueError(f"`{covariance_argument}` must be symmetric.")
    return mean, (covariance + covariance.T) / 2.0


def check_centres(points, argument, k):
    """Checks a set whose points get balls that reach to their k-th neighbour."""
    points = check_features(points, argument)
    if len(points) <= k:
        raise ValueError(
            f"`{argument}` must have more than k = {k} rows, received {len(points)}: "
            "the k-th nearest neighbour of a point is another point of the same set."
        )
    return points


def _squared_radii(points, k):
    """Squared distance from each point to its k-th nearest neighbour in the same set, (N,)."""
    radii = np.empty(len(points))
    for rows, distances in distance_blocks(points, points):
        # Index 0 is the point itself (or an exact duplicate, also at 0), so index k is the k-th other point.
        radii[rows] = np.partition(distances, k, axis=1)[:, k]
    return radii


def distance_blocks(a, b):
    """Yields (slice of rows of a, squared distances (rows, len(b))).

    `cdist` sums squared differences. The faster |a|^2 + |b|^2 - 2ab rounds differently in every block, so that a
    point would lie strictly inside its own border, and duplicates would not be at distance 0.
    """
    step = max(1, _BLOCK_ELEMENTS // len(b))
    for start in range(0, len(a), step):
        rows = slice(start, start + step)
        yield rows, cdist(a[rows], b, "sqeuclidean")
