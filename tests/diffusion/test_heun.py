"""Heun's method, with the optimal denoiser of Gaussian data."""

import keras
import numpy as np
import pytest
from diffusion.test_samplers import MEAN, PROCESSES, SCALE, draw, noise, optimal
from keras import ops

from kgen import backend
from kgen.core import random
from kgen.diffusion import CosineSchedule, HeunSampler, KarrasGrid, RectifiedFlowSchedule, VPSchedule


def order_within(sampler, schedule, steps, end=0.02):
    """The order of convergence towards the flow from t = 1 to ``end`` in equal steps of the log-SNR, where no step is the last.

    In float64, schedules included; float32 on JAX, which has no other unless asked.
    """
    dtype = "float32" if keras.config.backend() == "jax" else "float64"
    ends = ops.convert_to_tensor(np.array([1.0, end], dtype))
    high, low = ops.convert_to_numpy(schedule.log_snr(ends))
    alpha, sigma = (ops.convert_to_numpy(f(ends))[:, None] for f in (schedule.alpha, schedule.sigma))
    scale = np.sqrt(alpha**2 * SCALE**2 + sigma**2)
    x, seeds = noise(32).astype(dtype), ops.convert_to_tensor(random.row_seeds(0, 32))
    expected = alpha[1] * MEAN + (x - alpha[0] * MEAN) * scale[1] / scale[0]
    run = backend.jit(lambda x, times: sampler.run(optimal(schedule), schedule, seeds, x, times))
    errors = []
    for count in steps:
        times = schedule.time(ops.convert_to_tensor(np.tile(np.linspace(high, low, count + 1, dtype=dtype), (32, 1))))
        found = ops.convert_to_numpy(run(ops.convert_to_tensor(x), times))
        assert found.dtype == dtype
        errors.append(np.abs(found - expected).mean())
    return -np.polyfit(np.log(steps), np.log(errors), 1)[0], errors


def test_order_two():
    order, errors = order_within(HeunSampler(), CosineSchedule(), [40, 80, 160])
    assert 1.95 < order < 2.1 and errors[-1] < 3e-4, (order, errors)


@pytest.mark.parametrize("schedule", PROCESSES, ids=lambda s: type(s).__name__)
def test_each_process_ends_in_data(schedule):
    """alpha(1) = 0, sigma(0) = 0, sigma(0) > 0: none divides by zero."""
    x, start = draw(HeunSampler(60), schedule, 64), noise(64)
    np.testing.assert_allclose(x.mean(0), MEAN + SCALE * start.mean(0), atol=0.03)
    np.testing.assert_allclose(x.std(0), SCALE * start.std(0), rtol=0.1)


def test_a_step_is_that_of_the_paper():
    """y' = y + (r_s - r_t) (d + d')/2 with d = (y - D)/r, in numpy."""
    schedule, t, s = VPSchedule(), 0.6, 0.5
    x = noise(4)
    found = HeunSampler(3).step(
        optimal(schedule), schedule, (ops.convert_to_tensor(x),), ops.full((4,), t), ops.full((4,), s), None, 0
    )[0]

    def level(t):
        log_alpha_bar = -(0.1 * t + 0.5 * t**2 * 19.9)
        return np.exp(0.5 * log_alpha_bar), np.sqrt(np.expm1(-log_alpha_bar))

    (_, r), (alpha, q) = level(t), level(s)
    y = x / level(t)[0]
    slope = [0, 0]
    slope[0] = (y - MEAN) * r / (SCALE**2 + r**2)
    slope[1] = (y + (q - r) * slope[0] - MEAN) * q / (SCALE**2 + q**2)
    np.testing.assert_allclose(ops.convert_to_numpy(found), alpha * (y + (q - r) * sum(slope) / 2), atol=1e-5)


def test_calls_are_those_that_are_made():
    assert HeunSampler(5).calls() == 9 and HeunSampler(5).calls(1) == 1
    schedule, plain, times = RectifiedFlowSchedule(), optimal(RectifiedFlowSchedule()), []

    def counted(x, t):
        times.append(t)
        return plain(x, t)

    sampler = HeunSampler(3)
    seeds = ops.convert_to_tensor(random.row_seeds(0, 2))
    grid, carry = sampler.times(schedule, 2), (ops.convert_to_tensor(noise(2)),)
    for i in range(3):
        carry = sampler.step(counted, schedule, carry, grid[:, i], grid[:, i + 1], seeds, i)
    assert len(times) == sampler.calls()


def test_rows_have_their_own_number_of_steps_and_it_is_data():
    sampler = HeunSampler(6, grid=KarrasGrid(5))
    assert keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(sampler)) == sampler
    together = draw(sampler, CosineSchedule(), 2, steps=ops.convert_to_tensor(np.array([4, 6], "int32")))
    for row, count in enumerate((4, 6)):
        alone = draw(HeunSampler(count, grid=KarrasGrid(5)), CosineSchedule(), 2)
        np.testing.assert_allclose(together[row], alone[row], atol=1e-5)
