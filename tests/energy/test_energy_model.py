"""Energies that are known, recovered from samples by each criterion."""

import keras
import numpy as np
import pytest
from keras import ops

from kgen.backend import keras_private
from kgen.energy import (
    ContrastiveDivergence,
    DenoisingScoreMatching,
    EnergyModel,
    HMCSampler,
    LangevinSampler,
    MALASampler,
    SlicedScoreMatching,
)
from kgen.networks import MLP

MEAN, SCALE = 0.7, 0.5


@keras.saving.register_keras_serializable(package="test_energy")
class Quadratic(keras.layers.Layer):
    """f(x) = a x^2 / 2 - b x: with it the energy of every Gaussian is within reach, at a = 1/s^2, b = m/s^2."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.a = self.add_weight(shape=(), initializer="ones", name="a")
        self.b = self.add_weight(shape=(), initializer="zeros", name="b")
        self.built = True

    def call(self, x):
        return 0.5 * self.a * ops.square(x) - self.b * x

    def compute_output_shape(self, shape):
        return shape


def normal_draws(n=2048):
    """Quantiles of N(0, 1): a sample whose moments are nearly exact."""
    u = (np.arange(n) + 0.5) / n
    from scipy import stats

    return np.random.default_rng(0).permutation(stats.norm.ppf(u)).astype("float32")[:, None]


@pytest.mark.parametrize(
    ("criterion", "noise"),
    [
        (DenoisingScoreMatching(0.3), 0.3),
        (SlicedScoreMatching(), 0.0),
        (ContrastiveDivergence(steps=5, buffer_size=1000, restart=0.0, alpha=0.0), 0.0),
    ],
    ids=lambda v: type(v).__name__ if not isinstance(v, float) else None,
)
def test_a_gaussians_energy_is_recovered(criterion, noise):
    model = EnergyModel((1,), Quadratic(), criterion=criterion, sampler=MALASampler(0.5), reference_scale=3.0, ema=0.95)
    steps = 240
    rate = keras.optimizers.schedules.CosineDecay(0.1, steps)
    model.compile(keras.optimizers.Adam(rate))
    x = MEAN + SCALE * normal_draws()
    model.fit(np.tile(x, (steps // 4, 1)), batch_size=512, verbose=0)  # one long epoch: an epoch has its own cost
    variance = SCALE**2 + noise**2
    x = np.linspace(-1, 2, 7, dtype="float32")[:, None]
    np.testing.assert_allclose(model.score(x), -(x - MEAN) / variance, rtol=0.05, atol=0.25)
    energy = model.energy(x)
    exact = 0.5 * (x[:, 0] - MEAN) ** 2 / variance
    np.testing.assert_allclose(energy - energy.min(), exact - exact.min(), rtol=0.05, atol=0.25)
    np.testing.assert_allclose(model.log_prob(x), -energy)


@pytest.mark.once("test_same_everywhere holds the training of every backend to the same numbers")
def test_a_mixtures_energy_is_recovered():
    means, scale, sigma = np.array([-1.2, 1.2]), 0.4, 0.3
    draws = normal_draws(4096) * scale
    x = np.where(np.random.default_rng(1).random((4096, 1)) < 0.3, means[0], means[1]).astype("float32") + draws
    model = EnergyModel(
        (1,),
        MLP((1,), (1,), widths=(32, 32)),
        criterion=DenoisingScoreMatching(sigma),
        sampler=MALASampler(0.4, 100),
        reference_scale=3.0,
        ema=0.99,
    )
    epochs = 60
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(2e-2, epochs * 8)))
    model.fit(np.tile(x, (epochs, 1)), batch_size=512, verbose=0)
    variance = scale**2 + sigma**2
    grid = np.linspace(-2.2, 2.2, 45, dtype="float32")[:, None]
    parts = np.array([0.3, 0.7]) * np.exp(-((grid - means) ** 2) / (2 * variance))
    density = parts.sum(1)
    exact = -np.log(density)
    shares = parts / density[:, None]
    score = (shares * (means - grid)).sum(1) / variance  # sum_k r_k(x) (m_k - x) / (s^2 + sigma^2)
    weight = density / density.sum()
    energy = model.energy(grid)
    energy = energy - (weight * (energy - exact)).sum()
    assert (weight * (energy - exact) ** 2).sum() ** 0.5 < 0.1
    assert (weight * (model.score(grid)[:, 0] - score) ** 2).sum() < 0.05 * (weight * score**2).sum()
    samples = model.sample(1000, seed=0, batch_size=1000)[:, 0]
    assert 0.6 < (samples > 0).mean() < 0.8  # it crosses between the modes


@pytest.mark.parametrize("buffer_size", [0, 6000])
def test_three_to_one_by_weights_is_three_to_one_by_copies(buffer_size):
    rows = np.array([[-1.0], [1.0]], "float32")
    copies = np.repeat(rows, [4500, 1500], axis=0), np.ones(6000, "float32")
    weights = np.repeat(rows, 3000, axis=0), np.repeat(np.array([1.5, 0.5], "float32"), 3000)
    steps = []
    for x, weight in (copies, weights):
        keras.utils.set_random_seed(0)
        criterion = ContrastiveDivergence(steps=3, buffer_size=buffer_size, restart=0.0, alpha=0.1)
        model = EnergyModel((1,), Quadratic(), criterion=criterion, sampler=LangevinSampler(0.3))
        model.compile(keras.optimizers.SGD(1.0))
        model.fit(x, sample_weight=weight, batch_size=6000, verbose=0)
        steps.append([float(ops.convert_to_numpy(v)) for v in model.trainable_variables])
    np.testing.assert_allclose(steps[0], steps[1], atol=0.04)
    assert abs(steps[0][0] - 1) > 0.1  # it did move


def test_the_buffer_holds_chains_and_restarts_some():
    def buffer(model):
        return ops.convert_to_numpy(model.buffer)

    def step(restart, **kwargs):
        criterion = ContrastiveDivergence(steps=1, buffer_size=8, restart=restart)
        model = EnergyModel((2,), criterion=criterion, sampler=LangevinSampler(1e-4), reference_scale=1.0, **kwargs)
        before = buffer(model)
        model.compile("sgd")
        model.fit(np.zeros((5, 2), "float32"), batch_size=5, verbose=0)
        return before, buffer(model), model

    before, after, model = step(0.0)
    moved = np.abs(after - before).max(-1) > 0
    assert moved.sum() == 5 and np.abs(after - before).max() < 1e-2  # five went on from where they were
    before, after, model = step(1.0)
    assert np.abs(after - before).max(-1).max() > 0.1  # all from noise
    model.fit(np.zeros((20, 2), "float32"), batch_size=20, verbose=0)  # more rows than the buffer has: all of it runs
    assert (buffer(model) != after).all()


def test_evaluation_changes_nothing():
    model = EnergyModel((2,), criterion=ContrastiveDivergence(buffer_size=8), sampler=LangevinSampler(0.1))
    model.compile("sgd")
    before = [ops.convert_to_numpy(w) for w in model.weights]
    x = np.zeros((5, 2), "float32")
    logs = model.evaluate(x, verbose=0, return_dict=True)
    assert logs == model.evaluate(x, verbose=0, return_dict=True)
    assert set(logs) == {"loss", "gap", "acceptance", "diverged"} and logs["acceptance"] == 1 and logs["diverged"] == 0
    for w, old in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(w), old)


def test_a_diverging_chain_stops_training_and_sampling():
    model = EnergyModel(
        (2,), criterion=ContrastiveDivergence(buffer_size=20, steps=40), sampler=LangevinSampler(4.0, 40)
    )
    model.compile("sgd")
    with pytest.warns(
        RuntimeWarning, match=r"chains of LangevinSampler\(step_size=4.0, steps=40\) diverged.*Lower step"
    ):
        history = model.fit(np.zeros((8, 2), "float32"), batch_size=4, epochs=3, verbose=0)
    assert len(history.epoch) == 1
    assert np.isfinite(ops.convert_to_numpy(model.buffer)).all()
    assert np.abs(ops.convert_to_numpy(model.buffer)).max() < 10
    with pytest.raises(ArithmeticError, match=r"5 of 5 chains diverged.*step_size=4.0.*Lower step_size; 0.4 is"):
        model.sample(5, seed=0)
    assert np.abs(model.sample(5, seed=0, sampler=LangevinSampler(0.4, 40))).max() < 10  # as the message says


def test_images_are_clipped():
    model = EnergyModel((8, 8, 1), sampler=LangevinSampler(0.1, 1))
    assert model.network.get_layer("encoder").count_params() > 20_000  # convolutions
    x = model.sample(3, seed=0)
    assert x.shape == (3, 8, 8, 1) and np.abs(x).max() == 1
    assert {e.name: e.images for e in model.endpoints()} == {"sample": ("images",), "energy": (), "score": ()}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EnergyModel((2,), MLP((2,), (2,))), r"network: expected outputs \(B, 1\).*received \(None, 2\)"),
        (lambda: EnergyModel((2,), MLP((3,), (1,))), r"network: expected a network of inputs \(B, 2\)"),
        (lambda: EnergyModel((2,), criterion="cd"), "criterion: expected one of 'contrastive_divergence'"),
        (lambda: EnergyModel((2,), reference_scale=0), "reference_scale: expected a number"),
        (lambda: ContrastiveDivergence(restart=2.0), r"restart: expected a number in \[0, 1\], received 2.0"),
        (lambda: DenoisingScoreMatching(0.0), "sigma: expected a number"),
        (lambda: EnergyModel((2,)).energy(np.zeros((3, 3))), r"x: expected shape \(N, 2\), received \(3, 3\)"),
        (
            lambda: EnergyModel((8, 8, 1)).energy(np.full((1, 8, 8, 1), 200.0)),
            r"x: expected values in \[-1, 1\].*127.5",
        ),
        (lambda: EnergyModel((2,)).sample(2, steps=0), "steps: expected an integer of at least 1, received 0"),
        (
            lambda: EnergyModel((2,)).check_data(np.zeros((3, 2)), np.zeros(3)),
            r"y: this model has no classes. Train by fit\(x\)",
        ),
    ],
)
def test_wrong_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_sampler_of_another_kind_is_named():
    with pytest.raises(TypeError, match="sampler: expected 'langevin', 'mala', 'hmc' or a Sampler, received 3"):
        EnergyModel((2,), sampler=3)
    assert isinstance(EnergyModel((2,), sampler=HMCSampler(0.1, 2, 3)).sampler, HMCSampler)


@pytest.mark.once("policies are Keras's; core/test_precision trains by each on every backend")
@pytest.mark.parametrize("shape", [(2,), (8, 8, 1)])
def test_in_half_precision_the_hidden_layers_are(shape):
    model = EnergyModel(shape, dtype="mixed_bfloat16", ema=0.9)
    hidden = [
        layer
        for layer in keras_private.flatten_layers(model)
        if isinstance(layer, (keras.layers.Dense, keras.layers.Conv2D))
    ]
    of_half = [layer for layer in hidden if layer.compute_dtype == "bfloat16"]
    assert len(of_half) >= len(hidden) - 2 and of_half  # the output's is float32, in the average as well
    x = np.random.default_rng(0).uniform(-1, 1, (16, *shape)).astype("float32")
    model.compile()
    assert np.isfinite(model.fit(x, batch_size=8, verbose=0).history["loss"]).all()
    assert {v.dtype for v in model.trainable_variables} == {"float32"} and model.energy(x).dtype == "float32"


def test_a_configuration_of_0_1_loads():
    """It says objective, and names a module that is gone."""
    model = EnergyModel((2,), criterion=DenoisingScoreMatching(0.3))
    config = keras.saving.serialize_keras_object(model)
    old = config["config"].pop("criterion")
    config["config"]["objective"] = {**old, "module": "kgen.energy.objectives"}
    assert keras.saving.deserialize_keras_object(config).criterion == model.criterion
