"""DPM-Solver++(2M), with the optimal denoiser of Gaussian data."""

import keras
import numpy as np
import pytest
from diffusion.analytic import (
    MEAN,
    SCALE,
    check_that_each_process_ends_in_data,
    check_trajectory,
    draw,
    level,
    noise,
    optimal,
    order_within,
)
from keras import ops

from kgen.core import random
from kgen.diffusion import (
    CosineSchedule,
    DPMSolverMultistepSampler,
    DPMSolverSinglestepSampler,
    UniformGrid,
    VPSchedule,
)

TWO, THREE, SINGLE = DPMSolverMultistepSampler(), DPMSolverMultistepSampler(order=3), DPMSolverSinglestepSampler()


@pytest.mark.once("test_same_everywhere holds the solvers of every backend to the same numbers")
@pytest.mark.parametrize(
    ("sampler", "least", "error"),
    [(TWO, 1.85, 2e-3), (THREE, 2.85, 2e-4), (SINGLE, 1.85, 2e-3)],
    ids=["2M", "3M", "2S"],
)
def test_order(sampler, least, error):
    for mixed in (False, True):
        orders, errors = order_within(sampler, mixed)
        assert orders[-1] > least and errors[-1] < error, (mixed, orders, errors)


@pytest.mark.once("test_same_everywhere holds the solvers of every backend to the same numbers")
@pytest.mark.parametrize("sampler", [TWO, THREE, SINGLE], ids=["2M", "3M", "2S"])
def test_each_process_ends_in_data(sampler):
    check_that_each_process_ends_in_data(sampler)


@pytest.mark.once("test_same_everywhere holds the solvers of every backend to the same numbers")
def test_the_trajectory_of_the_reference():
    """Order three has none: that of diffusers, as the authors' code, has half of the last coefficient, and so order two."""
    check_trajectory(TWO, "dpm_solver_multistep")
    check_trajectory(SINGLE, "dpm_solver_singlestep", "exponential")


def exact_moments(schedule, times):
    """Mean and standard deviation of SDE-DPM-Solver++(2M) for ``times``: each step is linear in x and the estimate before."""
    alpha, sigma = level(schedule, times)
    log_snr = 2 * np.log(alpha / np.maximum(sigma, 1e-30))
    # The state is (x, estimate before, 1), for each of the three directions.
    second = np.zeros((3, 3, 3))
    second[:, 0, 0], second[:, 2, 2] = 1.0, 1.0
    for k in range(len(times) - 1):
        a, s, b, r = alpha[k], sigma[k], alpha[k + 1], sigma[k + 1]
        lost = 1 - (a * r / (b * s)) ** 2
        gain = a * SCALE**2 / (a**2 * SCALE**2 + s**2)
        share = 0.5 * (log_snr[k + 1] - log_snr[k]) / (log_snr[k] - log_snr[k - 1]) if 0 < k < len(times) - 2 else 0.0
        step = np.zeros((3, 3, 3))
        step[:, 1, 0], step[:, 1, 2], step[:, 2, 2] = gain, MEAN * (1 - gain * a), 1.0
        step[:, 0] = b * lost * ((1 + share) * step[:, 1] - share * np.eye(3)[1])
        step[:, 0, 0] += a * r**2 / (b * s**2)
        second = step @ second @ step.transpose(0, 2, 1)
        second[:, 0, 0] += r**2 * lost
    return second[:, 0, 2], np.sqrt(second[:, 0, 0] - second[:, 0, 2] ** 2)


@pytest.mark.once("test_same_everywhere holds the solvers of every backend to the same numbers")
def test_mean_and_deviation_where_it_is_stochastic():
    n, sampler = 4000, DPMSolverMultistepSampler(12, grid="uniform", stochastic=True)
    x = draw(sampler, CosineSchedule(), n)
    mean, scale = exact_moments(CosineSchedule(), np.linspace(1.0, 0.0, 13))
    np.testing.assert_array_less(np.abs(x.mean(0) - mean), 5 * scale / n**0.5)
    np.testing.assert_allclose(x.std(0), scale, rtol=5 / (2 * n) ** 0.5)


def paper(x, steps):
    """Algorithm 2 for ``VPSchedule`` and equal steps of time, in float64; the last step, to lambda = infinity, is x_0."""
    t = np.linspace(1, 0, steps + 1)[:-1]
    log_alpha = -0.5 * (0.1 * t + 0.5 * t**2 * 19.9)
    alpha, sigma = np.exp(log_alpha), np.sqrt(-np.expm1(2 * log_alpha))
    lam = log_alpha - np.log(sigma)
    estimates = []
    for k in range(steps):
        gain = alpha[k] * SCALE**2 / (alpha[k] ** 2 * SCALE**2 + sigma[k] ** 2)
        estimates.append(MEAN + gain * (x - alpha[k] * MEAN))
        if k == steps - 1:
            return estimates[-1]
        h = lam[k + 1] - lam[k]
        blend = estimates[-1]
        if k > 0:
            r = (lam[k] - lam[k - 1]) / h
            blend = (1 + 1 / (2 * r)) * estimates[-1] - 1 / (2 * r) * estimates[-2]
        x = sigma[k + 1] / sigma[k] * x - alpha[k + 1] * np.expm1(-h) * blend


@pytest.mark.once("test_same_everywhere holds the solvers of every backend to the same numbers")
def test_it_is_the_papers_algorithm_in_each_row():
    """Rows with their own numbers of steps, against numpy."""
    counts = np.array([1, 2, 3, 8, 12], "int32")
    dtype, tolerance = ("float32", 1e-4) if keras.config.backend() == "jax" else ("float64", 1e-10)
    x = noise(5).astype(dtype)
    found = DPMSolverMultistepSampler(12, grid=UniformGrid()).sample(
        optimal(VPSchedule()),
        VPSchedule(),
        ops.convert_to_tensor(random.row_seeds(0, 5)),
        (3,),
        x=ops.convert_to_tensor(x),
        steps=ops.convert_to_tensor(counts),
    )
    expected = [paper(row, count) for row, count in zip(x.astype("float64"), counts, strict=True)]
    np.testing.assert_allclose(ops.convert_to_numpy(found), expected, atol=tolerance)


def test_it_is_data_and_says_what_it_costs():
    sampler = DPMSolverMultistepSampler(7, grid="karras")
    assert sampler.calls() == 7 and sampler.calls(3) == 3
    assert keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(sampler)) == sampler
    assert DPMSolverSinglestepSampler(7).calls() == 13 and DPMSolverSinglestepSampler(7).calls(1) == 1
    with pytest.raises(ValueError, match="order: expected one of 1, 2, 3, received 4"):
        DPMSolverMultistepSampler(order=4)
    with pytest.raises(ValueError, match="order: expected 2 of a stochastic DPMSolverMultistepSampler, received 3"):
        DPMSolverMultistepSampler(order=3, stochastic=True)
