"""Anomalies, augmentation and latent editing: each on models whose answers are known, and anomalies on a class held out of Fashion-MNIST."""

import types

import keras
import numpy as np
import pytest

import kgen
from kgen.apply import anomaly, augment, latent
from kgen.energy import RBM
from kgen.networks import MLP
from kgen.vae import VAE

from contract import COMPILE

RNG = np.random.default_rng(0)


class Linear:
    """Latent vectors are twice the data; classes are points on a line; the density is N(0, I)."""

    likelihood, num_classes = "exact", 3

    def encode(self, x):
        return (2 * np.asarray(x)).astype("float32")

    def decode(self, z):
        return z / 2

    def reconstruct(self, x):
        return np.clip(x, -1.0, 1.0)

    def log_prob(self, x):
        return -0.5 * (np.asarray(x) ** 2).sum(1)

    def sample(self, n, *, labels, seed):
        return np.random.default_rng(seed).normal(size=(n, 2)) * 0.3 + np.asarray(labels)[:, None] * [1.0, 2.0]


def test_scores_are_what_the_model_has():
    x = np.array([[0.5, 0.0], [3.0, 0.0]])
    np.testing.assert_allclose(anomaly.scores(Linear(), x), [0.125, 4.5])
    np.testing.assert_allclose(anomaly.scores(Linear(), x, by="reconstruction"), [0.0, 2.0])
    with pytest.raises(ValueError, match="by: Linear has likelihood and reconstruction, received 'energy'"):
        anomaly.scores(Linear(), x, by="energy")
    with pytest.raises(ValueError, match="by: expected one of"):
        anomaly.scores(Linear(), x, by="loss")
    nothing = types.SimpleNamespace(likelihood="implicit")
    with pytest.raises(ValueError, match="SimpleNamespace has no likelihood, no energy and no reconstruction"):
        anomaly.scores(nothing, x)
    rbm = RBM((6,), hidden=4)
    bits = RNG.integers(0, 2, (5, 6)).astype("float32")
    np.testing.assert_allclose(anomaly.scores(rbm, bits, by="energy"), rbm.energy(bits), rtol=1e-6)


def test_a_detector_raises_as_many_false_alarms_as_it_was_told():
    normal = RNG.normal(size=(4000, 2))
    detector = anomaly.Detector(Linear(), normal, false_alarms=0.1)
    assert detector(RNG.normal(size=(4000, 2))).mean() == pytest.approx(0.1, abs=0.02)
    assert detector.threshold == pytest.approx(np.log(10), rel=0.1)  # |x|^2 / 2 of two coordinates is exponential
    assert detector(np.full((3, 2), 3.0)).all()
    assert anomaly.auroc([0.0, 1.0, 2.0], [1.5, 3.0]) == pytest.approx(5 / 6)


@pytest.mark.parametrize(("n", "share"), [(20, 0.05), (19, 0.05), (9, 0.1), (12, 0.3)])
def test_few_examples_set_a_threshold_that_keeps_its_promise(n, share):
    normal = RNG.normal(size=(3000, n, 2))
    alarms = [anomaly.Detector(Linear(), x, false_alarms=share)(RNG.normal(size=(20, 2))).mean() for x in normal]
    # On average over draws of the examples: floor((n + 1) a) / (n + 1), for a score without ties.
    expected = np.floor((n + 1) * share + 1e-9) / (n + 1)
    assert expected <= share + 1e-9
    assert np.mean(alarms) == pytest.approx(expected, abs=4 * np.std(alarms) / 3000**0.5)


def test_too_few_examples_for_a_threshold():
    for n, share, message in (
        (18, 0.05, "x: expected at least 19 normal examples for false_alarms=0.05, received 18"),
        (50, 0.0, "false_alarms: expected a number between 0 and 1, both excluded, received 0"),
        (50, 1.0, "false_alarms: expected a number between 0 and 1, both excluded, received 1"),
    ):
        with pytest.raises(ValueError, match=message):
            anomaly.Detector(Linear(), RNG.normal(size=(n, 2)), false_alarms=share)


@pytest.mark.once("test_same_everywhere holds the training of every backend to the same numbers")
def test_a_class_of_fashion_mnist_held_out():
    try:
        x, y = kgen.data.load("fashion_mnist", split="train")
    except FileNotFoundError as error:
        pytest.skip(str(error))
    x, y = x[:6000].reshape(-1, 7, 4, 7, 4, 1).mean((2, 4)), y[:6000]  # averages over blocks: 7 x 7 pixels
    keras.utils.set_random_seed(0)
    encoder, decoder = MLP((7, 7, 1), (16,), widths=(64,)), MLP((8,), (7, 7, 1), widths=(64,))
    model = VAE((7, 7, 1), 8, encoder=encoder, decoder=decoder)
    model.compile(keras.optimizers.Adam(3e-3), **COMPILE)
    held_out = 8  # bags
    normal = x[y != held_out]
    model.fit(normal[:4000], epochs=10, batch_size=128, verbose=0)
    for by in ("reconstruction", "likelihood"):
        usual, unusual = (anomaly.scores(model, a, by=by) for a in (normal[4000:], x[y == held_out]))
        assert anomaly.auroc(usual, unusual) > 0.85, by
    detector = anomaly.Detector(model, normal[4000:], by="reconstruction")
    assert detector(x[y == held_out]).mean() > 5 * detector(normal[4000:]).mean()


