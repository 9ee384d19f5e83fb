"""Restricted Boltzmann machines so small that everything about them can be summed up."""

import itertools

import keras
import numpy as np
import pytest
from keras import ops

from kgen import backend
from kgen.core import Batch, random
from kgen.energy import RBM, GaussianVisible, gibbs


def machine(size=5, hidden=4, scale=0.8, **kwargs):
    """An RBM with random weights."""
    model = RBM((size,), hidden, **kwargs)
    rng = np.random.default_rng(3)
    for weight in model.couplings.weights:
        weight.assign(scale * rng.standard_normal(weight.shape).astype("float32"))
    return model


def weights(model):
    """b, c and W as numpy arrays in float64."""
    return [ops.convert_to_numpy(w).astype("float64") for w in model.couplings.tensors()]


def states(n):
    return np.array(list(itertools.product([0.0, 1.0], repeat=n)))


def joint(model, v, h):
    """-E(v, h) for all pairs: (V, H), straight from the definition."""
    b, c, W = weights(model)
    if isinstance(model.visible, GaussianVisible):
        s = model.visible.scale
        return -(((v - b) / s) ** 2).sum(-1)[:, None] / 2 + h @ c + (v / s) @ W @ h.T
    return (v @ b)[:, None] + h @ c + v @ W @ h.T


def log_sum(a, axis=None):
    top = a.max(axis=axis, keepdims=True)
    return np.squeeze(top + np.log(np.exp(a - top).sum(axis=axis, keepdims=True)), axis=axis)


def to_data(v):
    return (2 * v - 1).astype("float32")


def test_the_free_energy_sums_over_the_hidden_units():
    model = machine()
    v = states(5)
    np.testing.assert_allclose(-model.energy(to_data(v)), log_sum(joint(model, v, states(4)), 1), atol=1e-5)
    model = machine(visible=GaussianVisible(0.7))
    v = np.random.default_rng(0).standard_normal((20, 5)).astype("float32")
    np.testing.assert_allclose(-model.energy(v), log_sum(joint(model, v, states(4)), 1), atol=1e-4)


def test_probabilities_sum_to_one():
    model = machine()
    np.testing.assert_allclose(model.log_partition(), log_sum(joint(model, states(5), states(4))), atol=1e-5)
    np.testing.assert_allclose(np.exp(model.log_prob(to_data(states(5)))).sum(), 1, atol=1e-5)
    assert model.likelihood == "exact"
    model = machine(size=2, hidden=3, visible=GaussianVisible(0.7))
    ticks = np.linspace(-9, 9, 361, dtype="float32")
    grid = np.stack(np.meshgrid(ticks, ticks), -1).reshape(-1, 2)
    density = np.exp(model.log_prob(grid, batch_size=len(grid)).astype("float64"))
    np.testing.assert_allclose(density.sum() * (ticks[1] - ticks[0]) ** 2, 1, atol=1e-4)


def test_the_conditionals():
    model, h, v = machine(), states(4), states(5)
    p = np.exp(joint(model, v, h))
    np.testing.assert_allclose(model.encode(to_data(v)), (p / p.sum(1, keepdims=True)) @ h, atol=1e-5)
    np.testing.assert_allclose(model.decode(h.astype("float32")), to_data((p / p.sum(0)).T @ v), atol=1e-5)
    gaussian = machine(size=1, hidden=2, visible=GaussianVisible(0.5))
    x = np.linspace(-8, 8, 4001)[:, None]
    p = np.exp(joint(gaussian, x, states(2)))
    np.testing.assert_allclose(gaussian.decode(states(2).astype("float32")), (p / p.sum(0)).T @ x, atol=1e-4)
    x = np.random.default_rng(1).standard_normal((6, 1)).astype("float32")
    np.testing.assert_allclose(gaussian.reconstruct(x), gaussian.decode(gaussian.encode(x)), atol=1e-6)


def frequencies(x):
    """The share of each of the binary states among data rows x (N, n)."""
    n = x.shape[1]
    return np.bincount((x > 0) @ (1 << np.arange(n)[::-1]), minlength=2**n) / len(x)


def test_gibbs_samples_have_the_models_distribution():
    model = machine(size=4, hidden=3)
    p = np.exp(model.log_prob(to_data(states(4))))
    x = model.sample(4000, seed=0, steps=60, batch_size=4000)
    assert set(np.unique(x)) == {-1.0, 1.0}
    np.testing.assert_allclose(frequencies(x), p, atol=4 * (0.25 / 4000) ** 0.5)
    assert np.abs(p - 1 / 16).max() > 0.1  # far from uniform
    means = model.sample(4000, seed=1, steps=60, noise=False, batch_size=4000)
    assert np.abs(means).max() < 1
    np.testing.assert_allclose(means.mean(0), to_data(p @ states(4)), atol=0.07)


