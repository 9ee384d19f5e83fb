"""StyleGAN2: variance 1 after demodulation, mixing, noise, path length in w, truncation, projection."""

import keras
import numpy as np
import pytest
from gan.parts import dense
from keras import ops

import kgen
from kgen.gan import StyleGAN2
from kgen.layers import ModulatedConv2D, PixelNoise

from contract import COMPILE

SHAPE = (8, 8, 1)
RNG = np.random.default_rng(0)


def value(x):
    return ops.convert_to_numpy(x)


def test_demodulated_features_have_variance_1_whatever_the_style():
    layer = ModulatedConv2D(24)
    x = RNG.normal(size=(40, 12, 12, 10)).astype("float32")
    w = (3 * RNG.normal(size=(40, 5)) + 1).astype("float32")
    y = value(layer([x, w]))[:, 1:-1, 1:-1]
    assert y.std() == pytest.approx(1.0, abs=0.03)
    assert np.abs(y.std((1, 2)).mean(1) - 1).max() < 0.2  # in each row
    # It is the convolution with a kernel of its own for each row.
    style = value(layer.style(w))[3]
    kernel = value(layer.kernel) * style[None, None, :, None]
    kernel = kernel / np.sqrt((kernel**2).sum((0, 1, 2)))
    np.testing.assert_allclose(value(ops.conv(x[3:4], kernel, padding="same"))[:, 1:-1, 1:-1], y[3:4], atol=1e-4)


@pytest.fixture(scope="module")
def trained():
    keras.utils.set_random_seed(0)
    discriminator = dense(SHAPE, 1, "discriminator")
    # R1 and augmentations have tests of their own, and take their time to compile.
    model = StyleGAN2(SHAPE, 6, width=8, depth=2, discriminator=discriminator, regularizers=(), ema=0.9)
    model.compile(**COMPILE)
    x = RNG.uniform(-1, 1, (48, *SHAPE)).astype("float32")
    return model, model.fit(x, batch_size=8, verbose=0).history


def test_it_trains_and_keeps_the_mean_style(trained, tmp_path):
    model, history = trained
    assert np.isfinite(np.concatenate(list(history.values()))).all()
    assert np.abs(value(model.styles_mean)).max() > 0 and float(value(model.generator_regularizer_0_mean)) > 0
    model.save(tmp_path / "m.keras")
    again = kgen.load(tmp_path / "m.keras")
    np.testing.assert_allclose(again.sample(3, seed=0), model.sample(3, seed=0), atol=1e-5)
    np.testing.assert_allclose(
        model.sample(5, seed=0, truncation=0.5)[:3], model.sample(3, seed=0, truncation=0.5), atol=1e-5
    )
    assert StyleGAN2.from_config(model.get_config()).get_config() == model.get_config()


def test_truncation_goes_to_the_mean_style(trained):
    model, _ = trained
    z = value(model.latent(model.row_seeds(4, 0)))
    mean = value(model.styles_mean)[None]
    quiet = model.synthesize(mean)  # noise has no strength yet, or little
    none = model.sample(4, seed=0, truncation=0.0)
    assert np.abs(none - quiet).max() < 0.1 and np.abs(model.sample(4, seed=0) - quiet).max() > 1.0
    w = mean + 0.5 * (model.styles(z) - mean)
    assert np.abs(model.sample(4, seed=0, truncation=0.5) - model.synthesize(w)).max() < 0.1


def test_two_styles_meet_at_one_layer(trained):
    model, _ = trained
    first, second = np.zeros((400, 6), "float32"), np.ones((400, 6), "float32")
    ws = value(model.mixed(ops.convert_to_tensor(first), ops.convert_to_tensor(second), model.row_seeds(400, 0)))[
        ..., 0
    ]
    assert ws.shape == (400, 4) and (ws[:, 0] == 0).all() and (np.diff(ws, axis=1) >= 0).all()
    assert (ws[:, -1] == 1).mean() == pytest.approx(model.mixing, abs=0.05)
    counts = [(ws.sum(1) == k).mean() for k in (1, 2, 3)]
    np.testing.assert_allclose(counts, model.mixing / 3, atol=0.08)


