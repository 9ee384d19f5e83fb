"""SNGAN: the discriminator's slope is bounded by 1, and layers that are not normalised are refused."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from kgen import backend
from kgen.gan import SNGAN, Discriminator
from kgen.networks import StyleDiscriminator


def test_slopes_are_at_most_one_where_every_singular_value_is():
    """Dense layers of spectral norm 1 with leaky ReLU between: no slope is above 1, and the norms are those of SVD."""
    keras.utils.set_random_seed(0)
    model = SNGAN((3,), 4, discriminator=Discriminator((3,), [16, 16], spectral=True))
    network = model.discriminator
    x = 3 * np.random.default_rng(0).normal(size=(200, 3)).astype("float32")
    for layer in network.layers:
        if hasattr(layer, "layer"):
            layer.layer.kernel.assign(5.0 * layer.layer.kernel)  # whatever the kernels are
    for _ in range(60):
        network(x, training=True)  # one power iteration each
    slope = ops.convert_to_numpy(backend.grad(lambda x: model.discriminate(x), ops.convert_to_tensor(x)))
    assert 0.01 < np.linalg.norm(slope, axis=1).max() <= 1.001
    for layer in network.layers:
        if hasattr(layer, "layer"):
            largest = np.linalg.svd(ops.convert_to_numpy(layer.layer.kernel), compute_uv=False)[0]
            found = float(ops.convert_to_numpy(layer._largest_singular_value(False)))
            assert found == pytest.approx(largest, rel=1e-3)


def test_defaults_and_errors():
    model = SNGAN((8, 8, 1), 4)
    assert type(model.adversarial_loss).__name__ == "HingeLoss" and model.discriminator.get_config()["spectral"]
    assert SNGAN.from_config(model.get_config()).get_config() == model.get_config()
    plain = keras.Sequential([keras.Input((2,)), layers.Dense(4, name="bare"), layers.Dense(1, name="end")])
    with pytest.raises(ValueError, match="discriminator: expected every layer in a .*received bare, end without one"):
        SNGAN((2,), 3, discriminator=plain)
    critic = StyleDiscriminator((8, 8, 1), width=4)
    with pytest.raises(ValueError, match="discriminator: expected every layer in a .*received .*without one"):
        SNGAN((8, 8, 1), 3, discriminator=critic)
