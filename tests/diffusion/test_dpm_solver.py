"""DPM-Solver++(2M), with the optimal denoiser of Gaussian data."""

import keras
import numpy as np
import pytest
from diffusion.test_heun import order_within
from diffusion.test_samplers import MEAN, PROCESSES, SCALE, draw, noise, optimal
from keras import ops

from kgen.core import random
from kgen.diffusion import CosineSchedule, DPMSolverMultistepSampler, UniformGrid, VPSchedule


def test_order_two():
    order, errors = order_within(DPMSolverMultistepSampler(), CosineSchedule(), [40, 80, 160])
    assert 1.9 < order < 2.1 and errors[-1] < 3e-4, (order, errors)


@pytest.mark.parametrize("schedule", PROCESSES, ids=lambda s: type(s).__name__)
def test_each_process_ends_in_data(schedule):
    """alpha(1) = 0, sigma(0) = 0, sigma(0) > 0: none has an infinite number in it."""
    x, start = draw(DPMSolverMultistepSampler(40), schedule, 64), noise(64)
    np.testing.assert_allclose(x.mean(0), MEAN + SCALE * start.mean(0), atol=0.03)
    np.testing.assert_allclose(x.std(0), SCALE * start.std(0), rtol=0.1)


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