def test_an_image_of_the_generator_is_projected_to_where_it_came_from(trained):
    model, _ = trained
    w = model.styles(RNG.normal(size=(2, 6)).astype("float32"))
    x = model.synthesize(w)
    assert (np.abs(x) == 1).any()  # colours cut off at the ends are met too
    found = model.synthesize(model.project(x, steps=80, learning_rate=0.1))
    start = model.synthesize(np.repeat(value(model.styles_mean)[None], 2, 0))
    assert ((found - x) ** 2).mean() < 0.1 * ((start - x) ** 2).mean()


def test_noise_is_of_the_row_seed_and_begins_with_no_strength():
    layer, x = PixelNoise(3), np.zeros((2, 4, 4, 3), "float32")
    seeds = np.array([[1, 2], [3, 4]], "int32")
    assert not value(layer([x, seeds])).any()
    layer.strength.assign(0.5)
    y = value(layer([x, seeds]))
    np.testing.assert_array_equal(y[..., 0], y[..., 2])
    np.testing.assert_allclose(value(layer([x[:1], seeds[1:]])), y[1:])
    assert np.abs(y[0] - y[1]).max() > 0.1 and 0.2 < y.std() < 0.9


def test_wrong_arguments():
    with pytest.raises(ValueError, match=r"shape: StyleGAN2 makes images, expected \(H, W, C\), received \(3,\)"):
        StyleGAN2((3,))
    with pytest.raises(ValueError, match="num_classes: StyleGAN2's networks take no classes, received num_classes=3"):
        StyleGAN2(SHAPE, 4, num_classes=3)
    with pytest.raises(ValueError, match="width: expected a number, or one for each of the 2 sizes"):
        StyleGAN2(SHAPE, 4, width=(8, 8, 8))
    with pytest.raises(TypeError, match="generator: expected a kgen.networks.StyleGenerator, received Functional"):
        StyleGAN2(SHAPE, 4, generator=keras.Model(*[keras.Input((4,))] * 2))


def test_penalties_weigh_what_the_papers_code_gives_them(trained):
    """R1 by the size of images and batches of 32, path length by the number of layers; channels by size where they are given so."""
    model = StyleGAN2(SHAPE, 6, width=(16, 8), depth=2)
    assert model.generator_regularizers[0].weight == 2.0 / 4 and model.width == [16, 8]
    assert model.regularizers[0].gamma == pytest.approx(2e-4 * 64 / 32) and model.regularizers[0].every == 16
    kernels = [model.generator.synthesis.get_layer(f"conv_{k}").kernel.shape[-1] for k in ("0_0", "1_0", "1_1")]
    assert kernels == [16, 8, 8] and StyleGAN2.from_config(model.get_config()).get_config() == model.get_config()
    # What the weight makes up for: slopes of one w in all layers against the mean of the layers' own, about as many times as there are layers.
    assert trained[0].generator_regularizers[0].weight == 2.0 / trained[0].generator.synthesis.depth


def test_truncation_is_served(trained):
    model, _ = trained
    sample, decode = model.endpoints()
    spec = sample.inputs["truncation"]
    with pytest.raises(ValueError, match="labels: this model has no classes"):
        model.sample(2, labels=1)
    assert (spec.shape, spec.low, spec.high, spec.default) == ((), 0.0, 1.0, 1.0) and "truncation" not in decode.inputs
    psi = ops.convert_to_tensor(np.array([0.0, 0.4, 1.0], "float32"))
    found = value(sample.function(seed=ops.convert_to_tensor(model.row_seeds(3, 5)), truncation=psi)["images"])
    for row, strength in enumerate((0.0, 0.4, 1.0)):
        wanted = model.sample(3, seed=5, truncation=strength)[row]
        np.testing.assert_allclose(found[row], wanted, atol=1e-5)
