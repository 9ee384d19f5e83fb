"""Kernel distance, MMD, sliced Wasserstein, two-sample test, Inception score, modes: closed forms, and reference packages."""

import numpy as np
import pytest
from scipy import stats

from kgen.metrics import (
    classifier_two_sample_test,
    inception_score,
    kernel_distance,
    maximum_mean_discrepancy,
    mode_coverage,
    sliced_wasserstein_distance,
)


def normal(shape, seed=0, shift=0.0):
    return np.random.default_rng(seed).normal(size=shape) + shift


def test_kernel_distance_of_scalars_has_a_closed_form():
    # In one dimension (xy + 1)^3 has the features 1, sqrt(3) x, sqrt(3) x^2, x^3: the distance is that of the moments.
    def moments(mean):
        return np.array([np.sqrt(3) * mean, np.sqrt(3) * (mean**2 + 1), mean**3 + 3 * mean])

    expected = np.sum((moments(0.0) - moments(0.5)) ** 2)
    distance, deviation = kernel_distance(normal((20000, 1)), normal((20000, 1), 1, shift=0.5), subset_size=500)
    assert distance == pytest.approx(expected, rel=0.1) and 0 < deviation < distance
    nothing, deviation = kernel_distance(normal((5000, 3)), normal((5000, 3), 1))
    assert abs(nothing) < deviation
    x, y = normal((6, 2)), normal((5, 2), 1)
    kernel = lambda a, b: (a @ b / 2 + 1) ** 3  # noqa: E731
    pairs = [np.mean([kernel(a[i], a[j]) for i in range(5) for j in range(5) if i != j]) for a in (x[:5], y)]
    by_hand = sum(pairs) - 2 * np.mean([kernel(a, b) for a in x[:5] for b in y])
    assert kernel_distance(x[:5], y, subsets=2)[0] == pytest.approx(by_hand)  # subsets of all rows


def test_agrees_with_torch_fidelity():
    fidelity = pytest.importorskip("torch_fidelity.metric_kid")
    from torch_fidelity.metric_isc import isc_features_to_metric

    torch = pytest.importorskip("torch")
    x, y = normal((1500, 16)), normal((1500, 16), 1, shift=0.2)
    options = {"kid_subsets": 20, "kid_subset_size": 500, "verbose": False}
    theirs = fidelity.kid_features_to_metric(torch.from_numpy(x), torch.from_numpy(y), **options)
    ours = kernel_distance(x, y, subsets=20, subset_size=500)
    assert ours == pytest.approx(tuple(theirs.values()), rel=1e-6)
    logits = torch.from_numpy(3 * normal((1000, 10)))
    theirs = isc_features_to_metric(logits, splits=10, shuffle=True, rng_seed=2020)
    assert inception_score(torch.softmax(logits, 1).numpy()) == pytest.approx(tuple(theirs.values()), rel=1e-6)


def test_mmd_of_normals_has_a_closed_form():
    # E exp(-(x - y)^2 / 2h^2) of independent normals is h / sqrt(h^2 + v) exp(-m^2 / 2(h^2 + v)), v the sum of variances.
    def kernel(shift):
        return 1 / np.sqrt(3) * np.exp(-(shift**2) / 6)

    found = maximum_mean_discrepancy(normal((4000, 1)), normal((4000, 1), 1, shift=1.0), bandwidth=1.0)
    assert found == pytest.approx(2 * kernel(0) - 2 * kernel(1.0), rel=0.05)
    assert abs(maximum_mean_discrepancy(normal((1000, 2)), normal((1000, 2), 1))) < 2e-3


def test_sliced_wasserstein_distance_of_a_shift_and_of_a_scale():
    x = normal((3000, 4))
    shift = np.array([1.0, 2.0, 0.0, -2.0])
    assert sliced_wasserstein_distance(x, x + shift, projections=5000) == pytest.approx(3 / 2, rel=0.03)
    assert sliced_wasserstein_distance(x, x) == 0
    line = normal((5000, 1))
    assert sliced_wasserstein_distance(line, 3 * line[:2500], projections=3) == pytest.approx(
        stats.wasserstein_distance(line[:, 0], 3 * line[:2500, 0]) * np.sqrt(np.pi / 2), rel=0.05
    )


