"""Euler's method, with and without noise, the sampler of EDM and predictor-corrector: exact moments and steps in numpy."""

import itertools

import numpy as np
import pytest
from diffusion.analytic import (
    MEAN,
    MEANS,
    PROCESSES,
    SCALE,
    WIDTH,
    draw,
    level,
    noise,
    optimal,
    optimal_of_the_mixture,
)
from keras import ops

from kgen.core import random
from kgen.diffusion import (
    AncestralSampler,
    CosineSchedule,
    DDIMSampler,
    DPMSolverMultistepSampler,
    EDMSampler,
    EDMSchedule,
    EulerAncestralSampler,
    EulerSampler,
    HeunSampler,
    PredictorCorrectorSampler,
    RectifiedFlowSchedule,
    ReverseSDESampler,
    VPSchedule,
)
from kgen.diffusion.samplers import noise_like

X, SEEDS = noise(4), random.row_seeds(3, 4)


def one_step(sampler, schedule, t, s, x=X):
    rows = ops.convert_to_tensor(x)
    carry = sampler.step(
        optimal(schedule),
        schedule,
        sampler.init(rows),
        ops.full((4,), t),
        ops.full((4,), s),
        ops.convert_to_tensor(SEEDS),
        0,
    )
    return ops.convert_to_numpy(carry[0])


def z(seeds=SEEDS):
    return ops.convert_to_numpy(noise_like(ops.zeros((4, 3)), seeds))


def gain(a, s):
    """Of the optimal estimate of x_0, a line in x_t."""
    return a * SCALE**2 / (a**2 * SCALE**2 + s**2)


@pytest.mark.parametrize("eta", [0.0, 0.7, 1.0])
def test_an_euler_step_is_that_of_k_diffusion(eta):
    """``sample_euler_ancestral`` in y and r; with eta = 0 ``sample_euler``, which is DDIM's."""
    schedule, (t, s) = CosineSchedule(), (0.7, 0.5)
    sampler = EulerAncestralSampler(5, eta=eta) if eta else EulerSampler(5)
    (a, b), (q, r) = level(schedule, [t, s])
    high, low = q / a, r / b
    up = min(low, eta * (low**2 * (high**2 - low**2) / high**2) ** 0.5)
    down = (low**2 - up**2) ** 0.5
    y = X / a
    slope = (y - (MEAN + gain(a, q) * (X - a * MEAN))) / high
    expected = b * (y + slope * (down - high) + up * z())
    np.testing.assert_allclose(one_step(sampler, schedule, t, s), expected, atol=2e-5)
    np.testing.assert_allclose(one_step(DDIMSampler(5, eta=eta), schedule, t, s), expected, atol=2e-5)


def churned(schedule, t, gamma):
    """r, and the noise raised by the factor 1 + gamma."""
    a, s = (v[0] for v in level(schedule, [t]))
    return s / a, (1 + gamma) * s / a


@pytest.mark.parametrize(("t", "churn"), [(0.6, 2.0), (0.6, 100.0), (0.99, 2.0)], ids=["some", "most", "beyond s_tmax"])
def test_a_step_of_edm_is_the_papers(t, churn):
    """Algorithm 2, in y and r."""
    schedule, s, steps = CosineSchedule(), 0.4, 10
    gamma = min(churn / steps, 2**0.5 - 1) if t < 0.9 else 0.0
    low, high = churned(schedule, t, gamma)
    (alpha_t, _), (alpha_s, sigma_s) = ((v[0] for v in level(schedule, [u])) for u in (t, s))
    end = sigma_s / alpha_s

    def slope(y, r):
        return (y - (MEAN + gain(1.0, r) * (y - MEAN))) / r

    y = X / alpha_t + np.sqrt(high**2 - low**2) * 1.1 * z()
    first = slope(y, high)
    expected = alpha_s * (y + (end - high) * 0.5 * (first + slope(y + (end - high) * first, end)))
    found = one_step(EDMSampler(steps, s_churn=churn, s_tmax=10.0, s_noise=1.1), schedule, t, s)
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-4)


def test_edm_without_churn_is_heun_and_noise_is_not_raised_beyond_the_end():
    for t, s in ((0.5, 0.4), (0.1, 0.0)):
        plain = one_step(HeunSampler(5), EDMSchedule(), t, s, 5 * X)
        np.testing.assert_allclose(
            one_step(EDMSampler(5, s_churn=0.0), EDMSchedule(), t, s, 5 * X), plain, rtol=1e-5, atol=1e-6
        )
    for schedule in (EDMSchedule(), RectifiedFlowSchedule()):
        sampler = EDMSampler(5, s_churn=1e3, s_tmax=1e6)
        found = one_step(sampler, schedule, 1.0, 0.6, schedule.prior_scale * X)
        plain = one_step(HeunSampler(5), schedule, 1.0, 0.6, schedule.prior_scale * X)
        np.testing.assert_allclose(found, plain, rtol=1e-4, atol=1e-5)


def moments_of_edm(sampler, times):
    """Mean and deviation in the three directions, for a schedule with alpha = 1, by the paper's lines."""
    _, sigma = level(EDMSchedule(), times)
    ratio = np.append(sigma[:-1], 0.0)
    mean, variance = np.zeros(3), np.full(3, 80.0**2)
    for r, end in itertools.pairwise(ratio):
        g = min(sampler.s_churn / sampler.steps, 2**0.5 - 1) if sampler.s_tmin <= r <= sampler.s_tmax else 0.0
        high = min((1 + g) * r, 80.0)
        variance = variance + sampler.s_noise**2 * (high**2 - r**2)
        # d = k (y - MEAN), k = r/(SCALE^2 + r^2)
        k = high / (SCALE**2 + high**2)
        euler = 1 + (end - high) * k
        slope = euler if end == 0 else 1 + 0.5 * (end - high) * (k + end / (SCALE**2 + end**2) * euler)
        mean, variance = MEAN + slope * (mean - MEAN), slope**2 * variance
    return mean, np.sqrt(variance)


