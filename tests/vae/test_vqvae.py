"""The VQ-VAE: the exact distortion of uniform data, the protocol, its codes, wrong arguments."""

import keras
import numpy as np
import pytest
from keras import ops
from marks import TRAINED_ON_TORCH

import kgen
from kgen import backend
from kgen.layers import VectorQuantizer
from kgen.networks import MLP, SpatialDecoder, SpatialEncoder
from kgen.vae import VQVAE


def identity(dim):
    return keras.Sequential([keras.Input((dim,)), keras.layers.Activation("linear")])


@TRAINED_ON_TORCH
@pytest.mark.parametrize("ema", [0.9, None])
def test_uniform_data_is_distorted_as_little_as_can_be(ema):
    # K cells of width 1/K around their middles: the mean squared error is 1/(12 K^2).
    keras.utils.set_random_seed(2)
    codes, steps = 8, 800
    model = VQVAE(
        (1,), encoder=identity(1), decoder=MLP((1,), (1,), widths=()), quantizer=VectorQuantizer(codes, 1, ema=ema)
    )
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(2e-2, steps)))
    x = np.random.default_rng(0).permutation((np.arange(1024) + 0.5) / 1024).astype("float32")[:, None]
    model.fit(np.tile(x, (steps, 1)), batch_size=len(x), shuffle=False, verbose=0)
    nearest = ops.convert_to_numpy(model.quantizer.lookup(model.encode(x)))
    assert abs(np.square(nearest - x).mean() * 12 * codes**2 - 1) < 0.02
    assert model.evaluate(x, batch_size=len(x), verbose=0, return_dict=True)["perplexity"] > 0.98 * codes


@pytest.fixture(scope="module")
def x():
    return kgen.data.load("digits")[0][:256]


@pytest.fixture(scope="module")
def model(x):
    keras.utils.set_random_seed(0)
    model = VQVAE(
        (8, 8, 1),
        num_codes=16,
        code_dim=4,
        encoder=SpatialEncoder((8, 8, 1), 4, channels=(8, 16), blocks=1),
        decoder=SpatialDecoder((2, 2, 4), 1, channels=(8, 16), blocks=1),
    )
    model.compile(keras.optimizers.Adam(5e-3), jit_compile=keras.config.backend() == "jax")
    history = model.fit(x, epochs=40, batch_size=64, verbose=0).history
    assert history["reconstruction"][-1] < 0.6 * history["reconstruction"][0]
    np.testing.assert_allclose(np.add(history["reconstruction"], history["quantization"]), history["loss"], rtol=1e-5)
    # Of 16 codes, as evenly as they are used in the last epoch: all alike would be 16.
    used = np.bincount(model.encode(x).ravel(), minlength=16) / (4 * len(x))
    expected = np.exp(-np.sum(used * np.log(np.maximum(used, 1e-12))))
    assert history["perplexity"][-1] == pytest.approx(expected, rel=0.2) and expected > 2
    return model


def test_codes_and_what_they_decode_to(model, x):
    codes = model.encode(x[:5])
    assert codes.shape == (5, 2, 2) and codes.dtype == np.int32 and codes.min() >= 0 and codes.max() < 16
    decoded = model.decode(codes)
    assert decoded.shape == (5, 8, 8, 1) and decoded.dtype == np.float32 and np.abs(decoded).max() <= 1
    np.testing.assert_allclose(model.reconstruct(x[:5]), decoded, atol=1e-5)
    called = backend.jit(model, model.variables)(ops.convert_to_tensor(x[:5]))
    np.testing.assert_allclose(ops.convert_to_numpy(called).clip(-1, 1), decoded, atol=1e-5)
    error = np.square(model.reconstruct(x) - x).mean()
    reported = model.evaluate(x, verbose=0, return_dict=True)["reconstruction"]  # before clipping
    assert error <= reported * 1.0001 and abs(error - reported) < 0.2 * reported
    # An error well below that of the mean image: the codes say which digit it is.
    assert error < 0.8 * np.square(x.mean(0) - x).mean()


def test_latents_are_the_encoders_vectors(model, x):
    z = model.latent_rows(ops.convert_to_tensor(x[:3]))
    assert tuple(z.shape[1:]) == model.latent_shape == (2, 2, 4)
    again = ops.convert_to_numpy(model.from_latent_rows(z))
    np.testing.assert_allclose(again, model.reconstruct(x[:3]), atol=1e-5)


def test_interpolation_ends_at_the_reconstructions(model, x):
    path = model.interpolate(x[:2], x[2:4], steps=5)
    assert path.shape == (2, 5, 8, 8, 1)
    np.testing.assert_allclose(path[:, 0], model.reconstruct(x[:2]), atol=1e-5)
    np.testing.assert_allclose(path[:, -1], model.reconstruct(x[2:4]), atol=1e-5)