def test_augmented_data_are_all_there_and_help_where_samples_are_good():
    y = np.array([0, 0, 1, 1, 2, 2], "int32")
    x = RNG.normal(size=(6, 2)) * 0.3 + y[:, None] * [1.0, 2.0]
    x[0] = [2.0, 4.0]  # one of few, and wrong
    more_x, more_y = augment.augment(Linear(), x, y, per_class=50)
    assert more_x.shape == (156, 2) and np.bincount(more_y).tolist() == [52, 52, 52]
    assert {tuple(row) for row in x.astype("float32")} <= {tuple(row) for row in more_x}
    y_test = np.repeat([0, 1, 2], 200)
    x_test = RNG.normal(size=(600, 2)) * 0.3 + y_test[:, None] * [1.0, 2.0]
    found = augment.compare(Linear(), x, y, x_test, y_test, per_class=50)
    assert found["after"] > 0.95 > found["before"] + 0.02 and found["samples"] == 150
    assert 0 < found["standard_error"] < 0.05
    with pytest.raises(ValueError, match="y: expected one int for each of 6 examples, received float64"):
        augment.augment(Linear(), x, y * 1.0, per_class=1)
    with pytest.raises(
        ValueError, match="model: expected one that samples by labels=, this SimpleNamespace has no classes"
    ):
        augment.augment(types.SimpleNamespace(), x, y, per_class=1)


def test_directions_and_analogies():
    lacking, having = RNG.normal(size=(50, 3)), RNG.normal(loc=(1.0, 0.0, 0.0), size=(60, 3))
    direction = latent.attribute_vector(Linear(), having, lacking)
    np.testing.assert_allclose(direction, 2 * (having.mean(0) - lacking.mean(0)), rtol=1e-5)
    moved = latent.edit(Linear(), lacking[:4], direction, [0.0, 1.0, -2.0])
    assert moved.shape == (4, 3, 3)
    np.testing.assert_allclose(moved[:, 0], lacking[:4], rtol=1e-5)
    assert latent.edit(Linear(), lacking[:4], direction, 0.5).shape == (4, 1, 3)
    np.testing.assert_allclose(moved[:, 2], lacking[:4] - direction, rtol=1e-4, atol=1e-5)
    found = latent.analogy(Linear(), lacking[:2], having[:2], lacking[2:4])
    np.testing.assert_allclose(found, having[:2] - lacking[:2] + lacking[2:4], rtol=1e-4, atol=1e-5)
    for call, message in (
        (lambda: latent.edit(Linear(), lacking, direction[:2], [0]), r"direction: expected shape \(3,\)"),
        (lambda: latent.attribute_vector(Linear(), having[:0], lacking), "having: expected at least one example"),
        (lambda: latent.analogy(Linear(), lacking[:1], lacking[:2], lacking[:2]), "received 1, 2 and 2"),
        (lambda: latent.edit(types.SimpleNamespace(), lacking, direction, [0]), "SimpleNamespace has no latent space"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_slerp_stays_on_the_sphere_and_turns_evenly():
    a, b = RNG.normal(size=(5, 40)), RNG.normal(size=(5, 40))
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    b *= 3 / np.linalg.norm(b, axis=1, keepdims=True)
    way = latent.slerp(a, b, steps=9)
    np.testing.assert_allclose(np.linalg.norm(way, axis=2), np.tile(np.linspace(1, 3, 9), (5, 1)), rtol=1e-5)
    np.testing.assert_allclose(way[:, [0, -1]], np.stack([a, b], 1), atol=1e-6)
    unit = way / np.linalg.norm(way, axis=2, keepdims=True)
    turns = np.arccos((unit[:, 1:] * unit[:, :-1]).sum(2))
    np.testing.assert_allclose(turns, turns[:, :1].repeat(8, 1), rtol=1e-3)
    np.testing.assert_allclose(latent.slerp(a, 2 * a, 3)[:, 1], 1.5 * a, atol=1e-6)  # no angle: a straight line
    with pytest.raises(ValueError, match="row 0 of both point in opposite directions"):
        latent.slerp(a, -a)
    with pytest.raises(ValueError, match="a, b: expected vectors other than 0"):
        latent.slerp(a, 0 * b)
