"""SDEdit: against the flow of Gaussian data from the time of the noise; and what a server is offered of it."""

import keras
import numpy as np
import pytest
from diffusion.analytic import exact_flow, level, noise
from diffusion.test_inversion import Optimal
from keras import ops

from kgen.core import random
from kgen.diffusion import DDPM, CosineSchedule, DDIMSampler, inpaint, interpolate, served, translate
from kgen.networks import MLP

SCHEDULE = CosineSchedule()


def test_it_is_the_flow_from_the_time_of_the_noise():
    """Strength 0 is the example itself, strength 1 the sample of the same seed."""
    model = DDPM((3,), network=Optimal(SCHEDULE), prediction="data", sampler=DDIMSampler(60), ema=None)
    model.compile(jit_compile=False)
    x = exact_flow(SCHEDULE, noise(8, seed=5).astype("float64")).astype("float32")
    np.testing.assert_array_equal(translate(model, x, 0.0, seed=0), x)
    for strength in (0.01, 0.5, 1.0):
        alpha, sigma = (v[0] for v in level(SCHEDULE, [strength]))
        found = translate(model, x, strength, seed=0)
        expected = exact_flow(SCHEDULE, alpha * x + sigma * noise(8), start=strength)
        np.testing.assert_allclose(found, expected, atol=0.05)
    np.testing.assert_allclose(found, model.sample(8, seed=0), atol=0.01)
    np.testing.assert_allclose(translate(model, x[:3], 1.0, seed=0), found[:3], atol=1e-5)


X = np.random.default_rng(0).uniform(-1, 1, (3, 4, 4, 1)).astype("float32")
MASK = np.tile(np.arange(4)[:, None] < 2, (3, 1, 4))


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    made = DDPM((4, 4, 1), network=MLP((4, 4, 1), (4, 4, 1), widths=(16,), time=True), sampler=DDIMSampler(2))
    made.compile(jit_compile=False)
    return made


def test_served_where_it_is_asked_for(model, monkeypatch):
    monkeypatch.setattr(served, "RESAMPLES", 2)
    assert [e.name for e in model.endpoints()] == ["sample", "denoise"]
    found = {e.name: e for e in model.further_endpoints()}
    assert list(found["translate"].inputs) == ["seed", "steps", "x", "strength"]
    assert found["inpaint"].inputs["mask"].shape == (4, 4)
    common = {"seed": random.row_seeds(4, 3), "steps": np.array([2, 2, 1], "int32"), "x": X}
    for name, own, drawn in (
        ("translate", {"strength": np.array([0.6, 0.6, 0.9], "float32")}, translate(model, X, 0.6, seed=4)),
        ("inpaint", {"mask": MASK}, inpaint(model, X, MASK, resamples=2, seed=4)),
    ):
        inputs = {k: ops.convert_to_tensor(v) for k, v in {**common, **own}.items()}
        images = ops.convert_to_numpy(found[name].function(**inputs)["images"])
        np.testing.assert_allclose(images[:2], drawn[:2], atol=1e-4)
        assert np.abs(images[2] - drawn[2]).max() > 1e-3  # it has a strength and a number of steps of its own
    way = interpolate(model, X, X[::-1], 3, steps=served.STEPS)
    shares = np.array([0.0, 0.5, 1.0], "float32")
    inputs = {"a": X, "b": X[::-1].copy(), "share": shares}
    between = found["interpolate"].function(**{k: ops.convert_to_tensor(v) for k, v in inputs.items()})["images"]
    for row, image in enumerate(ops.convert_to_numpy(between)):
        np.testing.assert_allclose(image, way[row, row], atol=1e-4)
    assert DDPM((2,), network=MLP((2,), (2,), widths=(4,), time=True)).further_endpoints() == []


def test_arguments(model):
    with pytest.raises(ValueError, match=r"strength: expected a number in \[0, 1\], received 1.5"):
        translate(model, X, 1.5)
    with pytest.raises(ValueError, match=r"x: expected values in \[-1, 1\]"):
        translate(model, 3 * X)
    with pytest.raises(ValueError, match="labels: this model has no classes"):
        translate(model, X, labels=1)
    with pytest.raises(TypeError, match="model: expected a DDPM, whose samples are the data itself, received MLP"):
        translate(model.network, X)
