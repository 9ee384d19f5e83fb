"""The conditional VAE: the exact optimum of a linear one, its conditions, the contract."""

import math

import keras
import numpy as np
import pytest
from scipy import stats

import kgen
from kgen.core.conditions import ImageCondition, LabelCondition, VectorCondition
from kgen.core.config import own_copy
from kgen.networks import MLP
from kgen.vae import ConditionalVAE
from kgen.vae.conditional import Concatenated

from contract import *  # noqa: F403
from contract import Case, X, Y, trained_models

LABEL = [LabelCondition(3)]


def small():
    encoder = Concatenated(MLP((4, 4, 4), (4,), widths=(16,)), (4, 4, 1), LABEL)
    decoder = Concatenated(MLP((5,), (4, 4, 1), widths=(16,)), (2,), LABEL)
    return ConditionalVAE((4, 4, 1), 2, num_classes=3, encoder=encoder, decoder=decoder, ema=0.9)


trained = trained_models(
    {
        "conditional vae": Case(small, data=(X, Y), sample={"labels": 1}, log_prob={"labels": 2, "num_samples": 4}),
    }
)


@pytest.mark.once("test_same_everywhere holds the training of every backend to the same numbers")
def test_linear_classes_are_learned_exactly():
    """x = m_y + w z + s e: the best model of each class is N(m_y, w w^T + s^2 I), a probabilistic PCA."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    means, direction, scale = 2.0 * rng.normal(size=(3, 4)), rng.normal(size=4), 0.4
    y = np.arange(900) % 3
    x = means[y] + rng.normal(size=(900, 1)) * direction + scale * rng.normal(size=(900, 4))
    found = np.stack([x[y == k].mean(0) for k in range(3)])
    within = np.cov((x - found[y]).T, bias=True)
    values, vectors = np.linalg.eigh(within)
    noise = values[:-1].mean()
    covariance = (values[-1] - noise) * np.outer(vectors[:, -1], vectors[:, -1]) + noise * np.eye(4)
    best = np.array([stats.multivariate_normal(found[k], covariance).logpdf(v) for k, v in zip(y, x, strict=True)])

    encoder = Concatenated(MLP((7,), (2,), widths=()), (4,), LABEL)
    decoder = Concatenated(MLP((4,), (4,), widths=()), (1,), LABEL)
    model = ConditionalVAE((4,), 1, num_classes=3, encoder=encoder, decoder=decoder)
    steps = 300
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(8e-2, steps)))
    x = x.astype("float32")
    for _ in range(steps):
        model.train_on_batch(x, y)
    reached = model.log_prob(x, labels=y, num_samples=20)
    assert best.mean() - 0.02 < reached.mean() < best.mean() + 0.02
    centres = model.decode(np.zeros((3, 1), "float32"), labels=[0, 1, 2])
    np.testing.assert_allclose(centres, found, atol=0.05)
    for k in range(3):
        samples = model.sample(2000, seed=k, labels=k, noise=True)
        np.testing.assert_allclose(samples.mean(0), found[k], atol=6 * math.sqrt(covariance.max() / 2000))
        np.testing.assert_allclose(np.cov(samples.T), covariance, atol=0.15 * covariance.max())
    wrong = model.log_prob(x, labels=(y + 1) % 3, num_samples=20)
    assert wrong.mean() < reached.mean() - 5


@pytest.mark.once("the sizes of a network are no backend's")
def test_default_networks_take_labels_and_vectors(tmp_path):
    x, y = kgen.data.load("digits")
    ink = (x.mean((1, 2)) + 1) / 2  # how dark a picture is
    conditions = [LabelCondition([str(k) for k in range(10)]), VectorCondition(1, 0.0, 1.0, name="ink", dropout=0.1)]
    model = ConditionalVAE((8, 8, 1), 3, conditions=conditions)
    model.compile()
    given = {"label": y[:64], "ink": ink[:64]}
    model.fit(x[:64], given, batch_size=32, verbose=0)
    assert np.isfinite(model.evaluate(x[:64], given, verbose=0)).all()
    one = model.sample(2, seed=0, labels="7", ink=[0.2])
    assert one.shape == (2, 8, 8, 1)
    for other in ({"labels": 3, "ink": [0.2]}, {"labels": 7, "ink": [0.9]}, {"labels": 7}):
        assert np.abs(model.sample(2, seed=0, **other) - one).max() > 1e-5
    model.save_to_preset(tmp_path / "preset")
    loaded = kgen.from_preset(tmp_path / "preset")
    np.testing.assert_allclose(loaded.sample(2, seed=0, labels="7", ink=[0.2]), one, atol=1e-6)
    assert model.interpolate(x[:2], x[2:4], 3, labels=1).shape == (2, 3, 8, 8, 1)


def test_a_functional_network_within_is_copied_more_than_once():
    x = keras.Input((6,))
    network = Concatenated(keras.Model(x, keras.layers.Dense(2)(keras.layers.Dense(3)(x))), (3,), LABEL)
    before = own_copy(network.get_config())
    for _ in range(2):
        Concatenated.from_config(network.get_config())
        assert network.get_config() == before


def test_wrong_arguments():
    model = ConditionalVAE((3,), 1, num_classes=3)
    x = np.zeros((4, 3), "float32")
    cases = [
        (lambda: ConditionalVAE((3,), 1), "num_classes, conditions: expected at least one of them"),
        (lambda: ConditionalVAE((8, 8, 1), conditions=[ImageCondition((8, 8, 1))]), "not 'condition', of kind 'image'"),
        (lambda: model.sample(2), "labels: this model has 3 classes"),
        (lambda: model.sample(2, labels=3), r"labels: expected integers in \[0, 3\)"),
        (lambda: model.encode(x, labels=[0, 1]), "labels: expected 4 labels"),
        (lambda: model.fit(x), "label"),
    ]
    model.compile()
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()
