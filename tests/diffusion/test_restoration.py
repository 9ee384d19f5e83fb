"""Restoration: colours of which grey says all, drawn from it by a model that was given nothing but the data."""

import keras
import numpy as np
import pytest
from keras import ops

import kgen
from kgen.diffusion import DDIMSampler, GaussianBlur, Grey, Restoration

COMPILE = {"jit_compile": False} if keras.config.backend() == "tensorflow" else {}
X = (np.random.default_rng(0).uniform(-1, 1, (128, 4, 4, 1)) * [0.9, 0.4, -0.6]).astype("float32")


def network():
    inputs = [keras.Input((4, 4, 3)), keras.Input(()), keras.Input((4, 4, 1))]
    return keras.Model(inputs, keras.layers.Conv2D(3, 1)(ops.concatenate([inputs[0], inputs[2]], axis=-1)))


def test_colours_of_grey(tmp_path):
    keras.utils.set_random_seed(0)
    model = Restoration((4, 4, 3), Grey(), network=network(), prediction="data", sampler=DDIMSampler(2), ema=None)
    model.compile(keras.optimizers.Adam(0.05), **COMPILE)
    model.fit(X, epochs=20, batch_size=32, verbose=0)
    grey = ops.convert_to_numpy(Grey()(X))
    drawn = model.restore(grey[:8], seed=0)
    np.testing.assert_allclose(drawn, X[:8], atol=0.1)
    model.save(tmp_path / "m.keras")
    again = kgen.load(tmp_path / "m.keras")
    assert again.operator == Grey() and again.conditions == model.conditions
    assert list(model.endpoints()[0].inputs) == ["seed", "degraded", "steps"]
    with pytest.raises(ValueError, match=r"x: expected shape \(N, 4, 4, 1\), received \(128, 4, 4, 3\)"):
        model.restore(X)


def test_what_was_blurred_becomes_sharp():
    """A mild blur is undone by a convolution, all but at the border."""
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).uniform(-1, 1, (256, 6, 6, 1)).astype("float32")
    blur = GaussianBlur(0.6)
    inputs = [keras.Input((6, 6, 1)), keras.Input(()), keras.Input((6, 6, 1))]
    sharper = keras.Model(inputs, keras.layers.Conv2D(1, 5, padding="same", use_bias=False)(inputs[2]))
    model = Restoration((6, 6, 1), blur, network=sharper, prediction="data", sampler=DDIMSampler(2), ema=None)
    model.compile(keras.optimizers.Adam(0.02), **COMPILE)
    model.fit(x, epochs=30, batch_size=32, verbose=0)
    blurred = ops.convert_to_numpy(blur(x[:32]))
    before, after = (np.abs(found - x[:32]).mean() for found in (blurred, model.restore(blurred, seed=0)))
    assert after < 0.4 * before


def test_what_it_refuses():
    with pytest.raises(ValueError, match=r"operator: Grey\(\) is of images with red, green and blue"):
        Restoration((4, 4, 1), Grey())
    with pytest.raises(ValueError, match=r"shape: expected \(H, W, C\), received \(4,\)"):
        Restoration((4,), GaussianBlur(1.0))
    with pytest.raises(TypeError, match="operator: expected an Operator, such as"):
        Restoration((4, 4, 1), ops.square)
