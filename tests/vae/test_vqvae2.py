"""The VQ-VAE of several levels: what each level says beyond those above it, its codes, the contract."""

import keras
import numpy as np
import pytest
from keras import ops

import kgen
from kgen.networks import LadderDecoder, LadderEncoder
from kgen.vae import VQVAE2

from contract import *  # noqa: F403
from contract import Case, trained_models


def small():
    shapes, channels = ((1, 1, 3), (2, 2, 3)), (6, 6, 4)
    encoder = LadderEncoder((4, 4, 1), shapes, channels)
    decoder = LadderDecoder(shapes, (4, 4, 1), channels, stochastic=False)
    return VQVAE2((4, 4, 1), 6, 3, encoder=encoder, decoder=decoder)


trained = trained_models({"vqvae2": Case(small, falls="reconstruction", log_prob=None)})


def linear(codes=4):
    """x in one dimension: the top quantises x, the level below what the top has left over, and they are added."""
    shapes, channels = ((1,), (1,)), (1, 1, 1)
    encoder = LadderEncoder((1,), shapes, channels, blocks=0)
    decoder = LadderDecoder(shapes, (1,), channels, blocks=0, stochastic=False)
    for layer in encoder.layers[1:]:
        layer.set_weights([np.ones((1, 1)), np.zeros(1)])
    for network in (decoder.posteriors[0], *decoder.merges, decoder.last):
        network.set_weights([np.ones((1, 1)), np.zeros(1)])
    decoder.posteriors[1].set_weights([np.array([[-1.0], [1.0]]), np.zeros(1)])
    model = VQVAE2((1,), codes, 1, encoder=encoder, decoder=decoder)
    grid = (np.arange(codes) + 0.5) / codes
    model.quantizers[0].codebook.assign(grid[:, None])
    model.quantizers[1].codebook.assign((grid[:, None] - 0.5) / codes)
    return model


def test_the_bits_of_both_levels_add_up():
    """Uniform data by K codes and then K more for what is left: as exact as K^2 codes, 1/(12 K^4), for 2 log2 K bits."""
    model = linear()
    assert model.code_shapes == ((), ()) and model.code_shape == (2,)
    x = ((np.arange(1024) + 0.5) / 1024).astype("float32")[:, None]
    codes = model.encode(x)
    assert codes.shape == (1024, 2) and codes.dtype == np.int32
    np.testing.assert_array_equal(codes, np.stack([np.floor(4 * x[:, 0]), np.floor(16 * x[:, 0]) % 4], axis=1))
    error = np.square(model.decode(codes) - x).mean()
    assert abs(error * 12 * 4**4 - 1) < 0.01
    np.testing.assert_allclose(model.reconstruct(x[:8]), model.decode(codes[:8]), atol=1e-6)
    # All codes of both levels are used alike.
    batch = kgen.core.Batch(ops.convert_to_tensor(x), conditions={})
    losses, logs = model.objective(batch, training=False)
    logs = {k: ops.convert_to_numpy(v) for k, v in logs.items()}
    bits = sum(np.log2(logs[f"perplexity_{i}"]) for i in range(2))
    assert abs(bits - 4) < 1e-3
    np.testing.assert_allclose(logs["reconstruction"].mean(), error, rtol=1e-4)
    np.testing.assert_allclose(ops.convert_to_numpy(losses), logs["reconstruction"] + logs["quantization"], rtol=1e-5)


def test_codes_of_all_levels_stand_in_one_row(tmp_path):
    keras.utils.set_random_seed(0)
    model = small()
    for quantizer in model.quantizers:
        quantizer.codebook.assign(np.random.default_rng(0).normal(size=(6, 3)))
    x = np.random.default_rng(1).uniform(-1, 1, (3, 4, 4, 1)).astype("float32")
    codes = model.encode(x)
    top, below = (ops.convert_to_numpy(m) for m in model.levels_of(ops.convert_to_tensor(codes)))
    assert codes.shape == (3, 5) and top.shape == (3, 1, 1) and below.shape == (3, 2, 2)
    np.testing.assert_array_equal(codes[:, 1:], below.reshape(3, 4))
    np.testing.assert_array_equal(codes[:, :1], top.reshape(3, 1))
    np.testing.assert_allclose(model.interpolate(x[:1], x[1:2], 2)[0, 1], model.reconstruct(x[1:2])[0], atol=1e-5)
    spec = model.latent_spec()
    assert spec.shape == (5,) and spec.high == 5
    model.save_to_preset(tmp_path / "preset")
    np.testing.assert_array_equal(kgen.from_preset(tmp_path / "preset").encode(x), codes)


def test_wrong_arguments():
    encoder, decoder = LadderEncoder((4, 4, 1), ((1, 1, 3),), (4, 4)), LadderDecoder(((1, 1, 3),), (4, 4, 1), (4, 4))
    cases = [
        (lambda: VQVAE2((4, 4, 1), 6, 2, decoder=decoder), "decoder: expected one of vectors"),
        (
            lambda: VQVAE2((4, 4, 1), 6, 3, encoder=encoder, decoder=decoder),
            "decoder: expected a vector of 3 for each code, as stochastic=False",
        ),
        (lambda: VQVAE2((3,)), r"the default encoder needs \(H, W, C\)"),
        (lambda: VQVAE2((4, 4, 1), code_shapes=((3, 3), (4, 4))), "latent_shapes: expected maps whose sides divide"),
        (lambda: linear().decode(np.zeros((1, 3), "int32")), r"codes: expected shape \(N, 2\)"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()
