"""Further distances between two sets of features, and what a classifier's probabilities say of one set.

As in `kgen.metrics.fidelity`: float arrays (N, D), float64 NumPy, and figures that mean something only beside their floor.
"""

import numpy as np
from scipy import stats
from scipy.spatial.distance import cdist, pdist

from kgen.metrics._validation import check_features, check_same_width


def kernel_distance(real, generated, *, subsets=100, subset_size=1000, seed=2020):
    """Kernel distance (KID): the squared maximum mean discrepancy under the kernel k(x, y) = (x.y / D + 1)^3.

    The unbiased estimate, which may be below 0, over random subsets of both sets. The defaults draw the subsets that `torch-fidelity`
    draws by its default seed, so that both give the same figures.

    Args:
        real: float array (N, D), N >= 2.
        generated: float array (M, D), M >= 2.
        subsets: how many pairs of subsets are drawn.
        subset_size: rows of each; at most N and M, to which it is lowered.
        seed: int, of the subsets.

    Returns:
        `(distance, deviation)`: the mean over the subsets, and their standard deviation, which is the standard error of one
        estimate from `subset_size` rows. Where the sets are no larger than that, all subsets are the whole sets and it says nothing.

    Raises:
        TypeError, ValueError: as `frechet_distance`; `subsets` or `subset_size` is too small.

    Reference:
        Bińkowski et al., Demystifying MMD GANs, 2018, Section 4, arXiv 1801.01401.
    """
    real, generated = _two_sets(real, generated)
    size = min(subset_size, len(real), len(generated))
    if subsets < 1 or size < 2:
        raise ValueError(
            f"`subsets` must be at least 1 and `subset_size` at least 2, received {subsets} and {subset_size}."
        )
    rng = np.random.RandomState(seed)
    estimates = []
    for _ in range(subsets):
        x = real[rng.choice(len(real), size, replace=False)]
        y = generated[rng.choice(len(generated), size, replace=False)]
        estimates.append(_unbiased_mmd(*((a @ b.T / a.shape[1] + 1.0) ** 3 for a, b in ((x, x), (y, y), (x, y)))))
    return float(np.mean(estimates)), float(np.std(estimates))


def maximum_mean_discrepancy(real, generated, *, bandwidth=None):
    """Squared maximum mean discrepancy under the kernel exp(-|x - y|^2 / (2 h^2)), the unbiased estimate.

    Args:
        real: float array (N, D), N >= 2.
        generated: float array (M, D), M >= 2.
        bandwidth: h; the median distance between two rows of both sets together if None.

    Returns:
        float, at most 2; it may be a little below 0 where the sets are alike.

    Raises:
        TypeError, ValueError: as `frechet_distance`; all rows are equal and `bandwidth` is None.

    Reference:
        Gretton et al., A Kernel Two-Sample Test, 2012, Eq. 3.
    """
    real, generated = _two_sets(real, generated)
    if bandwidth is None:
        bandwidth = float(np.median(pdist(np.concatenate([real, generated]))))
    if not bandwidth > 0:
        raise ValueError(
            f"`bandwidth` must be above 0, received {bandwidth}: half of all rows are equal. Pass one yourself."
        )
    pairs = ((real, real), (generated, generated), (real, generated))
    return _unbiased_mmd(*(np.exp(-cdist(a, b, "sqeuclidean") / (2 * bandwidth**2)) for a, b in pairs))