def test_gaussian_samples_have_the_models_moments():
    model = machine(size=2, hidden=3, scale=0.6, visible=GaussianVisible(0.5))
    ticks = np.linspace(-6, 6, 241, dtype="float32")
    grid = np.stack(np.meshgrid(ticks, ticks), -1).reshape(-1, 2)
    p = np.exp(model.log_prob(grid, batch_size=len(grid)).astype("float64"))
    p /= p.sum()
    mean = p @ grid
    x = model.sample(4000, seed=0, steps=40, batch_size=4000)
    np.testing.assert_allclose(x.mean(0), mean, atol=0.06)
    np.testing.assert_allclose(np.cov(x.T), (grid - mean).T @ (p[:, None] * (grid - mean)), atol=0.06)


def test_completion_keeps_what_is_known_and_draws_the_rest():
    model = machine(size=4, hidden=3)
    x = to_data(np.tile([1.0, 0.0, 0.0, 0.0], (4000, 1)))
    mask = np.array([True, True, False, False])
    filled = model.complete(x, mask, seed=0, steps=50, batch_size=4000)
    np.testing.assert_array_equal(filled[:, :2], x[:, :2])
    p = np.exp(model.log_prob(to_data(states(4)))).reshape(4, 4)[0b10]
    np.testing.assert_allclose(frequencies(filled[:, 2:]), p / p.sum(), atol=4 * (0.25 / 4000) ** 0.5)
    other = x.copy()
    other[:, 2:] = 1.0  # what stands where nothing is known does not matter
    np.testing.assert_array_equal(model.inpaint(other, mask, seed=0, steps=50, batch_size=4000), filled)
    means = model.complete(x[:3], np.tile(mask, (3, 1)), seed=0, noise=False)
    np.testing.assert_array_equal(means[:, :2], x[:3, :2])
    assert np.abs(means[:, 2:]).max() < 1


def test_the_gradient_is_that_of_the_log_likelihood():
    model = machine(size=4, hidden=3, scale=0.5, chains=20_000, gibbs_steps=30)
    x = to_data(states(4)[[1, 5, 6, 6, 12]])

    def exact():
        w = model.couplings.tensors()
        every = ops.convert_to_tensor(states(4).astype("float32"))
        log_z = ops.logsumexp(-gibbs.free_energy(model.visible, w, every))
        return ops.mean(model(ops.convert_to_tensor(x))) + log_z, ()

    def estimate():
        losses, _ = model.objective(
            Batch(ops.convert_to_tensor(x), seeds=ops.convert_to_tensor(random.row_seeds(0, len(x)))), training=True
        )
        return ops.mean(losses), ()

    variables = model.trainable_variables
    for a, b in zip(
        backend.value_and_grad(estimate, variables)[1], backend.value_and_grad(exact, variables)[1], strict=True
    ):
        np.testing.assert_allclose(ops.convert_to_numpy(a), ops.convert_to_numpy(b), atol=0.02)


@pytest.mark.parametrize("chains", [0, 3000])
def test_three_to_one_by_weights_is_three_to_one_by_copies(chains):
    rows = to_data(states(4)[[3, 9]])
    copies = np.repeat(rows, [4500, 1500], axis=0), np.ones(6000, "float32")
    weights = np.repeat(rows, 3000, axis=0), np.repeat(np.array([1.5, 0.5], "float32"), 3000)
    steps = []
    for x, weight in (copies, weights):
        keras.utils.set_random_seed(0)
        model = machine(size=4, hidden=3, scale=0.5, chains=chains)
        before = [ops.convert_to_numpy(v) for v in model.trainable_variables]
        model.compile(keras.optimizers.SGD(1.0))
        model.fit(x, sample_weight=weight, batch_size=6000, verbose=0)
        after = [ops.convert_to_numpy(v) for v in model.trainable_variables]
        steps.append(np.concatenate([(a - b).ravel() for a, b in zip(after, before, strict=True)]))
    np.testing.assert_allclose(steps[0], steps[1], atol=0.04)
    assert np.abs(steps[0]).max() > 0.2


@pytest.mark.parametrize("chains", [0, 400])
def test_training_finds_the_distribution_of_the_data(chains):
    copies = (states(4)[:, :2] == states(4)[:, 2:]).sum(axis=1)  # of which independent units know nothing
    p = 6.0**copies * np.exp(0.5 * states(4)[:, 0])
    counts = np.round(400 * p / p.sum()).astype(int)
    x = to_data(np.repeat(states(4), counts, axis=0))
    entropy = -np.sum(counts / len(x) * np.log(np.maximum(counts, 1) / len(x)))
    model = RBM((4,), 8, chains=chains, gibbs_steps=5)
    model.adapt(x)
    before = model.log_prob(x).mean()
    steps = 250
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.1, steps)))
    model.fit(np.tile(x, (steps, 1)), batch_size=len(x), verbose=0)
    after = model.log_prob(x).mean()
    assert before < -entropy - 0.4 and -entropy - 0.05 < after < -entropy + 1e-3


