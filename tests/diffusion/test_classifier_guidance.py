"""Classifier guidance against a mixture of Gaussians, whose every noise and class probability is known."""

import keras
import numpy as np
import pytest
from keras import ops

from kgen.core.conditions import Conditions
from kgen.diffusion import (
    DDPM,
    ClassifierGuidance,
    CosineSchedule,
    DDIMSampler,
    Denoiser,
    FlowMatching,
    NoisyClassifier,
)
from kgen.diffusion.schedules import like
from kgen.networks import MLP

MEANS, SCALE, SCHEDULE = np.array([[2.0, 0.0], [-2.0, 1.0], [0.0, -2.0]], "float32"), 0.3, CosineSchedule()


def parts(x, t):
    """ln p(k, x_t) up to a constant (B, 3), and each class's noise (B, 3, 2)."""
    alpha, sigma = like(SCHEDULE.alpha(t), x)[:, None], like(SCHEDULE.sigma(t), x)[:, None]
    variance = alpha**2 * SCALE**2 + sigma**2
    away = x[:, None] - alpha * ops.convert_to_tensor(MEANS)[None]
    return -0.5 * ops.sum(away**2 / variance, -1), sigma * away / variance


def network(inputs, training=False):
    logits, noise = parts(inputs[0], inputs[1])
    return ops.sum(ops.softmax(logits, -1)[..., None] * noise, axis=1)


def classifier(inputs):
    return parts(*inputs)[0]


def test_guided_by_the_exact_classifier_the_noise_is_that_of_the_class():
    rng = np.random.default_rng(0)
    x, t = ops.convert_to_tensor(rng.normal(size=(40, 2)).astype("float32")), ops.linspace(0.05, 0.95, 40)
    plain = Denoiser(
        network, SCHEDULE, DDPM((2,), network=MLP((2,), (2,), (4,), time=True), prediction="noise").prediction
    )
    for label in range(3):
        guided = ClassifierGuidance(classifier, label=label).around(plain, Conditions(), ops.ones((40,)))
        expected = parts(x, t)[1][:, label]
        estimate = guided(x, t, {})
        np.testing.assert_allclose(ops.convert_to_numpy(estimate.noise), ops.convert_to_numpy(expected), atol=2e-4)
        rest = ops.convert_to_numpy(
            like(SCHEDULE.alpha(t), x) * estimate.data + like(SCHEDULE.sigma(t), x) * estimate.noise
        )
        np.testing.assert_allclose(rest, ops.convert_to_numpy(x), atol=1e-4)
        unguided = ClassifierGuidance(classifier, 0.0, label).around(plain, Conditions(), ops.zeros((40,)))(x, t, {})
        np.testing.assert_allclose(
            ops.convert_to_numpy(unguided.noise), ops.convert_to_numpy(plain(x, t, {}).noise), atol=1e-5
        )


@keras.saving.register_keras_serializable(package="kgen_tests")
class Exact(keras.layers.Layer):
    """The exact network as a layer, so that a model holds it."""

    def call(self, inputs, training=False):
        return network(inputs)


def test_samples_are_of_the_class():
    model = DDPM((2,), network=Exact(), prediction="noise", sampler=DDIMSampler(40), ema=None)
    samples = model.sample(64, seed=0, guidance=ClassifierGuidance(classifier, label=1))
    np.testing.assert_allclose(samples.mean(0), MEANS[1], atol=0.2)
    assert samples.std(0).max() < 0.5
    assert model.sample(64, seed=0).std(0).max() > 1  # without guidance: all three


def test_where_nothing_of_the_data_is_left_a_classifier_changes_nothing():
    """At t = 1 of a flow alpha is 0: the slope of a classifier that is not perfect there would be divided by nothing."""
    model = FlowMatching((2,), network=MLP((2,), (2,), (4,), time=True), ema=None)
    x = ops.convert_to_tensor(np.random.default_rng(0).normal(size=(6, 2)).astype("float32"))
    guided = ClassifierGuidance(lambda inputs: 3.0 * inputs[0], label=1).around(model.denoiser(), {}, ops.ones((6,)))
    plain, found = (denoise(x, ops.ones((6,)), {}) for denoise in (model.denoiser(), guided))
    for a, b in ((plain.data, found.data), (plain.noise, found.noise)):
        np.testing.assert_allclose(ops.convert_to_numpy(b), ops.convert_to_numpy(a), atol=1e-6)
    half = 0.5 * ops.ones((6,))
    moved = ops.convert_to_numpy(guided(x, half, {}).data - model.denoiser()(x, half, {}).data)
    assert (np.abs(moved) > 0.1).any()


def logits(size, count):
    """A small network of [x_t, t] to logits."""
    return MLP((size,), (count,), (4,), time=True)


@keras.saving.register_keras_serializable(package="kgen_tests")
class Silent(keras.layers.Layer):
    """A network of [x_t, t, label] that says nothing."""

    def call(self, inputs, training=False):
        return ops.zeros_like(inputs[0])


def test_wrong_arguments():
    model = DDPM((2,), network=Exact(), prediction="noise", sampler=DDIMSampler(2), ema=None)
    with pytest.raises(ValueError, match="guidance: a classifier needs a class; pass labels="):
        model.sample(2, guidance=ClassifierGuidance(classifier))
    with pytest.raises(TypeError, match="classifier: expected a network that maps"):
        ClassifierGuidance("digits")
    with pytest.raises(ValueError, match=r"label: expected"):
        ClassifierGuidance(classifier, label=-1)

    named = NoisyClassifier((2,), ["cat", "dog"], network=logits(2, 2))
    assert ClassifierGuidance(named, label="dog").label == 1
    with pytest.raises(ValueError, match="cow"):
        ClassifierGuidance(named, label="cow")
    model.sample(2, seed=0, guidance=ClassifierGuidance(named, label="dog"))
    classed = DDPM((2,), num_classes=3, network=Silent(), sampler=DDIMSampler(2), ema=None)
    for other, label, told in (
        (
            NoisyClassifier((2,), 2, network=logits(2, 2), schedule="edm"),
            0,
            "classifier: expected the process CosineSchedule",
        ),
        (NoisyClassifier((3,), 2, network=logits(3, 2)), 0, r"classifier: expected data of shape \(2,\)"),
        (named, None, "classifier: expected the model's 3 classes, received 2 logits"),
        (logits(2, 2), 7, r"label: expected a class in \[0, 2\), received 7"),
        (logits(3, 2), 0, "classifier: expected a network that maps .* it failed on such inputs"),
    ):
        with pytest.raises(ValueError, match=told):
            classed.sample(2, labels=0, guidance=ClassifierGuidance(other, label=label))