def sliced_wasserstein_distance(real, generated, *, projections=500, seed=0):
    """2-Wasserstein distance between projections on random directions, exact on each: the root of its mean square.

    Args:
        real: float array (N, D).
        generated: float array (M, D).
        projections: number of directions, uniform on the sphere.
        seed: int, of the directions.

    Returns:
        float >= 0, in units of the features. Sets that differ by a shift of length s are s / sqrt(D) apart.

    Raises:
        TypeError, ValueError: as `frechet_distance`.

    Reference:
        Bonneel et al., Sliced and Radon Wasserstein Barycenters of Measures, 2015.
    """
    real, generated = _two_sets(real, generated, minimum=1)
    directions = np.random.default_rng(seed).normal(size=(real.shape[1], projections))
    directions /= np.linalg.norm(directions, axis=0)
    x, y = np.sort(real @ directions, axis=0), np.sort(generated @ directions, axis=0)
    # Both quantile functions are steps: between any two levels where one of them steps, both are constant. Levels in whole numbers of 1 / (n m).
    n, m = len(x), len(y)
    steps = np.union1d(np.arange(n) * m, np.arange(m) * n)
    widths = np.diff(np.append(steps, n * m)) / (n * m)
    return float(np.sqrt(widths @ np.mean((x[steps // m] - y[steps // n]) ** 2, axis=1)))


def classifier_two_sample_test(real, generated, *, classifier=None, seed=0):
    """Can a classifier tell the sets apart? It learns on half of both and is asked about the other half.

    Args:
        real: float array (N, D).
        generated: float array (M, D); as many rows of both are used, at least 4.
        classifier: anything with scikit-learn's `fit` and `predict`; sqrt(N) nearest neighbours if None.
        seed: int, of the halves.

    Returns:
        `(accuracy, p_value)`: the share of right answers, 0.5 where the sets cannot be told apart, and the probability of as
        many or more by guessing (the guesses are taken as independent).

    Raises:
        TypeError, ValueError: as `frechet_distance`.

    Reference:
        Lopez-Paz & Oquab, Revisiting Classifier Two-Sample Tests, 2017, arXiv 1610.06545.
    """
    real, generated = _two_sets(real, generated, minimum=4)
    count, rng = min(len(real), len(generated)), np.random.default_rng(seed)
    x, y = (a[rng.permutation(len(a))[:count]] for a in (real, generated))
    half = count // 2
    if classifier is None:
        from sklearn.neighbors import KNeighborsClassifier

        classifier = KNeighborsClassifier(max(1, round(half**0.5)))
    classifier.fit(np.concatenate([x[:half], y[:half]]), np.repeat([0, 1], half))
    right = int((classifier.predict(x[half:]) == 0).sum() + (classifier.predict(y[half:]) == 1).sum())
    asked = 2 * (count - half)
    return right / asked, float(stats.binom.sf(right - 1, asked, 0.5))


def inception_score(probabilities, *, splits=None, seed=2020):
    """exp of the mutual information between image and class: high where images are clear and classes many.

        IS = exp( E_x KL( p(y|x) || p(y) ) )

    Args:
        probabilities: float array (N, C), a classifier's, each row with sum 1.
        splits: parts that the shuffled rows are divided into. Each part's score is at most its number of rows, and too low where that is not many
            times C: None takes 10, or as many fewer as leave 10 C rows to each part (at least 1).
        seed: int, of the shuffle; the default is `torch-fidelity`'s.

    Returns:
        `(score, deviation)`: mean and standard deviation over the parts, the score in [1, C]; of one part the deviation is 0 and says nothing.

    Raises:
        TypeError: `probabilities` are not real numbers.
        ValueError: they are not (N, C), negative, do not sum to 1, or there are fewer rows than `splits`.

    Reference:
        Salimans et al., Improved Techniques for Training GANs, 2016, Section 4, arXiv 1606.03498.
    """
    p = check_features(probabilities, "probabilities", minimum=max(splits or 1, 1))
    if splits is None:
        splits = max(1, min(10, len(p) // (10 * p.shape[1])))
    if splits < 1:
        raise ValueError(f"`splits` must be at least 1, received {splits}.")
    if p.min() < 0 or np.abs(p.sum(1) - 1).max() > 1e-3:
        raise ValueError("`probabilities` must be in [0, 1] with rows that sum to 1: pass softmax outputs, not logits.")
    p = p[np.random.RandomState(seed).permutation(len(p))]
    scores = []
    for part in np.array_split(p, splits):
        with np.errstate(divide="ignore", invalid="ignore"):
            divergence = np.where(part > 0, part * (np.log(part) - np.log(part.mean(0))), 0.0).sum(1)
        scores.append(np.exp(divergence.mean()))
    return float(np.mean(scores)), float(np.std(scores))


def mode_coverage(samples, modes, scale, *, radius=3.0):
    """How many of the known modes of a mixture samples reach, and how evenly.

    Args:
        samples: float array (N, D).
        modes: float array (K, D), the components' means.
        scale: their standard deviation.
        radius: in standard deviations: how near a sample must come to count.

    Returns:
        dict: `modes`, how many have a sample within `radius`; `share` of all samples that are; `reverse_kl`, KL in nats from
        the shares of the nearest modes to equal ones.

    Reference:
        Metz et al., Unrolled Generative Adversarial Networks, 2017, Section 3.3.1, arXiv 1611.02163.
    """
    samples, modes = check_features(samples, "samples"), check_features(modes, "modes")
    check_same_width(samples, modes)
    distances = cdist(samples, modes)
    nearest, near = distances.argmin(1), distances.min(1) <= radius * scale
    share = np.bincount(nearest, minlength=len(modes)) / len(samples)
    divergence = np.sum(share * np.log(np.maximum(share * len(modes), 1e-300)))
    return {"modes": len(np.unique(nearest[near])), "share": float(near.mean()), "reverse_kl": float(divergence)}


def _two_sets(real, generated, minimum=2):
    real = check_features(real, "real", minimum=minimum)
    generated = check_features(generated, "generated", minimum=minimum)
    check_same_width(real, generated)
    return real, generated


def _unbiased_mmd(xx, yy, xy):
    """From kernel matrices: the pairs of a row with itself are left out."""
    n, m = len(xx), len(yy)
    within = (xx.sum() - np.trace(xx)) / (n * (n - 1)) + (yy.sum() - np.trace(yy)) / (m * (m - 1))
    return float(within - 2 * xy.mean())
