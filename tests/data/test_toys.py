"""Toy densities: normalisation, entropy, moments and log-densities against independent formulas."""

import math

import numpy as np
import pytest

from kgen.data import (
    TOYS,
    Checkerboard,
    EightGaussians,
    GaussianGrid,
    GaussianMixture,
    Rings,
    Spirals,
    TwoMoons,
)

DRAWS = 200_000


@pytest.fixture(scope="module", params=list(TOYS))
def drawn(request):
    """A density with 200,000 of its points and their log-densities, computed once."""
    density = TOYS[request.param]()
    points = density.sample(DRAWS, seed=1)
    return request.param, density, points, density.log_prob(points)


def test_samples_are_float32_points_with_finite_density(drawn):
    _, _, points, log_prob = drawn
    assert points.shape == (DRAWS, 2) and points.dtype == np.float32
    assert log_prob.shape == (DRAWS,) and log_prob.dtype == np.float64
    assert np.isfinite(log_prob).all()


def test_entropy_is_the_mean_of_minus_log_prob(drawn):
    _, density, _, log_prob = drawn
    error = log_prob.std() / math.sqrt(DRAWS)
    assert abs(-log_prob.mean() - density.entropy) <= 4 * error + 1e-9


@pytest.mark.parametrize("name", list(TOYS))
def test_density_integrates_to_one(name):
    # Midpoints, so that no point lies on a border of the checkerboard's squares; finer than every scale.
    step = 0.025 if name == "gaussian_grid" else 0.05
    ticks = np.arange(-5, 5, step) + step / 2
    grid = np.stack(np.meshgrid(ticks, ticks), -1).reshape(-1, 2)
    assert np.exp(TOYS[name]().log_prob(grid)).sum() * step**2 == pytest.approx(1, abs=1e-3)


# Mean, covariance and E|x|^2 by hand; see the definitions.
MOMENTS = {
    "eight_gaussians": ((0, 0), (4 + 0.125, 4 + 0.125, 0)),
    "gaussian_grid": ((0, 0), (8 + 0.0025, 8 + 0.0025, 0)),
    "checkerboard": ((0, 0), (16 / 3, 16 / 3, 1)),
    # 1/2 E[(2 cos t - 1)^2] + 1/2 E[(1 - 2 cos t)^2] = 3; y is symmetric about 0.3 with E[(2 sin t - 0.5)^2].
    "moons": ((0, 0.3), (3 + 0.04, 2.25 - 4 / math.pi + 0.04, None)),
    "spirals": ((0, 0), None),
    "rings": ((0, 0), (27 / 4 / 4 * 10 / 8 + 0.0064, 27 / 4 / 4 * 10 / 8 + 0.0064, 0)),
}


def test_moments(drawn):
    name, _, points, _ = drawn
    mean, covariance = MOMENTS[name]
    points = points.astype("float64")

    def assert_mean(values, expected):
        assert abs(values.mean() - expected) < 5 * values.std() / math.sqrt(DRAWS)

    centred = points - mean
    for axis in (0, 1):
        assert_mean(centred[:, axis], 0)
    if name == "spirals":
        # |c(t)|^2 = t^2 / 9 with t^2 = 9 pi^2 u, and 2 scale^2 of noise.
        assert_mean((points**2).sum(-1), math.pi**2 / 2 + 2 * 0.1**2)
        return
    assert_mean(centred[:, 0] ** 2, covariance[0])
    assert_mean(centred[:, 1] ** 2, covariance[1])
    if covariance[2] is not None:
        assert_mean(centred[:, 0] * centred[:, 1], covariance[2])


def test_histogram_follows_the_density(drawn):
    # Pearson's statistic over squares of side 1/4, the expected counts from a grid inside each.
    name, density, points, _ = drawn
    side, inner = 0.25, 25 if name == "gaussian_grid" else 5
    edges = np.arange(-5, 5 + side, side)
    counts = np.histogram2d(*points.T, bins=[edges, edges])[0]
    ticks = np.arange(-5, 5, side / inner) + side / inner / 2
    grid = np.stack(np.meshgrid(ticks, ticks, indexing="ij"), -1).reshape(-1, 2)
    mass = np.exp(density.log_prob(grid)).reshape(40, inner, 40, inner).sum((1, 3)) * (side / inner) ** 2
    expected = DRAWS * mass
    used = expected > 20
    statistic = ((counts - expected)[used] ** 2 / expected[used]).sum()
    freedom = used.sum() - 1
    assert abs(statistic - freedom) < 6 * math.sqrt(2 * freedom)


@pytest.mark.parametrize("density", [EightGaussians(), GaussianGrid()])
def test_mixture_modes_are_equally_frequent(density):
    points = density.sample(20_000, seed=3)
    nearest = ((points[:, None] - density.modes) ** 2).sum(-1).argmin(-1)
    share = np.bincount(nearest, minlength=len(density.modes)) / len(points)
    assert np.abs(share - 1 / len(density.modes)).max() < 5 * math.sqrt(1 / len(density.modes) / len(points))


def test_known_modes_and_scales():
    grid = GaussianGrid()
    assert grid.modes.shape == (25, 2) and grid.scale == 0.05
    assert {tuple(mode) for mode in grid.modes} == {(a, b) for a in (-4, -2, 0, 2, 4) for b in (-4, -2, 0, 2, 4)}
    ring = EightGaussians(radius=2, scale=0.02)
    assert ring.modes.shape == (8, 2) and ring.scale == 0.02
    np.testing.assert_allclose(np.linalg.norm(ring.modes, axis=-1), 2)


