"""GANs of classes: what the discriminator computes, that labels matter, wrong labels."""

import re

import keras
import numpy as np
import pytest
from keras import ops

from kgen.gan import ConcatenationConditioning, ConditionalGAN, Discriminator, Generator, ProjectionConditioning

RNG = np.random.default_rng(0)


def says(text):
    return pytest.raises(ValueError, match=re.escape(text))


def logits(discriminator, x, label):
    return ops.convert_to_numpy(discriminator([ops.convert_to_tensor(x), ops.convert_to_tensor(label)]))[:, 0]


def test_projection_and_concatenation_compute_their_formulas():
    x, label = RNG.normal(size=(6, 4)).astype("float32"), np.array([0, 1, 2, 2, 1, 0], "int32")
    projection = Discriminator((4,), [], num_classes=3, conditioning="projection")  # the features are x
    values = [RNG.normal(size=w.shape).astype("float32") for w in projection.get_weights()]
    projection.set_weights(values)
    v, w, b = (next(a for a in values if a.shape == shape) for shape in ((3, 4), (4, 1), (1,)))
    expected = x @ w[:, 0] + b + (v[label] * x).sum(-1)
    np.testing.assert_allclose(logits(projection, x, label), expected, rtol=1e-4, atol=1e-5)
    concatenation = Discriminator((4,), [], num_classes=3, conditioning=ConcatenationConditioning())
    w, b = concatenation.get_weights()
    expected = np.concatenate([x, np.eye(3)[label]], axis=1) @ w[:, 0] + b
    np.testing.assert_allclose(logits(concatenation, x, label), expected, rtol=1e-4, atol=1e-5)


def test_the_classes_of_images_are_planes():
    discriminator = Discriminator((4, 4, 1), [3], num_classes=2, conditioning="concatenation")
    assert discriminator.get_layer("conv_0").kernel.shape == (4, 4, 3, 3)  # one channel and two classes
    x = np.zeros((2, 4, 4, 1), "float32")
    assert np.ptp(logits(discriminator, x, np.array([0, 1], "int32"))) > 1e-4


@pytest.mark.parametrize("conditioning", ["projection", "concatenation"])
def test_samples_are_of_their_class(conditioning):
    centres = np.array([[-2.0, 0.0], [2.0, 0.0], [0.0, 2.0]], "float32")
    y = RNG.integers(0, 3, 128 * 400).astype("int32")
    x = centres[y] + 0.3 * RNG.normal(size=(len(y), 2)).astype("float32")
    discriminator = Discriminator((2,), [32, 32], num_classes=3, conditioning=conditioning)
    model = ConditionalGAN(
        (2,),
        3,
        4,
        generator=Generator(4, (2,), [32], num_classes=3),
        discriminator=discriminator,
        adversarial_loss="non_saturating",
        regularizers="r1",
        ema=0.99,
    )
    model.compile(keras.optimizers.Adam(3e-3, beta_1=0.5))
    model.fit(x, y, batch_size=128, verbose=0)
    labels = np.arange(300, dtype="int32") % 3
    samples = model.sample(300, seed=0, labels=labels)
    nearest = np.linalg.norm(samples[:, None] - centres, axis=-1).argmin(1)
    assert (nearest == labels).mean() > 0.95
    np.testing.assert_allclose(model.sample(3, seed=0, labels=0)[0], samples[0], atol=1e-5)
    z = ops.convert_to_numpy(model.latent(model.row_seeds(300, 0)))
    np.testing.assert_allclose(model.decode(z, labels=labels), samples, atol=1e-5)


@pytest.fixture(scope="module")
def model():
    return ConditionalGAN((8, 8, 1), num_classes=3, latent_dim=4)


def test_the_default_model(model):
    assert model.sample(2, seed=0, labels=[0, 2]).shape == (2, 8, 8, 1)
    assert type(model.adversarial_loss).__name__ == "HingeLoss"
    config = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(model)).get_config()
    assert config == model.get_config()
    vector = ConditionalGAN((2,), 2, conditioning=ProjectionConditioning())
    assert vector.sample(2, labels=1).shape == (2, 2)


def test_wrong_labels(model):
    x = np.zeros((4, 8, 8, 1), "float32")
    model.compile("adam")
    with says("y: this model has 3 classes and needs labels: fit(x, labels)."):
        model.fit(x)
    with says("y: expected integers in [0, 3), received values from 0 to 3."):
        model.fit(x, np.array([0, 1, 2, 3]))
    with says("labels: this model has 3 classes; pass one int for all rows, or 5 of them in [0, 3). It has not"):
        model.sample(5)
    with says("labels: expected integers in [0, 3), received values from 7 to 7."):
        model.sample(5, labels=7)
    with says("labels: expected 5 labels, one per row, received 2."):
        model.sample(5, labels=[0, 1])
    with says("num_classes: expected an integer of at least 1, received None."):
        ConditionalGAN((2,), None)
    with says(
        "conditioning: expected one of 'projection', 'concatenation', received 'project'. Did you mean 'projection'?"
    ):
        ConditionalGAN((2,), 3, conditioning="project")
    with says("generator: expected a network of inputs (B, 4) and (B,); it failed on them: "):
        ConditionalGAN((2,), 3, 4, generator=Generator(4, (2,)))