def moments_of_predictor(times):
    """Mean and deviation of the predictor alone, where variance is preserved."""
    alpha, sigma = level(CosineSchedule(), times)
    mean, variance = np.zeros(3), np.ones(3)
    for a, s, b, r in zip(alpha[:-1], sigma[:-1], alpha[1:], sigma[1:], strict=True):
        k = gain(a, s)
        if r == 0:
            slope, added = k, 0.0
        else:
            added = s**2 - (a / b) ** 2 * r**2
            slope = 2 - a / b - added / s**2 * (1 - a * k)
        # The fixed part: eps = (x - a (MEAN + k (x - a MEAN)))/s
        constant = (MEAN - k * a * MEAN) * (1.0 if r == 0 else added / s**2 * a)
        mean, variance = slope * mean + constant, slope**2 * variance + added
    return mean, np.sqrt(variance)


@pytest.mark.once("test_same_everywhere holds the solvers of every backend to the same numbers")
def test_mean_and_deviation():
    n, edm = 4000, EDMSampler(12, s_churn=4.0, s_noise=1.1, grid="uniform")
    predictor = PredictorCorrectorSampler(30, snr=0.0)
    for sampler, schedule, (mean, scale) in (
        (edm, EDMSchedule(), moments_of_edm(edm, np.linspace(1.0, 0.0, 13))),
        (predictor, CosineSchedule(), moments_of_predictor(np.linspace(1.0, 0.0, 31))),
    ):
        x = draw(sampler, schedule, n)
        np.testing.assert_array_less(np.abs(x.mean(0) - mean), 5 * scale / n**0.5)
        np.testing.assert_allclose(x.std(0), scale, rtol=5 / (2 * n) ** 0.5)


def test_a_correction_is_the_papers():
    """A step of Algorithms 2 and 3, norms at their expectation, where variance explodes and where it is preserved, with two corrections."""
    for schedule, t, s in ((EDMSchedule(), 0.5, 0.45), (CosineSchedule(), 0.5, 0.45)):
        (a, b), (q, r) = level(schedule, [t, s])

        def score(x, alpha, sigma):
            return -(x - alpha * MEAN) / (alpha**2 * SCALE**2 + sigma**2)

        variance = q**2 - (a / b) ** 2 * r**2
        x = (2 - a / b) * X + variance * score(X, a, q) + variance**0.5 * z()
        for k in range(2):
            g, fresh = score(x, b, r), z(random.fold_in(ops.convert_to_tensor(SEEDS), k + 1))
            e = 2 * (0.2 * r) ** 2
            x = x + e * g + np.sqrt(2 * e) * fresh
        found = one_step(PredictorCorrectorSampler(10, snr=0.2, corrections=2), schedule, t, s)
        np.testing.assert_allclose(found, x, rtol=1e-4, atol=1e-4)


@pytest.mark.once("test_same_everywhere holds the solvers of every backend to the same numbers")
@pytest.mark.parametrize(
    ("sampler", "processes"),
    [
        (EulerAncestralSampler(60), PROCESSES[-2:]),
        (EDMSampler(30, s_churn=10.0), PROCESSES[-2:]),
        (PredictorCorrectorSampler(200), PROCESSES[-2:]),
    ],
    ids=lambda v: type(v).__name__,
)
def test_processes_end_in_data(sampler, processes):
    """One of sigma(0) > 0, one of alpha(1) = 0 and sigma(0) = 0."""
    for schedule in processes:
        x = draw(sampler, schedule, 400)
        np.testing.assert_allclose(x.mean(0), MEAN, atol=0.15, err_msg=repr(schedule))
        np.testing.assert_allclose(x.std(0), SCALE, rtol=0.25, atol=0.02, err_msg=repr(schedule))


@pytest.mark.once("test_same_everywhere holds the solvers of every backend to the same numbers")
@pytest.mark.parametrize(
    "sampler",
    [
        AncestralSampler(400),
        EulerAncestralSampler(400, grid="uniform"),
        DPMSolverMultistepSampler(60, stochastic=True),
        EDMSampler(60, s_churn=20.0),
        PredictorCorrectorSampler(200),
        ReverseSDESampler(300),
    ],
    ids=lambda v: type(v).__name__,
)
def test_moments_of_a_mixture(sampler):
    """Both modes with half of the rows, first and second moments of each within the draws' scatter and what the length of steps leaves."""
    n, schedule = 3000, VPSchedule()
    x = draw(sampler, schedule, n, denoiser=optimal_of_the_mixture).astype("float64")
    near = np.square((x[:, None] - MEANS) / WIDTH).sum(-1).argmin(1)
    assert abs(near.mean() - 0.5) < 5 * 0.5 / n**0.5 + 0.01
    away = (MEANS[0] - MEANS[1]) / 2
    mean, covariance = MEANS.mean(0), np.diag(WIDTH**2) + np.outer(away, away)
    scale = np.sqrt(np.diag(covariance))
    np.testing.assert_array_less(np.abs(x.mean(0) - mean), (5 / n**0.5 + 0.02) * scale)
    np.testing.assert_allclose(np.cov(x.T) / np.outer(scale, scale), covariance / np.outer(scale, scale), atol=0.08)


def test_calls():
    assert PredictorCorrectorSampler(5, corrections=2).calls() == 13 and PredictorCorrectorSampler(5).calls(1) == 1
    assert EDMSampler(5).calls() == 9
