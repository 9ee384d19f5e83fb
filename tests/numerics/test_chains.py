"""Markov chains against the densities that they must leave as they are."""

import keras
import numpy as np
import pytest
from keras import ops
from scipy import stats

from kgen import backend
from kgen.core import random
from kgen.numerics import HMCSampler, LangevinSampler, MALASampler, Sampler, chains, leapfrog

N = 4000
WEIGHTS, MEANS, SCALES = np.array([0.3, 0.7]), np.array([-1.5, 1.0]), np.array([0.5, 0.8])
EXACT = [MALASampler(0.9, 12), HMCSampler(0.5, 4, 8)]


def normal_energy(x):
    return 0.5 * ops.sum(ops.square(x), axis=-1)


def mixture_energy(x):
    weights, means, scales = (ops.convert_to_tensor(v.astype("float32")) for v in (WEIGHTS, MEANS, SCALES))
    return -ops.logsumexp(ops.log(weights / scales) - 0.5 * ops.square((x - means) / scales), axis=-1)


def mixture_cdf(x):
    return (WEIGHTS * stats.norm.cdf((x[:, None] - MEANS) / SCALES)).sum(-1)


def mixture_draws(rng):
    component = (rng.random(N) > WEIGHTS[0]).astype(int)
    return (MEANS[component] + SCALES[component] * rng.standard_normal(N))[:, None].astype("float32")


def compiled(sampler, energy):
    """The sampler compiled once: a function of start (B, ...) and seed."""
    run = backend.jit(lambda x, seeds: sampler.run(energy, x, seeds))

    def sample(start, seed):
        seeds = random.row_seeds(seed, len(start))
        return ops.convert_to_numpy(run(ops.convert_to_tensor(start), ops.convert_to_tensor(seeds))["x"])

    return sample


def both_energies(x):
    """Of independent coordinates, the first standard normal, the second the mixture."""
    return normal_energy(x[:, :1]) + mixture_energy(x[:, 1:])


@pytest.mark.parametrize("sampler", EXACT, ids=lambda s: type(s).__name__)
def test_metropolis_leaves_the_exact_density_invariant(sampler):
    rng = np.random.default_rng(1)
    start = np.concatenate([rng.standard_normal((N, 1)).astype("float32"), mixture_draws(rng)], axis=1)
    end = compiled(sampler, both_energies)(start, 1)
    assert stats.kstest(end[:, 0], "norm").pvalue > 0.01
    assert stats.kstest(end[:, 1], mixture_cdf).pvalue > 0.01
    assert max(np.corrcoef(start[:, i], end[:, i])[0, 1] for i in range(2)) < 0.9  # they did move


def test_unadjusted_langevin_is_off_by_the_known_amount():
    eps = 1.4
    start = np.random.default_rng(0).standard_normal((N, 1)).astype("float32")
    end = compiled(LangevinSampler(eps, 20), normal_energy)(start, 3)[:, 0]
    assert (
        stats.kstest(end, "norm").pvalue < 1e-10
    )  # what the test above would say of a chain without the Metropolis step
    variance = 1 / (1 - eps**2 / 4)
    assert abs(end.var() - variance) < 4 * variance * (2 / N) ** 0.5
    assert stats.kstest(end / variance**0.5, "norm").pvalue > 0.01


@pytest.mark.parametrize(
    "sampler", [LangevinSampler(0.1, 400), HMCSampler(0.25, 4, 15)], ids=lambda s: type(s).__name__
)
def test_from_afar_the_density_is_found(sampler):
    start = np.full((N, 2), 3.0, "float32")
    end = sampler.sample(lambda x: normal_energy((x - 1.0) / 0.5), start, seed=4)
    np.testing.assert_allclose(end.mean(0), 1.0, atol=0.04)
    np.testing.assert_allclose(np.cov(end.T), 0.25 * np.eye(2), atol=0.04)


def test_one_leapfrog_step_is_langevin():
    start = mixture_draws(np.random.default_rng(5))[:50]
    mala, hmc = MALASampler(0.7, 6), HMCSampler(0.7, 1, 6)
    np.testing.assert_allclose(
        compiled(mala, mixture_energy)(start, 6), compiled(hmc, mixture_energy)(start, 6), atol=1e-4
    )


def trajectory(x, p, step_size, steps):
    def at(x):
        return chains.evaluate(mixture_energy, x)

    state, momentum = leapfrog(at, at(ops.convert_to_tensor(x)), ops.convert_to_tensor(p), step_size, steps)
    return tuple(ops.convert_to_numpy(t) for t in (state.x, momentum, state.energy))


