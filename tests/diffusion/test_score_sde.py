"""Score SDE: the reverse equation with the optimal denoiser of Gaussian data, and the model's configuration."""

import keras
import numpy as np
import pytest
from diffusion.test_samplers import MEAN, SCALE, draw

from kgen.diffusion import (
    CosineSchedule,
    RectifiedFlowSchedule,
    ReverseSDESampler,
    ScoreSDE,
    SubVPSchedule,
    VESchedule,
    VPSchedule,
)
from kgen.networks import MLP


@pytest.mark.parametrize("schedule", [VPSchedule(), SubVPSchedule(), VESchedule()], ids=lambda s: type(s).__name__)
def test_the_reverse_equation_draws_gaussian_data(schedule):
    x = draw(ReverseSDESampler(80), schedule, n=256)
    np.testing.assert_allclose(x.mean(0), MEAN, atol=0.25)
    np.testing.assert_allclose(x.std(0)[:2], SCALE[:2], rtol=0.25)


def test_it_refuses_a_schedule_without_a_reverse_equation():
    with pytest.raises(
        ValueError, match=r"sampler: ReverseSDESampler needs a schedule with alpha\(1\) > 0, such as 'vp'"
    ):
        draw(ReverseSDESampler(2), RectifiedFlowSchedule(), n=2)


def test_the_model_and_its_configuration():
    network = MLP((2,), (2,), widths=(4,), time=True)
    model = ScoreSDE((2,), schedule="ve", network=network, ema=None)
    assert model.sampler == ReverseSDESampler(1000) and model.likelihood == "exact"
    again = ScoreSDE.from_config(model.get_config())
    assert again.schedule == VESchedule() and again.get_config() == model.get_config()
    model = ScoreSDE((2,), schedule=CosineSchedule(), network=network, sampler=ReverseSDESampler(3), ema=None)
    model.compile("adam", jit_compile=False)
    assert model.sample(2, seed=0).shape == (2, 2)
    with pytest.raises(ValueError, match="prediction: .* leaves nothing of the data at t = 1"):
        ScoreSDE((2,), schedule="rectified_flow", network=network)
    assert keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(model.sampler)) == model.sampler
