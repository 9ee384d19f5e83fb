"""Finite scalar quantisation against the paper's rule by numpy, its codes there and back, and a VQ-VAE with it."""

import keras
import numpy as np
import pytest
from keras import ops

import kgen
from kgen import backend
from kgen.layers import FiniteScalarQuantizer
from kgen.networks import MLP
from kgen.vae import VQVAE

LEVELS = (4, 3, 5)
RNG = np.random.default_rng(0)


def test_codes_go_there_and_back_and_are_all_of_them():
    layer = FiniteScalarQuantizer(LEVELS)
    assert layer.num_codes == 60 and layer.dim == 3
    z = (3.0 * RNG.normal(size=(4000, 3))).astype("float32")
    vectors, codes, losses, perplexity = (ops.convert_to_numpy(v) for v in layer(ops.convert_to_tensor(z)))
    assert set(codes) == set(range(60)) and not losses.any() and 30 < perplexity <= 60
    back = layer.lookup(ops.convert_to_tensor(codes))
    np.testing.assert_allclose(ops.convert_to_numpy(back), vectors, atol=1e-6)
    np.testing.assert_array_equal(ops.convert_to_numpy(layer.nearest(ops.convert_to_tensor(z))), codes)
    for i, steps in enumerate(([-1, -0.5, 0, 0.5], [-1, 0, 1], [-1, -0.5, 0, 0.5, 1])):
        np.testing.assert_allclose(np.unique(vectors[:, i]), steps, atol=1e-6)
    # By the paper's code, with atanh where it has tan: 0 is 0, and the largest go to the last level.
    half = (np.array(LEVELS) - 1) * (1 - 1e-3) / 2
    offset = np.array([0.5, 0, 0])
    wanted = np.round(half * np.tanh(z + np.arctanh(offset / half)) - offset) / (np.array(LEVELS) // 2)
    assert (np.abs(wanted - vectors) < 1e-6).mean() > 0.999  # but for a rounding at the border
    np.testing.assert_array_equal(ops.convert_to_numpy(layer(ops.zeros((1, 3)))[0]), 0.0)


def test_two_levels_are_the_two_signs():
    layer = FiniteScalarQuantizer((2, 3))
    z = np.array([[-2.0, 0.0], [-0.1, 0.0], [0.1, 0.0], [2.0, 0.0]], "float32")
    vectors, codes, *_ = (ops.convert_to_numpy(v) for v in layer(ops.convert_to_tensor(z)))
    np.testing.assert_array_equal(vectors, [[-1, 0], [-1, 0], [0, 0], [0, 0]])
    np.testing.assert_array_equal(codes, [2, 2, 3, 3])


def test_gradients_pass_the_rounding():
    layer = FiniteScalarQuantizer((5,))
    z = np.linspace(-2, 2, 9).astype("float32")[:, None]
    slope = backend.grad(lambda v: ops.sum(layer(v)[0], axis=-1), ops.convert_to_tensor(z))
    np.testing.assert_allclose(ops.convert_to_numpy(slope), 2 * (1 - 1e-3) / np.cosh(z) ** 2 / 2, rtol=1e-4)


@pytest.mark.once("test_same_everywhere holds the training of every backend to the same numbers")
def test_a_vqvae_takes_it(tmp_path):
    keras.utils.set_random_seed(0)
    x = RNG.uniform(-1, 1, (256, 2)).astype("float32")
    encoder, decoder = MLP((2,), (2, 2), widths=(16,)), MLP((2, 2), (2,), widths=(16,))
    model = VQVAE((2,), encoder=encoder, decoder=decoder, quantizer=FiniteScalarQuantizer((5, 5)))
    model.compile(keras.optimizers.Adam(1e-2), jit_compile=False)
    history = model.fit(x, epochs=12, batch_size=64, verbose=0).history
    assert history["reconstruction"][-1] < 0.5 * history["reconstruction"][0]
    codes = model.encode(x)
    assert codes.shape == (256, 2) and codes.max() < 25
    model.save_to_preset(tmp_path / "p")
    np.testing.assert_array_equal(kgen.from_preset(tmp_path / "p").encode(x), codes)


def test_wrong_levels():
    for levels in ((5, 1), ()):
        with pytest.raises(ValueError, match="levels: expected at least one number, each at least 2"):
            FiniteScalarQuantizer(levels)
    with pytest.raises(ValueError, match=r"z: expected shape \(B, ..., 1\)"):
        FiniteScalarQuantizer((5,))(ops.zeros((1, 2)))
