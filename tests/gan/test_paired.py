"""Pix2Pix and SRGAN: their losses, what training reaches, their protocol, wrong arguments."""

import keras
import numpy as np
import pytest
from gan.parts import dense
from keras import layers, ops
from marks import TRAINED_ON_TORCH

import kgen
from kgen.core import Batch, random
from kgen.gan import ADA, R1, SRGAN, DiffAugment, Pix2Pix

from contract import COMPILE

SHAPE = (8, 8, 1)
RNG = np.random.default_rng(0)
X = RNG.uniform(-1, 1, (48, *SHAPE)).astype("float32")


def value(network, x):
    return ops.convert_to_numpy(network(ops.convert_to_tensor(x)))


def convolution(name, **kwargs):
    return keras.Sequential([keras.Input(SHAPE), layers.Conv2D(1, 3, padding="same", **kwargs)], name=name)


@TRAINED_ON_TORCH
def test_pix2pix_has_its_losses_and_learns_what_the_pairs_say(tmp_path):
    keras.utils.set_random_seed(0)
    discriminator = keras.Sequential([keras.Input((8, 8, 2)), layers.Conv2D(1, 3, strides=2)], name="discriminator")
    model = Pix2Pix(
        SHAPE, generator=convolution("generator"), discriminator=discriminator, l1=10.0, regularizers=R1(0.1), ema=0.5
    )
    model.compile(keras.optimizers.Adam(1e-2, beta_1=0.5), **COMPILE)
    y = -0.5 * X
    logs = model.evaluate(X[:32], y[:32], verbose=0, return_dict=True)
    made = value(model.generator, X[:32])
    distance = 10 * np.abs(y[:32] - made).mean()
    fake, real = (value(discriminator, np.concatenate([X[:32], z], -1)) for z in (made, y[:32]))
    adversarial = np.log1p(np.exp(-fake)).mean()
    expected = {
        "distance": distance,
        "adversarial": adversarial,
        "generator_loss": distance + adversarial,
        "discriminator_loss": np.log1p(np.exp(-real)).mean() + np.log1p(np.exp(fake)).mean(),
    }
    for name, number in expected.items():
        assert logs[name] == pytest.approx(number, rel=1e-3), name
    model.fit(X, y, batch_size=16, epochs=30, verbose=0)
    assert np.abs(model.translate(X) - y).mean() < 0.1 * np.abs(y).mean()
    model.save(tmp_path / "m.keras")
    again = kgen.load(tmp_path / "m.keras")
    np.testing.assert_allclose(again.translate(X[:3]), model.translate(X[:3], batch_size=2), atol=1e-5)
    (endpoint,) = model.endpoints()
    assert endpoint.name == "translate"
    np.testing.assert_allclose(
        ops.convert_to_numpy(endpoint.function(X[:3])["images"]), again.translate(X[:3]), atol=1e-5
    )


def small(**kwargs):
    up = keras.Sequential(
        [keras.Input((4, 4, 1)), layers.UpSampling2D(), layers.Conv2D(1, 3, padding="same")], name="generator"
    )
    return SRGAN(SHAPE, 2, generator=up, discriminator=dense(SHAPE, 1, "discriminator"), **kwargs)


def test_srgan_compares_features_of_a_frozen_network():
    keras.utils.set_random_seed(0)
    features = convolution("features", activation="tanh")
    trainable = len(features.trainable_variables)
    model = small(features=features, content=2.0, pixel=0.5, augmentation=DiffAugment("flip"), ema=None)
    start = features.get_weights()
    model.compile(keras.optimizers.Adam(1e-2), **COMPILE)
    logs = model.evaluate(X, verbose=0, return_dict=True)
    reduced = X.reshape(48, 4, 2, 4, 2, 1).mean((2, 4))
    made = value(model.generator, reduced)
    expected = 0.5 * ((X - made) ** 2).mean() + 2 * ((value(features, X) - value(features, made)) ** 2).mean()
    assert logs["distance"] == pytest.approx(expected, rel=1e-3)
    assert logs["generator_loss"] == pytest.approx(expected + 1e-3 * logs["adversarial"], rel=1e-3)
    history = model.fit(X, batch_size=16, epochs=8, verbose=0).history
    assert history["distance"][-1] < history["distance"][0]
    for a, b in zip(model.features.get_weights(), start, strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(features.trainable_variables) == trainable > 0 and not model.features.trainable_variables
    assert not any(v is w for v in model.features.variables for p in model.players.values() for w in p)
    assert model.upscale(reduced[:2]).shape == (2, *SHAPE) and model.endpoints()[0].name == "upscale"
    assert SRGAN.from_config(model.get_config()).get_config() == model.get_config()


def test_both_images_of_a_pair_are_augmented_alike():
    target = (*SHAPE[:2], 3)
    model = Pix2Pix(
        SHAPE,
        target,
        generator=keras.Sequential([keras.Input(SHAPE), layers.Conv2D(3, 1)]),
        discriminator=keras.Sequential([keras.Input((8, 8, 4)), layers.Activation("linear")]),
        augmentation=ADA(p=0.8, images=None, colour=False),
    )
    x = ops.convert_to_tensor(X[:16])
    seen = model.seen(x, ops.repeat(x, 3, axis=-1))
    batch = Batch(x, seeds=ops.convert_to_tensor(random.row_seeds(0, 16)))
    given = ops.convert_to_numpy(model._discriminator(batch, True)(seen, 0))
    np.testing.assert_allclose(given[..., 1:], np.repeat(given[..., :1], 3, axis=-1), atol=1e-5)
    moved = np.abs(given - ops.convert_to_numpy(seen)).max((1, 2, 3)) > 1e-3
    assert 8 < moved.sum() <= 16


def test_wrong_arguments():
    model = Pix2Pix(SHAPE, generator=convolution("g"), discriminator=dense((8, 8, 2), 1, "c"))
    model.compile()
    with pytest.raises(
        ValueError, match=r"y: Pix2Pix is trained on pairs, fit\(x, y\), received x alone. CycleGAN takes"
    ):
        model.fit(X)
    with pytest.raises(ValueError, match="y: expected 48 rows, one for each example, received 47"):
        model.fit(X, X[1:])
    small = keras.Sequential([keras.Input((4, 4, 1)), layers.UpSampling2D()])
    enlarging = SRGAN(SHAPE, 2, generator=small, discriminator=dense(SHAPE, 1, "d"))
    enlarging.compile()
    with pytest.raises(ValueError, match="y: SRGAN reduces large images itself and has no classes. Train by fit"):
        enlarging.fit(X, np.zeros(len(X), "int32"))
    with pytest.raises(ValueError, match=r"target: expected images of the size of source, \(8, 8\)"):
        Pix2Pix(SHAPE, (16, 16, 1))
    with pytest.raises(
        ValueError, match=r"shape: expected \(H, W, C\) with sides divisible by factor=4, received \(6, 8, 1\)"
    ):
        SRGAN((6, 8, 1))
    with pytest.raises(NotImplementedError, match="Pix2Pix makes images of images"):
        model.sample(2)
    with pytest.raises(ValueError, match=r"generator: expected outputs \(B, 8, 8, 1\), received \(1, 8, 8, 2\)"):
        Pix2Pix(SHAPE, generator=keras.Sequential([keras.Input(SHAPE), layers.Conv2D(2, 1)]))
