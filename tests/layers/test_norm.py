import keras
import numpy as np
from keras import ops

from kgen.layers import GroupNormalization

X = (3.0 + 2.0 * np.random.default_rng(0).normal(size=(4, 5, 6, 8))).astype("float32")


def both(dtype=None):
    """kgen's layer and Keras's with the same weights, not those that they start with."""
    layers = [
        GroupNormalization(2, epsilon=1e-3, dtype=dtype),
        keras.layers.GroupNormalization(2, epsilon=1e-3, dtype=dtype),
    ]
    for layer in layers:
        layer.build((None, 5, 6, 8))
        layer.set_weights([np.linspace(0.5, 2.0, 8), np.linspace(-1.0, 1.0, 8)])
    return layers


def test_it_is_group_normalization():
    ours, keras_layer = both()
    np.testing.assert_allclose(ops.convert_to_numpy(ours(X)), ops.convert_to_numpy(keras_layer(X)), atol=2e-6)
    groups = X.reshape(4, 30, 2, 4)
    mean, variance = groups.mean(axis=(1, 3), keepdims=True), groups.var(axis=(1, 3), keepdims=True)
    expected = ((groups - mean) / np.sqrt(variance + 1e-3)).reshape(X.shape) * np.linspace(0.5, 2.0, 8)
    np.testing.assert_allclose(ops.convert_to_numpy(ours(X)), expected + np.linspace(-1.0, 1.0, 8), atol=2e-6)


def test_a_large_offset_costs_no_precision():
    ours, _ = both()
    np.testing.assert_allclose(
        ops.convert_to_numpy(ours(X + 1000.0)), ops.convert_to_numpy(ours(X)), atol=2e-3
    )  # one pass, E[x^2] - E[x]^2, would be wrong by 0.1


def test_half_precision_computes_its_moments_in_float32():
    ours, _ = both("mixed_float16")
    out = ours(ops.convert_to_tensor(X * 100, dtype="float16"))
    assert keras.backend.standardize_dtype(out.dtype) == "float16"  # 300^2 * 120 values do not fit into float16
    expected = ops.convert_to_numpy(both()[1](np.float16(X * 100).astype("float32")))
    np.testing.assert_allclose(ops.convert_to_numpy(out), expected, atol=5e-3)


def test_configuration_round_trip():
    layer = GroupNormalization(4, name="norm")
    assert GroupNormalization.from_config(layer.get_config()).get_config() == layer.get_config()
