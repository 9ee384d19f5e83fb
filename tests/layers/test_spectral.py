"""Spectral normalisation against the singular value decomposition."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from kgen import backend
from kgen.layers import SpectralNormalization


def largest(kernel):
    return np.linalg.svd(kernel.reshape(-1, kernel.shape[-1]).astype("float64"), compute_uv=False)[0]


CASES = {
    "dense": (lambda: layers.Dense(5), (7,), "float32"),
    "conv": (lambda: layers.Conv2D(4, 3), (5, 5, 3), "float32"),
    "embedding": (lambda: layers.Embedding(6, 4), (), "int32"),
}


def test_the_length_of_the_first_vector_says_nothing():
    layer = SpectralNormalization(layers.Dense(1, use_bias=False))
    x = np.ones((2, 3), "float32")
    layer(x)
    layer.layer.kernel.assign([[3.0], [0.0], [4.0]])  # of one column: its length is the singular value, whatever u is
    for length in (0.05, -7.0):
        layer.u.assign([length])
        np.testing.assert_allclose(ops.convert_to_numpy(layer(x)), np.full((2, 1), 7 / 5), rtol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_the_effective_kernel_has_a_largest_singular_value_of_one(case):
    make, shape, dtype = CASES[case]
    plain = make()
    layer = SpectralNormalization(plain)
    x = np.random.default_rng(0).integers(0, 6, (3, *shape)).astype(dtype)
    layer(x)
    kernel = plain.embeddings if case == "embedding" else plain.kernel
    given = (3.0 * np.random.default_rng(1).normal(size=kernel.shape)).astype("float32")
    kernel.assign(given)
    for _ in range(100):
        layer(x, training=True)
    np.testing.assert_array_equal(ops.convert_to_numpy(kernel), given)  # what trains is left alone
    normalised = ops.convert_to_numpy(layer(x))
    kernel.assign(given / largest(given))
    np.testing.assert_allclose(normalised, ops.convert_to_numpy(plain(x)), rtol=1e-3, atol=1e-5)
    # And the bias is not divided.
    if plain.__class__ is layers.Dense:
        plain.bias.assign(np.ones(5))
        np.testing.assert_allclose(ops.convert_to_numpy(layer(np.zeros((1, 7)))), np.ones((1, 5)))


def test_the_gradient_is_that_of_the_normalised_kernel():
    """d(c^T W / sigma)/dW = (c - (c^T W / sigma) v u^T) / sigma, sigma's own gradient being v u^T (Miyato et al. 2018, Eq. 9 to 12)."""
    layer = SpectralNormalization(layers.Dense(4, use_bias=False))
    layer(np.zeros((1, 6), "float32"))
    for _ in range(200):
        layer(np.zeros((1, 6), "float32"), training=True)
    rng = np.random.default_rng(0)
    x, weights = rng.normal(size=(3, 6)).astype("float32"), rng.normal(size=(3, 4)).astype("float32")

    def loss():
        value = ops.sum(layer(ops.convert_to_tensor(x)) * ops.convert_to_tensor(weights))
        return value, value

    _, (gradient,) = backend.value_and_grad(loss, layer.trainable_variables)
    kernel = ops.convert_to_numpy(layer.layer.kernel).astype("float64")
    left, values, right = np.linalg.svd(kernel)
    outer, sigma = np.outer(left[:, 0], right[0]), values[0]
    c = x.T.astype("float64") @ weights
    expected = (c - (c * kernel).sum() / sigma * outer) / sigma
    np.testing.assert_allclose(ops.convert_to_numpy(gradient), expected, rtol=1e-3, atol=1e-4)


def test_saved_in_a_model(tmp_path):
    x = keras.Input((6,))
    y = SpectralNormalization(layers.Dense(3, activation="relu"), power_iterations=2)(x)
    model = keras.Model(x, SpectralNormalization(layers.Dense(1))(y))
    rows = np.random.default_rng(0).normal(size=(4, 6)).astype("float32")
    model(rows, training=True)
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_allclose(ops.convert_to_numpy(again(rows)), ops.convert_to_numpy(model(rows)), rtol=1e-6)
    assert len(model.trainable_weights) == 4 and len(model.non_trainable_weights) == 2


def test_a_kernel_of_zeros_stays_one():
    layer = SpectralNormalization(layers.Dense(3, kernel_initializer="zeros"))
    assert np.isfinite(ops.convert_to_numpy(layer(np.ones((2, 4), "float32"), training=True))).all()


def test_other_layers_are_refused():
    with pytest.raises(TypeError, match="layer: expected one of Dense, Conv1D, .*Embedding, received"):
        SpectralNormalization(layers.Conv2DTranspose(3, 3))