@pytest.mark.parametrize("sizes", [(7, 3), (4, 1), (5, 10), (101, 100)])
def test_sliced_wasserstein_distance_of_unequal_sizes_is_exact(sizes):
    x, y = (np.random.default_rng(n).exponential(size=(n, 1)) for n in sizes)
    # Each row as often as the other set has rows: two sets of one size, of the same distributions.
    by_sorting = np.sqrt(np.mean((np.sort(np.repeat(x, len(y))) - np.sort(np.repeat(y, len(x)))) ** 2))
    assert sliced_wasserstein_distance(x, y, projections=2) == pytest.approx(by_sorting, rel=1e-9)
    assert sliced_wasserstein_distance(x, np.repeat(x, 3, axis=0)) == pytest.approx(0, abs=1e-12)


def test_two_sample_test_tells_apart_what_differs():
    same, p = classifier_two_sample_test(normal((600, 3)), normal((700, 3), 1))
    assert abs(same - 0.5) < 0.07 and p > 0.01
    apart, p = classifier_two_sample_test(normal((600, 3)), normal((600, 3), 1, shift=2.0))
    assert apart > 0.9 and p < 1e-6
    best = stats.norm.cdf(np.sqrt(3))  # of the boundary half-way
    assert apart == pytest.approx(best, abs=0.03)


def test_inception_score_of_known_probabilities():
    certain = np.eye(5)[np.arange(1000) % 5]
    assert inception_score(certain, splits=1) == pytest.approx((5.0, 0.0))
    assert inception_score(np.full((100, 5), 0.2)) == pytest.approx((1.0, 0.0))
    half = np.repeat([[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]], 50, axis=0)
    assert inception_score(half, splits=1)[0] == pytest.approx(2.0)


def test_the_score_of_few_rows_is_not_capped_by_the_parts():
    certain = np.eye(5)[np.arange(40) % 5]
    assert inception_score(certain) == pytest.approx((5.0, 0.0))  # in ten parts of 4 rows at most 4
    uneven = np.random.default_rng(0).dirichlet(np.full(10, 0.1), size=(2, 20000))
    whole = inception_score(uneven[0])[0]
    assert inception_score(uneven[1][:200])[0] == pytest.approx(whole, rel=0.12)


def test_modes():
    modes = np.array([[0.0, 0.0], [1.0, 0.0], [5.0, 5.0]])
    samples = np.array([[0.01, 0.0]] * 6 + [[1.0, 0.02]] * 2 + [[0.5, 0.3]] * 2)
    found = mode_coverage(samples, modes, 0.01)
    assert found["modes"] == 2 and found["share"] == 0.8
    assert found["reverse_kl"] == pytest.approx(0.8 * np.log(2.4) + 0.2 * np.log(0.6))


def test_wrong_arguments():
    x = normal((10, 2))
    for call, error, message in (
        (lambda: kernel_distance(x, x[:, :1]), ValueError, "must come from the same feature extractor"),
        (lambda: kernel_distance(x, x[:1]), ValueError, "`generated` must have at least 2 rows, received 1"),
        (lambda: kernel_distance(x, x, subsets=0), ValueError, "`subsets` must be at least 1"),
        (lambda: maximum_mean_discrepancy(x * np.nan, x), ValueError, "`real` must be finite"),
        (lambda: maximum_mean_discrepancy(0 * x, 0 * x), ValueError, "`bandwidth` must be above 0.*rows are equal"),
        (lambda: sliced_wasserstein_distance(np.array(["a"]), x), TypeError, "`real` must hold real numbers"),
        (lambda: classifier_two_sample_test(x[:3], x), ValueError, "`real` must have at least 4 rows"),
        (lambda: inception_score(x), ValueError, "rows that sum to 1: pass softmax outputs"),
        (lambda: inception_score(np.full((3, 2), 0.5), splits=10), ValueError, "at least 10 rows"),
        (lambda: mode_coverage(x, normal((3, 3)), 0.1), ValueError, "same feature extractor"),
    ):
        with pytest.raises(error, match=message):
            call()
