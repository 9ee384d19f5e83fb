"""GANs of classes: what the discriminator computes, that labels matter, wrong labels."""

import re

import keras
import numpy as np
import pytest
from keras import ops

from kgen.core.conditions import ImageCondition, LabelCondition, SequenceCondition
from kgen.gan import ConcatenationConditioning, ConditionalGAN, Discriminator, Generator, ProjectionConditioning

from contract import COMPILE

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


@pytest.mark.once("test_same_everywhere holds the training of every backend to the same numbers")
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


def test_classes_by_batch_normalisation():
    model = ConditionalGAN((8, 8, 1), 3, 4, generator_conditioning="batch_norm")
    by_class = [la for la in model.generator.layers if type(la).__name__ == "ConditionalBatchNormalization"]
    assert len(by_class) == 2 and model.generator.get_layer("dense").kernel.shape[0] == 4  # z alone
    np.testing.assert_array_equal(model.sample(1, seed=0, labels=0), model.sample(1, seed=0, labels=2))  # as they start
    by_class[0].shift.kernel.assign(RNG.normal(size=by_class[0].shift.kernel.shape))
    config = model.get_config()  # what was called is compiled: a new one has the new weights
    again = ConditionalGAN.from_config(config)
    again.set_weights(model.get_weights())
    again.ema_generator.set_weights(model.generator.get_weights())
    assert np.abs(again.sample(1, seed=0, labels=0) - again.sample(1, seed=0, labels=2)).max() > 1e-3
    with says("conditioning: 'batch_norm' is of images, which are normalised, received shape (2,)."):
        ConditionalGAN((2,), 3, generator_conditioning="batch_norm")


def test_texts_through_an_embedding():
    text = SequenceCondition(5, 9, name="text")
    model = ConditionalGAN(
        (2,),
        latent_dim=3,
        conditions=[text, LabelCondition(2)],
        generator=Generator(3, (2,), [8], conditions=[text, LabelCondition(2)]),
        discriminator=Discriminator((2,), [8], conditions=[text, LabelCondition(2)]),
    )
    model.compile(**COMPILE)
    tokens = RNG.integers(0, 9, (16, 5)).astype("int32")
    x = {"x": RNG.normal(size=(16, 2)).astype("float32"), "text": tokens, "label": np.arange(16, dtype="int32") % 2}
    before = model.generator.get_layer("text_embedding").get_weights()[0]
    model.fit(x, verbose=0)
    moved = np.abs(model.generator.get_layer("text_embedding").get_weights()[0] - before).max(axis=1)
    assert (moved[1:] > 0).all() and moved[0] == 0  # 0 is padding
    two = model.sample(2, seed=0, labels=1, text=np.array([[1, 2, 0, 0, 0], [1, 2, 3, 0, 0]], "int32"))
    one = model.sample(2, seed=0, labels=1, text=np.array([[1, 2, 0, 0, 0], [1, 2, 0, 0, 0]], "int32"))
    np.testing.assert_allclose(two[0], one[0], atol=1e-6)
    assert np.abs(two[1] - one[1]).max() > 1e-6
    assert ConditionalGAN.from_config(model.get_config()).get_config() == model.get_config()
    with says(
        "conditions: expected labels, vectors and texts, received the image 'condition'. Pix2Pix takes pictures."
    ):
        ConditionalGAN((2,), conditions=[ImageCondition((4, 4, 1))])


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
