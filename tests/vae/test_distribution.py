"""A VAE trained on two replicas has the weights of one trained on one device."""

import contextlib

import keras
import numpy as np
import pytest
import two_devices

from kgen.networks import MLP
from kgen.vae import VAE, GaussianLikelihood


def trained(scope=contextlib.nullcontext):
    """Dict from the index of each weight to its value, and from each log to its values."""
    x = np.random.default_rng(0).normal(size=(24, 3)).astype("float32")
    weight = np.linspace(0.5, 1.5, 24).astype("float32")
    keras.utils.set_random_seed(0)
    with scope():
        model = VAE(
            (3,),
            2,
            encoder=MLP((3,), (4,), widths=(8,)),
            decoder=MLP((2,), (3,), widths=(8,)),
            prior="gaussian_mixture",
            observation=GaussianLikelihood("analytic"),
            free_bits=0.5,
            ema=0.9,
        )
        model.compile(keras.optimizers.Adam(0.01, epsilon=1e-3))
    history = model.fit(x, sample_weight=weight, batch_size=8, epochs=2, shuffle=False, verbose=0).history
    results = {f"weight/{i}": keras.ops.convert_to_numpy(v) for i, v in enumerate(model.weights)}
    figures = model.evaluate(x, batch_size=8, verbose=0, return_dict=True)
    return {
        **results,
        **{f"fit/{k}": v for k, v in history.items()},
        **{f"evaluate/{k}": v for k, v in figures.items()},
    }


@pytest.mark.two_devices
@pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="tf.distribute is TensorFlow's")
def test_two_mirrored_replicas():
    single = trained()
    with two_devices.replicas() as scope:
        several = trained(scope)
    assert several.keys() == single.keys() and len(single) > 20
    for name, value in single.items():
        np.testing.assert_allclose(several[name], value, atol=1e-5, rtol=1e-5, err_msg=name)
