import numpy as np
import pytest

from kgen.metrics import density_coverage, fidelity, frechet_distance, frechet_distance_from_moments, precision_recall


def normal(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def brute_force(real, generated, k):
    """Precision, recall, density and coverage, straight from the definitions, one pair at a time."""

    def distance(i, j):
        return sum((u - v) ** 2 for u, v in zip(points[i], points[j], strict=True))

    def radius(i, same):
        return sorted(distance(i, j) for j in same if j != i)[k - 1]

    points = [*real, *generated]
    reals, fakes = range(len(real)), range(len(real), len(points))
    radii = [radius(i, reals) for i in reals] + [radius(i, fakes) for i in fakes]
    precision = np.mean([any(distance(i, j) < radii[i] for i in reals) for j in fakes])
    recall = np.mean([any(distance(i, j) < radii[j] for j in fakes) for i in reals])
    density = sum(distance(i, j) < radii[i] for i in reals for j in fakes) / (k * len(fakes))
    coverage = np.mean([min(distance(i, j) for j in fakes) < radii[i] for i in reals])
    return precision, recall, density, coverage


# Fréchet distance


def test_frechet_of_commuting_gaussians_has_its_closed_form():
    # With diagonal covariances the distance is |m1 - m2|^2 + sum (s1 - s2)^2.
    m1, m2 = np.array([1.0, -2.0, 0.5]), np.array([0.0, 1.0, 0.5])
    s1, s2 = np.array([1.0, 2.0, 3.0]), np.array([2.0, 0.5, 3.0])
    expected = 1.0 + 9.0 + 1.0 + 2.25
    assert frechet_distance_from_moments(m1, np.diag(s1**2), m2, np.diag(s2**2)) == pytest.approx(expected, rel=1e-14)


def test_frechet_of_two_by_two_covariances_has_its_closed_form():
    # In two dimensions tr (A B)^(1/2) = sqrt(tr(A B) + 2 sqrt(det(A B))), commuting or not.
    a, b = np.array([[2.0, 0.7], [0.7, 1.0]]), np.array([[1.0, -0.4], [-0.4, 3.0]])
    root = np.sqrt(np.trace(a @ b) + 2.0 * np.sqrt(np.linalg.det(a @ b)))
    expected = np.trace(a) + np.trace(b) - 2.0 * root
    assert frechet_distance_from_moments([0, 0], a, [0, 0], b) == pytest.approx(expected, rel=1e-13)


def test_frechet_agrees_with_the_general_square_root_of_the_product():
    # The form that FID implementations share: the eigenvalues of C1 C2.
    real = normal((400, 12)) @ normal((12, 12), 1)
    generated = normal((300, 12), 2) @ normal((12, 12), 3) + 0.3
    c1, c2 = np.cov(real, rowvar=False), np.cov(generated, rowvar=False)
    root = np.sqrt(np.linalg.eigvals(c1 @ c2).astype(complex)).sum().real
    expected = np.square(real.mean(0) - generated.mean(0)).sum() + np.trace(c1) + np.trace(c2) - 2.0 * root
    assert frechet_distance(real, generated) == pytest.approx(expected, rel=1e-12)


def test_frechet_of_identical_sets_is_zero_and_of_a_shift_its_squared_length():
    x = normal((500, 16))
    shift = np.linspace(-1.0, 1.0, 16)
    assert frechet_distance(x, x) <= 1e-12
    assert frechet_distance(x, x[::-1]) <= 1e-12
    assert frechet_distance(x, x + shift) == pytest.approx(np.square(shift).sum(), rel=1e-12)
    assert frechet_distance(x[:, :1], x[:, :1] + 3.0) == pytest.approx(9.0, rel=1e-12)


def test_frechet_is_symmetric():
    real, generated = normal((60, 8)), 2.0 * normal((50, 8), 1) + 0.5
    assert frechet_distance(real, generated) == pytest.approx(frechet_distance(generated, real), rel=1e-12)


def test_frechet_of_singular_covariances_is_exact():
    # With fewer samples than features both covariances are singular. Then tr (C1 C2)^(1/2) is the nuclear norm of
    # X Y^T / sqrt((n - 1)(m - 1)) for the centred data, which no covariance enters.
    real, generated = normal((20, 64)), normal((15, 64), 1)
    x, y = real - real.mean(0), generated - generated.mean(0)
    nuclear = np.linalg.svd(x @ y.T, compute_uv=False).sum() / np.sqrt(19 * 14)
    expected = np.square(real.mean(0) - generated.mean(0)).sum()
    expected += np.square(x).sum() / 19 + np.square(y).sum() / 14 - 2.0 * nuclear
    assert frechet_distance(real, generated) == pytest.approx(expected, rel=1e-12)


def test_frechet_of_constant_features_is_finite():
    # A collapsed generator: the distance is |dm|^2 + tr C.
    real, collapsed = normal((100, 4)), np.ones((50, 4))
    expected = np.square(real.mean(0) - 1.0).sum() + real.var(axis=0, ddof=1).sum()
    assert frechet_distance(real, collapsed) == pytest.approx(expected, rel=1e-12)
    assert frechet_distance(collapsed, collapsed) == 0.0


def test_frechet_accepts_float32_features_without_losing_digits():
    x = normal((200, 8)).astype(np.float32)
    assert frechet_distance(x, x + np.float32(1.0)) == pytest.approx(8.0, rel=1e-6)


# Precision, recall, density, coverage


def test_the_four_figures_of_a_case_worked_by_hand():
    # On a line with k = 1 the radii of 0, 1, 3 are 1, 1, 2, and those of 0.5, 2.2, 9 are 1.7, 1.7, 6.8.
    # In the balls: 0.5 lies in those of 0 and 1; 2.2 in that of 3 alone (1.2 from 1); 9 in none.
    # 0 lies within 1.7 of 0.5, so does 1; 3 lies within 1.7 of 2.2.
    real, generated = np.array([[0.0], [1.0], [3.0]]), np.array([[0.5], [2.2], [9.0]])
    assert precision_recall(real, generated, k=1) == pytest.approx((2 / 3, 1.0))
    assert density_coverage(real, generated, k=1) == pytest.approx((3 / 3, 1.0))


def test_a_ball_does_not_contain_its_border():
    # 2 is at distance 1 from 1, whose radius is 1; 0 sits on 0 itself.
    real, generated = np.array([[0.0], [1.0]]), np.array([[2.0], [0.0]])
    assert precision_recall(real, generated, k=1) == (0.5, 1.0)
    assert density_coverage(real, generated, k=1) == (0.5, 0.5)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_the_four_figures_agree_with_brute_force(k):
    real, generated = normal((40, 3)), 0.6 * normal((30, 3), 1) + 1.0
    precision, recall, density, coverage = brute_force(real, generated, k)
    assert 0.0 < recall < 1.0 and 0.0 < coverage < 1.0
    assert precision_recall(real, generated, k) == pytest.approx((precision, recall), rel=1e-12)
    assert density_coverage(real, generated, k) == pytest.approx((density, coverage), rel=1e-12)


def test_ties_and_duplicates_are_counted_exactly():
    # Points of a small grid, many of them equal, far from the origin: an expansion |a|^2 + |b|^2 - 2ab would round.
    random = np.random.default_rng(4)
    real = 1e4 + random.integers(0, 3, (30, 2)) / 3.0
    generated = 1e4 + random.integers(0, 4, (25, 2)) / 3.0
    for k in (1, 2, 4):
        expected = brute_force(real, generated, k)
        figures = (*precision_recall(real, generated, k), *density_coverage(real, generated, k))
        assert figures == pytest.approx(expected, rel=1e-12)


def test_identical_sets_score_one_and_disjoint_sets_zero():
    x = normal((80, 6))
    assert precision_recall(x, x) == (1.0, 1.0)
    assert density_coverage(x, x) == (1.0, 1.0)
    assert precision_recall(x, x + 100.0) == (0.0, 0.0)
    assert density_coverage(x, x + 100.0) == (0.0, 0.0)


def test_a_collapsed_generator_is_precise_but_recalls_nothing():
    real = normal((100, 4))
    collapsed = np.repeat(real[:1], 50, axis=0)
    assert precision_recall(real, collapsed) == (1.0, 0.0)
    assert density_coverage(real, collapsed)[1] < 0.3


def test_density_and_coverage_of_one_distribution_have_their_expected_values():
    # Naeem et al., Lemmas 1 and 2: density 1, coverage 1 - prod (N - i) / (M + N - i).
    real_count, count, k = 40, 60, 5
    figures = [
        density_coverage(normal((real_count, 2), seed), normal((count, 2), 1000 + seed), k) for seed in range(300)
    ]
    steps = np.arange(1, k + 1)
    expected = 1.0 - np.prod((real_count - steps) / (count + real_count - steps))
    density, coverage = np.mean(figures, axis=0)
    errors = np.std(figures, axis=0) / np.sqrt(len(figures))
    assert abs(density - 1.0) < 4.0 * errors[0]
    assert abs(coverage - expected) < 4.0 * errors[1]


def test_blocks_of_rows_change_nothing(monkeypatch):
    real, generated = normal((57, 5)), normal((43, 5), 1)
    real[10] = real[3]
    generated[7] = real[3]
    whole = (*precision_recall(real, generated), *density_coverage(real, generated))
    for elements in (1, 100, 57 * 4):
        monkeypatch.setattr(fidelity, "_BLOCK_ELEMENTS", elements)
        assert (*precision_recall(real, generated), *density_coverage(real, generated)) == whole


def test_as_few_points_as_possible():
    real = np.array([[0.0], [1.0], [2.0], [4.0]])
    assert precision_recall(real, real, k=3) == (1.0, 1.0)
    # The radii are 4, 3, 2, 4: one generated sample at 0 lies in the balls of 0 and 1.
    assert density_coverage(real, real[:1], k=3) == (2 / 3, 0.5)


# Errors

SETS = [frechet_distance, precision_recall, density_coverage]


@pytest.mark.parametrize("metric", SETS)
def test_wrong_features_are_named(metric):
    x = normal((20, 3))
    with pytest.raises(ValueError, match=r"`generated` must have shape \(samples, features\), received \(20, 2, 2"):
        metric(x, np.zeros((20, 2, 2, 1)))
    with pytest.raises(ValueError, match="same feature extractor, received 3 features and 2 features"):
        metric(x, x[:, :2])
    with pytest.raises(ValueError, match="`real` must be finite, received NaN or infinity in 1 of 20 rows"):
        broken = x.copy()
        broken[4, 1] = np.nan
        metric(broken, x)
    with pytest.raises(TypeError, match="`real` must hold real numbers, received an array of dtype complex128"):
        metric(x.astype(complex), x)


def test_too_few_rows_are_named():
    x = normal((20, 3))
    with pytest.raises(ValueError, match="`generated` must have at least 2 rows, received 1"):
        frechet_distance(x, x[:1])
    with pytest.raises(ValueError, match="`generated` must have more than k = 3 rows, received 3"):
        precision_recall(x, x[:3])
    with pytest.raises(ValueError, match="`real` must have more than k = 5 rows, received 5"):
        density_coverage(x[:5], x)
    with pytest.raises(ValueError, match="`generated` must have at least 1 rows, received 0"):
        density_coverage(x, x[:0])


@pytest.mark.parametrize("metric", [precision_recall, density_coverage])
def test_wrong_k_is_named(metric):
    x = normal((20, 3))
    with pytest.raises(ValueError, match="`k` must be at least 1, received 0"):
        metric(x, x, k=0)
    with pytest.raises(TypeError, match=r"`k` must be an integer, received 2\.5"):
        metric(x, x, k=2.5)


def test_wrong_moments_are_named():
    mean, cov = np.zeros(2), np.eye(2)
    with pytest.raises(ValueError, match=r"`mean2` and `cov2` must have shapes \(D,\) and \(D, D\), received \(2,\)"):
        frechet_distance_from_moments(mean, cov, mean, np.eye(3))
    with pytest.raises(ValueError, match=r"must have the same shape, received \(2,\) and \(3,\)"):
        frechet_distance_from_moments(mean, cov, np.zeros(3), np.eye(3))
    with pytest.raises(ValueError, match="`mean1` must be finite"):
        frechet_distance_from_moments([np.inf, 0.0], cov, mean, cov)
    with pytest.raises(ValueError, match="`cov1` must be symmetric"):
        frechet_distance_from_moments(mean, [[1.0, 0.5], [0.0, 1.0]], mean, cov)
    with pytest.raises(ValueError, match="`cov2` must be positive semi-definite, received the eigenvalue -1"):
        frechet_distance_from_moments(mean, cov, mean, np.diag([1.0, -1.0]))


def test_agrees_with_prdc_in_counts():
    prdc = pytest.importorskip("prdc")
    random = np.random.default_rng(3)
    real, generated = random.normal(size=(400, 12)), 1.1 * random.normal(size=(300, 12)) + 0.2
    theirs = prdc.compute_prdc(real, generated, nearest_k=4)
    assert precision_recall(real, generated, k=4) == (theirs["precision"], theirs["recall"])
    assert density_coverage(real, generated, k=4) == pytest.approx((theirs["density"], theirs["coverage"]), rel=1e-12)


def test_agrees_with_torch_fidelity():
    fid = pytest.importorskip("torch_fidelity.metric_fid")
    torch = pytest.importorskip("torch")
    random = np.random.default_rng(4)
    real, generated = random.normal(size=(500, 24)), 1.1 * random.normal(size=(400, 24)) + 0.2
    statistics = [fid.fid_features_to_statistics(torch.from_numpy(a)) for a in (real, generated)]
    theirs = fid.fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert frechet_distance(real, generated) == pytest.approx(theirs, rel=1e-6)
