"""Noise in the condition, and cascades: models whose every answer is known, one after the other."""

import keras
import numpy as np
import pytest
from keras import ops

import kgen
from kgen.core import random
from kgen.diffusion import (
    DDPM,
    AugmentationLevel,
    Cascade,
    CosineSchedule,
    DDIMSampler,
    SmallerPicture,
    SuperResolution,
)
from kgen.diffusion.schedules import like

X = np.random.default_rng(0).uniform(-0.5, 0.5, (6, 2, 2, 1)).astype("float32")


@keras.saving.register_keras_serializable(package="kgen_tests")
class OfClass(keras.layers.Layer):
    """The optimal estimate of pixels N(label/4, 0.1^2)."""

    def call(self, inputs, training=False):
        x, t, label = inputs
        alpha, sigma = like(CosineSchedule().alpha(t), x), like(CosineSchedule().sigma(t), x)
        mean = like(ops.cast(label, "float32") / 4, x)
        return mean + 0.01 * alpha / (0.01 * alpha**2 + sigma**2) * (x - alpha * mean)


@keras.saving.register_keras_serializable(package="kgen_tests")
class Enlarged(keras.layers.Layer):
    """The smaller picture, each pixel twice in both directions."""

    def call(self, inputs, training=False):
        (low,) = (v for v in inputs[2:] if len(v.shape) == 4)
        return ops.repeat(ops.repeat(low, 2, axis=1), 2, axis=2)


def enlarging(side, **kwargs):
    common = {"network": Enlarged(), "prediction": "data", "sampler": DDIMSampler(2), "clip": False, "ema": None}
    return SuperResolution((side, side, 1), 2, **common, **kwargs)


def small(x, factor):
    return x.reshape(len(x), x.shape[1] // factor, factor, x.shape[2] // factor, factor, 1).mean((2, 4))


def test_the_condition_has_the_noise_of_which_the_network_is_told():
    seeds = ops.convert_to_tensor(random.row_seeds(0, 500))
    x = ops.ones((500, 4, 4, 1)) * 0.5
    low = ops.convert_to_numpy(SmallerPicture((2, 2, 1), 2, 0.6).made(x, seeds)["low"])
    told = ops.convert_to_numpy(AugmentationLevel(0.6).made(x, seeds)["augmentation"])[:, 0]
    assert 0 <= told.min() < 0.01 and 0.59 < told.max() <= 0.6
    alpha, sigma = (ops.convert_to_numpy(f(told))[:, None] for f in (CosineSchedule().alpha, CosineSchedule().sigma))
    noise = (low.reshape(500, 4) - alpha * 0.5) / sigma  # of each pixel, whatever the level
    assert abs(noise.mean()) < 0.1 and abs(noise[told < 0.3].std() - 1) < 0.1 and abs(noise[told > 0.3].std() - 1) < 0.1
    few = SmallerPicture((2, 2, 1), 2, 0.6).made(x[:5], seeds[:5])["low"]
    np.testing.assert_allclose(ops.convert_to_numpy(few), low[:5], atol=1e-6)


def test_noise_is_added_where_it_is_asked_for():
    model = enlarging(4, augmentation=0.5)
    model.compile(jit_compile=False)
    np.testing.assert_allclose(small(model.upscale(X, seed=0), 2), X, atol=1e-5)
    drawn = model.upscale(X, augmentation=0.4, seed=0)
    alpha, sigma = (float(f(np.float32(0.4))) for f in (CosineSchedule().alpha, CosineSchedule().sigma))
    noise = (small(drawn, 2) - alpha * X) / sigma
    assert 0.5 < noise.std() < 1.5 and np.abs(noise).max() < 4
    np.testing.assert_allclose(model.upscale(X[:2], augmentation=0.4, seed=0), drawn[:2], atol=1e-5)
    inputs = {"seed": random.row_seeds(0, 6), "low": X, "augmentation": np.full((6, 1), 0.4, "float32")}
    inputs["steps"] = np.full(6, 2, "int32")
    endpoint = model.endpoints()[0]
    assert list(endpoint.inputs) == ["seed", "low", "augmentation", "steps"]
    served = endpoint.function(**{k: ops.convert_to_tensor(v) for k, v in inputs.items()})["images"]
    np.testing.assert_allclose(ops.convert_to_numpy(served), drawn, atol=1e-5)
    with pytest.raises(ValueError, match=r"augmentation: expected a number in \[0, 0.5\], received 0.6"):
        model.upscale(X, augmentation=0.6)


def base():
    common = {"network": OfClass(), "prediction": "data", "sampler": DDIMSampler(3), "ema": None}
    return DDPM((2, 2, 1), num_classes=4, label_dropout=0.0, **common)


def test_each_model_enlarges_what_the_one_before_drew(tmp_path):
    first = base()
    first.compile(jit_compile=False)
    cascade = Cascade([first, enlarging(4, num_classes=4, label_dropout=0.0), enlarging(8, augmentation=0.3)])
    cascade.compile(jit_compile=False)
    labels = [0, 1, 2, 3, 0, 1]
    drawn = cascade.sample(6, seed=0, labels=labels)
    assert drawn.shape == (6, 8, 8, 1)
    np.testing.assert_allclose(small(drawn, 4), first.sample(6, seed=0, labels=labels), atol=1e-5)
    np.testing.assert_allclose(cascade.sample(2, seed=0, labels=labels[:2]), drawn[:2], atol=1e-5)
    noisy = cascade.sample(6, seed=0, labels=labels, augmentation=0.3)
    np.testing.assert_allclose(noisy.reshape(6, 4, 2, 4, 2, 1).std((2, 4)), 0, atol=1e-6)
    assert np.abs(noisy - drawn).mean() > 0.05
    cascade.save(tmp_path / "m.keras")
    again = kgen.load(tmp_path / "m.keras")
    (endpoint,) = again.endpoints()
    assert list(endpoint.inputs) == ["seed", "label", "augmentation", "steps"]
    assert endpoint.inputs["steps"].high == endpoint.inputs["steps"].default == 3
    inputs = {
        "seed": random.row_seeds(0, 6),
        "label": np.array(labels, "int32"),
        "augmentation": np.full(6, 0.3, "float32"),
    }
    fewer = cascade.sample(6, seed=0, labels=labels, augmentation=0.3, steps=1)
    for steps, expected in ((3, noisy), (1, fewer)):  # of 3, 2 and 2 steps: three leave each model its own
        inputs["steps"] = np.full(6, steps, "int32")
        served = endpoint.function(**{k: ops.convert_to_tensor(v) for k, v in inputs.items()})["images"]
        np.testing.assert_allclose(ops.convert_to_numpy(served), expected, atol=1e-5)
    assert np.abs(noisy - fewer).mean() > 1e-3


def test_models_that_do_not_follow_each_other():
    with pytest.raises(
        ValueError, match=r"models\[1\]: it enlarges \(4, 4, 1\); expected \(2, 2, 1\), what models\[0\] draws"
    ):
        Cascade([base(), enlarging(8)])
    with pytest.raises(
        ValueError, match=r"models\[1\]: its condition 'label' is none of the first model's, which has \['label'\]"
    ):
        Cascade([base(), enlarging(4, num_classes=7)])
    with pytest.raises(TypeError, match=r"models\[1\]: expected a SuperResolution, received DDPM"):
        Cascade([base(), base()])
    with pytest.raises(
        ValueError, match="models: expected a model of small images and those that enlarge them, received 1"
    ):
        Cascade([base()])
    with pytest.raises(NotImplementedError, match="Cascade: train each of its models by itself"):
        Cascade([base(), enlarging(4)]).objective(None, True)
