"""Super-resolution: the small picture is made from the data, and what is drawn of it has it as its average."""

import keras
import numpy as np
import pytest
from keras import ops

import kgen
from kgen.diffusion import DDIMSampler, SuperResolution
from kgen.networks import UNet

COMPILE = {"jit_compile": False} if keras.config.backend() == "tensorflow" else {}
X = np.repeat(np.repeat(np.random.default_rng(0).uniform(-0.8, 0.8, (256, 2, 2, 1)), 2, 1), 2, 2).astype("float32")


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    from kgen.diffusion.super_resolution import SmallerPicture

    network = UNet((4, 4, 1), (16,), 1, (False,), groups=4, conditions=[SmallerPicture((2, 2, 1))])
    model = SuperResolution((4, 4, 1), 2, network=network, prediction="data", sampler=DDIMSampler(4), ema=None)
    model.compile(keras.optimizers.Adam(5e-3), **COMPILE)
    model.fit(X, epochs=30, batch_size=64, verbose=0)  # nothing but the data
    return model


def test_the_condition_is_the_average_over_blocks(model):
    made = model.conditions["low"].made(ops.convert_to_tensor(np.arange(16, dtype="float32").reshape(1, 4, 4, 1)), None)
    np.testing.assert_allclose(ops.convert_to_numpy(made["low"])[0, :, :, 0], [[2.5, 4.5], [10.5, 12.5]])


def test_what_is_drawn_has_the_small_picture_as_its_average(model):
    low = X[:16, ::2, ::2]
    large = model.upscale(low, seed=0)
    assert large.shape == (16, 4, 4, 1)
    np.testing.assert_allclose(large.reshape(16, 2, 2, 2, 2, 1).mean((2, 4)), low, atol=0.25)
    np.testing.assert_allclose(model.upscale(low[:3], seed=0), large[:3], atol=1e-5)


def test_saved_served_and_refused(model, tmp_path):
    model.save(tmp_path / "m.keras")
    again = kgen.load(tmp_path / "m.keras")
    np.testing.assert_allclose(
        again.upscale(X[:2, ::2, ::2], seed=1), model.upscale(X[:2, ::2, ::2], seed=1), atol=1e-5
    )
    assert again.get_config() == model.get_config() and "low" in model.endpoints()[0].inputs
    with pytest.raises(ValueError, match=r"x: expected shape \(N, 2, 2, 1\), received \(256, 4, 4, 1\)"):
        model.upscale(X)
    with pytest.raises(ValueError, match=r"factor: expected a divisor of both sides of \(4, 4, 1\), received 3"):
        SuperResolution((4, 4, 1), 3)
    with pytest.raises(ValueError, match="low: this model needs it to sample"):
        model.sample(2)
