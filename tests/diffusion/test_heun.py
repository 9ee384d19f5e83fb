"""Heun's method, with the optimal denoiser of Gaussian data."""

import keras
import numpy as np
import pytest
from diffusion.analytic import (
    MEAN,
    SCALE,
    check_that_each_process_ends_in_data,
    check_trajectory,
    draw,
    noise,
    optimal,
    order_within,
)
from keras import ops

from kgen.core import random
from kgen.diffusion import CosineSchedule, DDIMSampler, HeunSampler, KarrasGrid, RectifiedFlowSchedule, VPSchedule

SAMPLER = HeunSampler()


@pytest.mark.once("test_same_everywhere holds the solvers of every backend to the same numbers")
def test_order_two():
    orders, errors = order_within(SAMPLER)
    assert (np.abs(orders - 2.1) < 0.15).all() and errors[-1] < 4e-3, (orders, errors)
    orders, errors = order_within(SAMPLER, mixed=True)
    assert (np.abs(orders - 2.1) < 0.15).all() and errors[-1] < 4e-3, (orders, errors)


@pytest.mark.once("test_same_everywhere holds the solvers of every backend to the same numbers")
def test_each_process_ends_in_data():
    check_that_each_process_ends_in_data(SAMPLER, atol=0.05)


@pytest.mark.once("test_same_everywhere holds the solvers of every backend to the same numbers")
def test_the_trajectory_of_the_reference():
    check_trajectory(SAMPLER, "heun")


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


@pytest.mark.once("test_same_everywhere holds the solvers of every backend to the same numbers")
def test_from_next_to_no_data_a_step_is_eulers():
    """The first of 17 steps of the cosine process goes from r = 1,000 to 11: the mean of the slopes lands 0.2 beside the path."""
    schedule = CosineSchedule()
    denoise, x = optimal(schedule), ops.convert_to_tensor(noise(64))
    t, s = ops.ones((64,)), ops.full((64,), 16 / 17)

    def at(sampler, x, t, s):
        return sampler.step(denoise, schedule, (x,), t, s, None, 0)[0]

    fine = x
    for k in range(40):
        fine = at(DDIMSampler(40), fine, t + (s - t) * k / 40, t + (s - t) * (k + 1) / 40)
    found, near = ops.convert_to_numpy(at(HeunSampler(17), x, t, s)), ops.convert_to_numpy(fine)
    assert np.sqrt(np.square(found - near).mean()) < 0.02


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