def test_entropy_of_separated_gaussians_is_closed():
    # ln K + ln(2 pi e s^2) where the modes do not overlap.
    expected = math.log(25) + math.log(2 * math.pi * math.e * 0.05**2)
    assert GaussianGrid().entropy == pytest.approx(expected, abs=1e-8)


def test_single_gaussian_log_prob():
    density = GaussianMixture([[1.0, -2.0]], 0.5)
    x = np.array([[1.0, -2.0], [2.0, 0.0]])
    np.testing.assert_allclose(density.log_prob(x), -math.log(2 * math.pi * 0.25) - np.array([0, 5]) / 0.5)
    assert density.entropy == pytest.approx(math.log(2 * math.pi * math.e * 0.25), abs=1e-8)


def test_checkerboard_is_uniform_on_its_squares():
    density = Checkerboard()
    assert density.entropy == math.log(32)
    x = np.array([[0.5, 0.5], [-1, -1], [-1, 1], [2.5, -3.9], [3, 3], [4, 4], [-4, -4], [2, 0]])
    inside = [True, True, False, False, True, False, True, False]
    np.testing.assert_array_equal(density.log_prob(x), np.where(inside, -math.log(32), -np.inf))


def test_checkerboard_samples_never_round_onto_an_empty_square():
    density = Checkerboard()
    top = np.array([1 - 2**-53])
    for component in np.arange(8) / 8:
        corner = density._transform(np.array([component]), top, top, top)
        assert corner.dtype == np.float32
        assert density.log_prob(corner)[0] == -math.log(32)


def test_rings_equal_the_integral_over_each_circle():
    # The trapezoid rule converges exponentially on a circle, so 2,000 nodes give the integral itself.
    density = Rings()
    x = density.sample(50, seed=2).astype("float64") * 1.3
    angles = 2 * np.pi * np.arange(2000) / 2000
    total = 0
    for radius in (0.75, 1.5, 2.25, 3.0):
        circle = radius * np.stack([np.cos(angles), np.sin(angles)], -1)
        squared = ((x[:, None] - circle) ** 2).sum(-1)
        total += np.exp(-squared / 2 / 0.08**2).mean(-1) / (2 * np.pi * 0.08**2) / 4
    np.testing.assert_allclose(density.log_prob(x), np.log(total), rtol=0, atol=1e-9)


def moon(u):
    return 2 * np.cos(np.pi * u) - 1, 2 * np.sin(np.pi * u) - 0.2


def spiral(u):
    t = 3 * np.pi * np.sqrt(u)
    return -t / 3 * np.cos(t), t / 3 * np.sin(t)


@pytest.mark.parametrize(("density", "curve"), [(TwoMoons(), moon), (Spirals(), spiral)])
def test_curves_equal_a_riemann_sum_over_their_points(density, curve):
    # Midpoint rule over the uniform variable that sampling maps to the curve; the second curve mirrors the first.
    u = (np.arange(200_000) + 0.5) / 200_000
    first = np.stack(curve(u), -1)
    second = -first if isinstance(density, Spirals) else np.array([0, 0.6]) - first
    x = density.sample(12, seed=5).astype("float64") * 1.05
    expected = []
    for point in x:
        p = [np.exp(-((point - c) ** 2).sum(-1) / 2 / density.scale**2).mean() for c in (first, second)]
        expected.append(math.log(sum(p) / 2 / (2 * math.pi * density.scale**2)))
    np.testing.assert_allclose(density.log_prob(x), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", list(TOYS))
def test_row_depends_on_seed_and_index_alone(name):
    density = TOYS[name]()
    np.testing.assert_array_equal(density.sample(8, seed=4)[:4], density.sample(4, seed=4))
    assert not np.array_equal(density.sample(8, seed=4), density.sample(8, seed=5))


def test_log_prob_does_not_depend_on_chunks(monkeypatch):
    density = GaussianGrid()
    x = density.sample(100)
    whole = density.log_prob(x)
    monkeypatch.setattr("kgen.data.toys.CHUNK", 60)
    np.testing.assert_array_equal(density.log_prob(x), whole)


def test_log_prob_far_away_stays_finite():
    for name in ("eight_gaussians", "gaussian_grid", "moons", "spirals", "rings"):
        assert TOYS[name]().log_prob([[1e3, -1e3]])[0] < -1e6


def test_wrong_arguments():
    density = Rings()
    with pytest.raises(ValueError, match=r"n must be an integer of at least 1, received 0"):
        density.sample(0)
    with pytest.raises(ValueError, match=r"n must be an integer of at least 1, received 2.5"):
        density.sample(2.5)
    with pytest.raises(ValueError, match=r"seed must be an integer from 0 to 4294967295, received -1"):
        density.sample(3, seed=-1)
    with pytest.raises(ValueError, match=r"seed must be an integer .* received None"):
        density.sample(3, seed=None)
    with pytest.raises(ValueError, match=r"x must have shape \(n, 2\), received shape \(2,\)"):
        density.log_prob(np.zeros(2))
    with pytest.raises(ValueError, match=r"x must be finite, received 1 rows of 3"):
        density.log_prob(np.array([[0, 0], [np.nan, np.inf], [1, 1]]))
    with pytest.raises(ValueError, match=r"modes must be finite and have shape \(K, 2\).* received shape \(2,\)"):
        GaussianMixture([1, 2], 0.1)
    with pytest.raises(ValueError, match=r"scale must be a positive number, received 0"):
        GaussianMixture([[1, 2]], 0)