def test_adapted_it_is_the_model_of_independent_units():
    x = to_data((np.random.default_rng(0).random((400, 5)) < [0.1, 0.3, 0.5, 0.7, 1.0]).astype(float))
    model = RBM((5,), 3, ema=0.9)
    for w in (model.couplings, model.ema_couplings):
        w.kernel.assign(np.zeros((5, 3)))
    model.adapt(x)
    share = ((x > 0).sum(0) + 1) / 402
    independent = np.where(x > 0, np.log(share), np.log(1 - share)).sum(1)
    np.testing.assert_allclose(model.log_prob(x), independent, atol=1e-4)
    np.testing.assert_allclose(model.ais(chains=2, temperatures=1).log_z, model.log_partition(), atol=1e-4)
    gaussian = RBM((5,), 3, visible="gaussian")
    gaussian.adapt(x)
    np.testing.assert_allclose(ops.convert_to_numpy(gaussian.base_bias), x.mean(0), atol=1e-6)


@pytest.mark.parametrize(
    "model",
    [
        lambda: machine(size=12, hidden=10, scale=0.6),
        lambda: machine(size=4, hidden=20, scale=0.5),
        lambda: machine(size=6, hidden=8, scale=0.5, visible=GaussianVisible(0.7)),
    ],
    ids=["bernoulli", "20 hidden units", "gaussian"],
)
def test_annealed_importance_sampling_agrees_with_enumeration(model):
    model = model()
    exact, estimate = model.log_partition(), model.ais(chains=400, temperatures=200, seed=1, batch_size=400)
    assert abs(estimate.log_z - exact) < 0.05
    assert estimate.low < exact < estimate.high and estimate.high - estimate.low < 0.2
    few = model.ais(chains=16, temperatures=10, seed=1)
    assert few.high - few.low > estimate.high - estimate.low


def test_beyond_enumeration():
    model = machine(size=3, hidden=21)
    assert model.likelihood == "unnormalised"
    with pytest.raises(
        ValueError, match=r"at most 20 hidden units.*has 21, which is 2\^21 states. Estimate ln Z by ais\(\)"
    ):
        model.log_partition()
    x = to_data(states(3))
    log_z = model.ais(temperatures=50).log_z
    np.testing.assert_allclose(np.exp(model.log_prob(x, log_z=log_z)).sum(), 1, atol=0.1)
    np.testing.assert_allclose(model.log_prob(x, log_z=2.0), -model.energy(x) - 2.0, atol=1e-5)


def test_persistent_chains_go_on_and_are_saved(tmp_path):
    model = machine(size=4, hidden=3, chains=7)
    start = ops.convert_to_numpy(model.chain_states)
    assert set(np.unique(start)) <= {0.0, 1.0}
    model.compile("sgd")
    model.fit(to_data(states(4)), batch_size=16, verbose=0)
    after = ops.convert_to_numpy(model.chain_states)
    assert (after != start).any() and set(np.unique(after)) <= {0.0, 1.0}
    model.evaluate(to_data(states(4)), verbose=0)
    np.testing.assert_array_equal(ops.convert_to_numpy(model.chain_states), after)
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(ops.convert_to_numpy(again.chain_states), after)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda m: m.fit(np.full((8, 4), 0.5, "float32")),
            r"none of them below 0. Convert data in \[0, 1\] by 2 \* x - 1",
        ),
        (
            lambda m: m.fit(np.full((8, 4), -200.0, "float32")),
            r"x: expected values in \[-1, 1\], received \[-200, -200\]",
        ),
        (lambda m: m.fit(np.zeros((8, 3), "float32")), r"x: expected shape \(N, 4\), received \(8, 3\)"),
        (lambda m: m.fit(-np.ones((8, 4), "float32"), np.zeros(8)), "y: this model has no classes"),
        (lambda m: m.log_prob(np.full((2, 4), 0.5, "float32")), "values of -1 and 1 alone.*kgen.data.binarize"),
        (lambda m: m.sample(2, steps=0), "steps: expected an integer of at least 1, received 0"),
        (lambda m: m.ais(chains=1), "chains: expected at least 2, for an interval, received 1"),
        (
            lambda m: m.complete(np.zeros((2, 4)), np.ones((2, 4))),
            r"mask: expected booleans of shape \(2, 4\) or \(4,\).*float64",
        ),
        (lambda m: m.decode(np.zeros((2, 9))), r"z: expected shape \(N, 3\), received \(2, 9\)"),
        (lambda m: RBM((4,), 0), "hidden: expected an integer of at least 1, received 0"),
        (lambda m: RBM((4,), 3, visible="gausian"), "visible: expected one of.*Did you mean 'gaussian'"),
        (lambda m: RBM((4,), 3, visible=GaussianVisible(0.0)), "scale: expected a number"),
    ],
)
def test_wrong_arguments_are_named(call, message):
    model = machine(size=4, hidden=3)
    model.compile("sgd")
    with pytest.raises(ValueError, match=message):
        call(model)
