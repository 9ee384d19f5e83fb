"""DDIM inversion: against the flow of Gaussian data, and back through a network."""

import keras
import numpy as np
import pytest
from diffusion.analytic import MEAN, SCALE, exact_flow, noise
from keras import ops

from kgen.core import random
from kgen.core.sphere import slerp
from kgen.diffusion import DDPM, CosineSchedule, DDIMSampler, RectifiedFlowSchedule, interpolate, invert
from kgen.diffusion.inversion import interpolate_rows
from kgen.diffusion.schedules import like
from kgen.networks import MLP

SEEDS = random.row_seeds(0, 8)


class Optimal(keras.layers.Layer):
    """The optimal estimate of Gaussian data, as a network."""

    def __init__(self, schedule):
        super().__init__()
        self.schedule = schedule

    def call(self, inputs):
        x, t = inputs
        alpha, sigma = like(self.schedule.alpha(t), x), like(self.schedule.sigma(t), x)
        mean, variance = (ops.convert_to_tensor(v.astype("float32")) for v in (MEAN, SCALE**2))
        return mean + alpha * variance / (alpha**2 * variance + sigma**2) * (x - alpha * mean)


def back(model, x, steps, **values):
    return ops.convert_to_numpy(
        model.sample_rows(
            ops.convert_to_tensor(SEEDS[: len(x)]), values, sampler=DDIMSampler(steps), x=ops.convert_to_tensor(x)
        )
    )


@pytest.mark.parametrize("schedule", [CosineSchedule(), RectifiedFlowSchedule()], ids=lambda s: type(s).__name__)
def test_it_is_the_flow_backwards(schedule):
    """Twice the steps, half the error; and the samples of that noise are the data."""
    model = DDPM((3,), network=Optimal(schedule), schedule=schedule, prediction="data", ema=None)
    model.compile(jit_compile=False)
    start = noise(8)
    x = exact_flow(schedule, start.astype("float64")).astype("float32")
    errors = []
    for steps in (50, 100):
        found = invert(model, x, steps=steps)
        assert found.shape == x.shape and found.dtype == np.float32
        errors.append(np.abs(found - start)[:, :2].mean())  # the third direction is next to a point
    assert errors[1] < 0.7 * errors[0] and errors[1] < 0.15, errors
    np.testing.assert_allclose(back(model, found, 100), x, atol=0.1)
    if schedule.ends_in_noise:
        return
    way = interpolate(model, x[:4], x[4:], 3, steps=100)
    assert way.shape == (4, 3, 3)
    np.testing.assert_allclose(way[:, [0, -1]], np.stack([x[:4], x[4:]], axis=1), atol=0.1)
    middle = exact_flow(schedule, slerp(start[:4], start[4:], 3)[:, 1])
    np.testing.assert_allclose(way[:, 1], middle, atol=0.1)


def test_a_network_returns_what_was_inverted():
    keras.utils.set_random_seed(0)
    model = DDPM((2,), num_classes=3, ema=None)
    for weight in model.network.trainable_weights:
        weight.assign(0.1 * np.random.default_rng(0).normal(size=weight.shape))
    model.compile(jit_compile=False)
    x, labels = np.random.default_rng(0).normal(0, 0.5, (4, 2)).astype("float32"), np.array([0, 1, 2, 1])
    found = invert(model, x, labels=labels, steps=100)
    np.testing.assert_allclose(invert(model, x, labels=labels, steps=100, batch_size=3), found, atol=1e-5)
    assert np.abs(invert(model, x, labels=(labels + 1) % 3, steps=100) - found).max() > 1e-3
    key = next(iter(model.conditions.specs()))
    np.testing.assert_allclose(
        back(model, found, 100, **{key: ops.convert_to_tensor(labels.astype("int32"))}), x, atol=0.1
    )


def test_arguments():
    network, x = MLP((2,), (2,), widths=(4,), time=True), np.zeros((2, 2), "float32")
    with pytest.raises(TypeError, match="model: expected a DDPM, whose samples are the data itself, received MLP"):
        invert(network, x)
    model = DDPM((2,), network=network, prediction="data")
    with pytest.raises(ValueError, match="frames: expected at least 2, both ends included, received 1"):
        interpolate(model, x, x, 1)
    with pytest.raises(ValueError, match="a, b: expected as many examples in both, received 2 and 1"):
        interpolate(model, x, x[:1])


def test_rows_take_their_own_number_of_steps():
    model = DDPM((3,), network=Optimal(CosineSchedule()), prediction="data", ema=None)
    rng = np.random.default_rng(0)
    a, b = (ops.convert_to_tensor(rng.normal(size=(3, 3)).astype("float32")) for _ in range(2))
    share = ops.convert_to_tensor(np.array([0.2, 0.5, 0.9], "float32"))
    counts = np.array([8, 4, 1], "int32")
    found = ops.convert_to_numpy(interpolate_rows(model, a, b, share, {}, 8, ops.convert_to_tensor(counts)))
    for row, steps in enumerate(counts):
        alone = ops.convert_to_numpy(interpolate_rows(model, a, b, share, {}, int(steps)))[row]
        np.testing.assert_allclose(found[row], alone, rtol=1e-4, atol=1e-5)