def test_samples_draw_each_position_by_how_often_its_codes_were_used(model, x):
    usage = ops.convert_to_numpy(model.usage).copy()
    codes = model.encode(x)
    frequency = np.eye(16)[codes].mean(0)
    share = usage / usage.sum(-1, keepdims=True)
    assert np.abs(share - frequency).sum(-1).max() / 2 < 0.5  # total variation: a running average of a moving encoder
    try:
        wanted = np.array([[1, 2], [3, 4]])
        model.usage.assign(np.eye(16)[wanted])
        np.testing.assert_allclose(model.sample(3, seed=0), model.decode(np.repeat(wanted[None], 3, axis=0)), atol=1e-5)
    finally:
        model.usage.assign(usage)


def test_saved_and_loaded_it_is_the_same(model, x, tmp_path):
    model.save(tmp_path / "vqvae.keras")
    loaded = kgen.load(tmp_path / "vqvae.keras")
    np.testing.assert_array_equal(loaded.encode(x), model.encode(x))
    np.testing.assert_allclose(loaded.sample(4, seed=0), model.sample(4, seed=0), atol=1e-6)


@pytest.mark.once("the sizes of a network are no backend's")
def test_default_networks_follow_the_image():
    assert VQVAE((8, 8, 1), dtype="mixed_bfloat16").decoder.layers[1].compute_dtype == "bfloat16"
    for shape, code_shape in (((8, 8, 3), (2, 2)), ((6, 10, 1), (3, 5)), ((28, 28, 1), (7, 7))):
        model = VQVAE(shape, num_codes=4, code_dim=2)
        assert model.code_shape == code_shape and tuple(model.decoder.output_shape[1:]) == shape


def test_wrong_arguments(model, x):
    encoder = SpatialEncoder((8, 8, 1), 4, channels=(8,), blocks=0)
    codes = np.zeros((1, 2, 2), "int32")
    cases = [
        (
            lambda: model.decode(codes + 16),
            r"codes: expected integers in \[0, 16\), the codebook's, received values from 16 to 16",
        ),
        (lambda: model.decode(codes - 1), "received values from -1 to -1"),
        (lambda: model.decode(codes[0]), r"codes: expected shape \(N, 2, 2\), N >= 1, received \(2, 2\)"),
        (lambda: model.decode(codes[:0]), r"codes: expected shape \(N, 2, 2\), N >= 1, received \(0, 2, 2\)"),
        (lambda: model.decode(codes.astype("float32")), "codes: expected integers .* received float32"),
        (lambda: model.fit(x, np.zeros(len(x))), "y: this model has no classes"),
        (lambda: model.encode(x * 200), r"x: expected values in \[-1, 1\]"),
        (lambda: model.encode(x[0]), r"expected shape \(N, 8, 8, 1\), received \(8, 8, 1\). For a single example"),
        (lambda: model.interpolate(x[:1], x[:1], steps=1), "steps: expected at least 2"),
        (lambda: model.interpolate(x[:1], x[:2]), "a, b: expected as many examples in both, received 1 and 2"),
        (lambda: VQVAE((5,)), r"the default encoder needs \(H, W, C\) with even sides, received \(5,\). Pass encoder="),
        (lambda: VQVAE((7, 7, 1)), "the default encoder needs"),
        (lambda: VQVAE((8, 8, 1), num_codes=0), "num_codes: expected an integer of at least 1"),
        (
            lambda: VQVAE((8, 8, 1), 4, quantizer=VectorQuantizer(4, 4)),
            "num_codes, code_dim: the quantizer that was passed says both",
        ),
        (lambda: VQVAE((8, 8, 1), code_dim=5, encoder=encoder), r"encoder: expected outputs \(B, ..., 5\)"),
        (lambda: VQVAE((9, 9, 1), encoder=encoder), r"encoder: expected a network of inputs \(B, 9, 9, 1\)"),
        (
            lambda: VQVAE((8, 8, 1), code_dim=4, encoder=encoder, decoder=SpatialDecoder((2, 2, 4), 1, channels=(8,))),
            r"decoder: expected a network of inputs \(B, 4, 4, 4\)",
        ),
        (
            lambda: VQVAE((8, 8, 1), code_dim=4, encoder=encoder, decoder=SpatialDecoder((4, 4, 4), 2, channels=(8,))),
            r"decoder: expected outputs \(B, 8, 8, 1\), received \(None, 8, 8, 2\)",
        ),
        (lambda: SpatialEncoder((9, 8, 1), 4), r"shape: expected \(H, W, C\) with sides divisible by 4"),
        (lambda: SpatialDecoder((4, 4), 1), r"map_shape: expected \(h, w, size\), received \(4, 4\)"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(
        TypeError, match="quantizer: expected a kgen.layers.VectorQuantizer or FiniteScalarQuantizer, received 'ema'"
    ):
        VQVAE((8, 8, 1), quantizer="ema")