def test_leapfrog_is_reversible_and_of_second_order():
    rng = np.random.default_rng(7)
    x, p = mixture_draws(rng)[:500], rng.standard_normal((500, 1)).astype("float32")
    there, momentum, _ = trajectory(x, p, 0.2, 8)
    assert np.abs(there - x).max() > 0.5
    back, momentum, _ = trajectory(there, -momentum, 0.2, 8)
    np.testing.assert_allclose(back, x, atol=1e-4)
    np.testing.assert_allclose(-momentum, p, atol=1e-4)

    def energy_error(step_size, steps):
        before = ops.convert_to_numpy(mixture_energy(ops.convert_to_tensor(x))) + 0.5 * p[:, 0] ** 2
        _, momentum, energy = trajectory(x, p, step_size, steps)
        return np.abs(energy + 0.5 * momentum[:, 0] ** 2 - before).mean()

    coarse, fine = energy_error(0.2, 5), energy_error(0.1, 10)
    assert 3.4 < coarse / fine < 4.6


@pytest.mark.parametrize("sampler", [LangevinSampler(0.5, 5), HMCSampler(0.5, 2, 3)], ids=lambda s: type(s).__name__)
def test_a_row_depends_on_its_own_seed_and_start(sampler):
    sample = compiled(sampler, mixture_energy)
    start = mixture_draws(np.random.default_rng(0))[:8]
    eight = sample(start, 1)
    np.testing.assert_allclose(sample(start[:4], 1), eight[:4], atol=1e-6)
    moved = start.copy()
    moved[0] += 1.0
    np.testing.assert_allclose(sample(moved, 1)[1:], eight[1:], atol=1e-6)
    assert np.abs(sample(start, 2) - eight).max() > 1e-3
    assert np.abs(np.diff(sample(np.zeros_like(start), 1), axis=0)).min() > 1e-6


def test_a_chain_that_diverges_is_stopped_and_named():
    start = np.array([[1e-3], [10.0], [0.5]], "float32")
    with pytest.raises(
        ArithmeticError, match=r"1 of 3 chains diverged.*LangevinSampler\(step_size=0.5, steps=30\).*0.05 is"
    ):  # x - eps^2/2 x^3 is further away from 0 than x where |x| > 4
        LangevinSampler(0.5, 30).sample(lambda x: ops.sum(x**4, axis=-1) / 4, start, seed=0)


def test_what_diverged_keeps_its_last_sound_place():
    x = compiled(LangevinSampler(3.0, 100), normal_energy)(np.full((2, 3), 0.1, "float32"), 0)
    assert np.isfinite(x).all() and 1e3 < np.abs(x).max() <= 1e6
    with pytest.raises(ArithmeticError, match="2 of 2 chains diverged"):  # an energy that is never finite
        LangevinSampler(0.1, 2).sample(lambda x: ops.log(-ops.sum(ops.square(x), axis=-1)), x, seed=0)


def test_a_step_that_nobody_accepts_is_named():
    sampler = MALASampler(50.0, 20)
    with pytest.warns(
        RuntimeWarning, match=r"MALASampler\(step_size=50.0, steps=20\) accepted 0.0 %.*12.5 is a quarter"
    ):
        end = sampler.sample(normal_energy, np.ones((20, 2), "float32"), seed=0)
    np.testing.assert_array_equal(end, 1.0)


def test_configuration():
    for sampler in (LangevinSampler(0.2, 7), MALASampler(0.3, 8), HMCSampler(0.4, 5, 9)):
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(sampler))
        assert again == sampler and type(again) is type(sampler)
    assert isinstance(chains.get("hmc"), HMCSampler)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LangevinSampler(0.0), r"step_size: expected a number in \[1e-08, 1e\+08\], received 0.0"),
        (lambda: MALASampler(0.1, 0), "steps: expected an integer of at least 1, received 0"),
        (lambda: HMCSampler(0.1, 0), "leapfrog_steps: expected an integer of at least 1, received 0"),
        (lambda: chains.get("langvin"), "sampler: expected one of 'langevin'.*Did you mean 'langevin'"),
        (lambda: LangevinSampler().sample(normal_energy, np.zeros((0, 2))), r"start: .*received shape \(0, 2\)"),
    ],
)
def test_wrong_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_base_class_has_no_step():
    with pytest.raises(NotImplementedError):
        Sampler().sample(normal_energy, np.zeros((1, 1), "float32"), seed=0)
