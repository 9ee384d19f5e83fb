"""LMS, DEIS, UniPC and PNDM: orders, ends, and the trajectories of their namesakes in diffusers."""

import numpy as np
import pytest
from diffusion.analytic import check_that_each_process_ends_in_data, check_trajectory, noise, optimal, order_within
from keras import ops

from kgen.core import random
from kgen.diffusion import (
    CosineSchedule,
    DEISSampler,
    LinearSchedule,
    LMSSampler,
    PNDMSampler,
    TrailingGrid,
    UniPCSampler,
)

LMS, DEIS, UNIPC, PNDM = SAMPLERS = LMSSampler(), DEISSampler(), UniPCSampler(), PNDMSampler()


def of(sampler):
    return type(sampler).__name__


@pytest.mark.once("test_same_everywhere holds the solvers of every backend to the same numbers")
@pytest.mark.parametrize(
    ("sampler", "least", "error"),
    [(LMS, 2.9, 1.5e-3), (DEIS, 3.2, 1e-4), (UNIPC, 2.8, 6e-4), (PNDM, 1.9, 1.5e-3)],
    ids=of,
)
def test_order(sampler, least, error):
    """LMS has four and DEIS three, UniPC of order two has one more by its corrector; PNDM has two."""
    orders, errors = order_within(sampler)
    assert orders[-1] > least and errors[-1] < error, (orders, errors)
    orders, errors = order_within(sampler, mixed=True)
    assert orders[-1] > min(least, 2.7) - 0.1 and errors[-1] < 1.5e-3, (orders, errors)


@pytest.mark.once("test_same_everywhere holds the solvers of every backend to the same numbers")
@pytest.mark.parametrize("sampler", SAMPLERS, ids=of)
def test_each_process_ends_in_data(sampler):
    check_that_each_process_ends_in_data(sampler, atol=0.03)


@pytest.mark.once("test_same_everywhere holds the solvers of every backend to the same numbers")
@pytest.mark.parametrize("sampler", SAMPLERS, ids=of)
def test_the_trajectory_of_the_reference(sampler):
    """That of DEIS does not end in data, but at the noise of its first step, by a step of full order."""
    check_trajectory(sampler, sampler.alias, "trailing to 1/1000" if sampler == DEIS else "trailing")


@pytest.mark.parametrize("sampler", SAMPLERS, ids=of)
def test_a_step_that_is_none_is_not_remembered(sampler):
    """Of four steps where the schedule has two, rows stay in two: wherever these come, it is as with two."""
    schedule, rows = LinearSchedule(num_steps=1000), 2
    seeds, x = ops.convert_to_tensor(random.row_seeds(0, rows)), ops.convert_to_tensor(noise(rows))
    times = ops.convert_to_tensor(np.array([[1, 1, 0.6, 0.6, 0.2, 0], [1, 0.6, 0.2, 0, 0, 0]], "float32"))
    x = ops.take(x, ops.convert_to_tensor([0, 0]), axis=0)
    found = ops.convert_to_numpy(sampler.run(optimal(schedule), schedule, seeds, x, times))
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)


def test_calls():
    """PNDM's first step estimates twice, unless it is the last."""
    assert LMSSampler(7).calls() == DEISSampler(7).calls() == UniPCSampler(7).calls() == 7
    schedule, plain, times = CosineSchedule(), optimal(CosineSchedule()), []
    sampler = PNDMSampler(3, grid=TrailingGrid())
    grid, carry = sampler.times(schedule, 2), sampler.init(ops.convert_to_tensor(noise(2)))
    for i in range(3):
        carry = sampler.step(
            lambda x, t: times.append(t) or plain(x, t), schedule, carry, grid[:, i], grid[:, i + 1], None, i
        )
    assert len(times) <= sampler.calls() == 4 and PNDMSampler(3).calls(1) == 1
    with pytest.raises(ValueError, match="order: expected one of 1, 2, 3, received 4"):
        DEISSampler(order=4)
