"""Slopes against analytic gradients, and what a penalised discriminator converges to."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from kgen import backend
from kgen import gan as kgen_gan
from kgen.core import random
from kgen.gan import GAN, R1, R2, WGANGP, GradientPenalty

RNG = np.random.default_rng(0)
REAL, FAKE = (RNG.normal(size=(6, 4, 2)).astype("float32") for _ in range(2))
SEEDS = random.row_seeds(0, 6)
W = RNG.normal(size=(4, 2)).astype("float32")


def penalty(regularizer, discriminator):
    real, fake = ops.convert_to_tensor(REAL), ops.convert_to_tensor(FAKE)
    return ops.convert_to_numpy(regularizer(discriminator, real, fake, SEEDS))


def linear(x):
    return ops.sum(x * ops.convert_to_tensor(W), axis=(1, 2)) + 3.0


def half_square(x):
    """D(x) = |x|^2 / 2, whose gradient is x."""
    return 0.5 * ops.sum(ops.square(x), axis=(1, 2))


def test_penalties_of_a_linear_and_a_quadratic_discriminator():
    slope = np.sqrt((W**2).sum())
    np.testing.assert_allclose(penalty(GradientPenalty(10), linear), np.full(6, 10 * (slope - 1) ** 2), rtol=1e-5)
    np.testing.assert_allclose(penalty(R1(0.3), linear), np.full(6, 0.15 * slope**2), rtol=1e-5)
    np.testing.assert_allclose(penalty(R1(0.3), half_square), 0.15 * (REAL**2).sum((1, 2)), rtol=1e-5)
    np.testing.assert_allclose(penalty(R2(0.3), half_square), 0.15 * (FAKE**2).sum((1, 2)), rtol=1e-5)
    # Between the two: |x| there is at most the larger of both, and another point each time.
    norms = np.sqrt(penalty(GradientPenalty(1), half_square)) + 1  # all of them above 1 here
    ends = np.sqrt(np.stack([(REAL**2).sum((1, 2)), (FAKE**2).sum((1, 2))]))
    assert (norms <= ends.max(0) + 1e-4).all() and (np.abs(norms - ends) > 1e-4).all()


def test_a_schedule_of_gamma_is_saved_and_followed():
    schedule = keras.optimizers.schedules.ExponentialDecay(1.0, 10, 0.1)
    kept = kgen_gan.regularizers.get(keras.saving.serialize_keras_object(R1(schedule)))[0]
    real = ops.convert_to_tensor(REAL)
    at = [ops.convert_to_numpy(kept(linear, real, real, SEEDS, step)) for step in (0, 10, 20)]
    np.testing.assert_allclose(at[1] / at[0], 0.1, rtol=1e-5)
    np.testing.assert_allclose(at[2] / at[0], 0.01, rtol=1e-5)


def test_the_penalty_is_differentiated_again():
    weights = keras.Variable(W)

    def loss():
        real, fake = ops.convert_to_tensor(REAL), ops.convert_to_tensor(FAKE)
        values = GradientPenalty(10)(lambda x: ops.sum(x * weights, axis=(1, 2)), real, fake, SEEDS)
        return ops.mean(values), values

    _, (gradient,) = backend.value_and_grad(loss, [weights])
    slope = np.sqrt((W**2).sum())
    np.testing.assert_allclose(ops.convert_to_numpy(gradient), 20 * (slope - 1) / slope * W, rtol=1e-4)


def test_a_flat_discriminator_has_a_finite_penalty_and_gradient():
    weights = keras.Variable(np.zeros((4, 2), "float32"))

    def loss():
        real, fake = ops.convert_to_tensor(REAL), ops.convert_to_tensor(FAKE)
        values = GradientPenalty(10)(lambda x: ops.sum(x * weights, axis=(1, 2)), real, fake, SEEDS)
        return ops.mean(values), values

    (value, _), (gradient,) = backend.value_and_grad(loss, [weights])
    assert abs(float(value) - 10) < 1e-3 and np.isfinite(ops.convert_to_numpy(gradient)).all()


def test_a_linear_discriminator_finds_the_wasserstein_distance_of_shifted_gaussians():
    """W_1 of N(m, I) and N(0, I) is |m|. A linear discriminator of slope a along m earns a |m| - lambda (a - 1)^2: a = 1 + |m| / 2 lambda."""
    shift, weight = np.array([1.2, -1.6], "float32"), 10.0  # |m| = 2
    generator = keras.Sequential([keras.Input((2,)), layers.Dense(2)])
    generator.set_weights([np.eye(2, dtype="float32"), np.zeros(2, "float32")])
    discriminator = keras.Sequential([keras.Input((2,)), layers.Dense(1, use_bias=False)])
    discriminator.set_weights([np.full((2, 1), 0.1, "float32")])
    model = WGANGP(
        (2,), 2, generator=generator, discriminator=discriminator, gradient_penalty=weight, n_critic=1, ema=None
    )
    rate = keras.optimizers.schedules.CosineDecay(0.1, 100)
    model.compile(
        {"generator": keras.optimizers.SGD(0.0), "discriminator": keras.optimizers.Adam(rate, beta_1=0.5, beta_2=0.9)}
    )
    x = RNG.normal(size=(40_000, 2)).astype("float32") + shift
    model.fit(np.tile(x, (5, 1)), batch_size=2000, verbose=0)
    expected = (1 + 2 / (2 * weight)) * shift / 2
    np.testing.assert_allclose(discriminator.get_weights()[0][:, 0], expected, atol=0.02)
    logs = model.evaluate(x, batch_size=10_000, verbose=0, return_dict=True)
    assert abs(logs["real_logit"] - logs["fake_logit"] - 2 * 1.1) < 0.06
    assert abs(logs["discriminator_loss"] + 2 * 1.1) < 0.06 and abs(logs["penalty"] - weight * 0.1**2) < 0.05


def test_names_and_errors():
    model = GAN((2,), 2, regularizers=["r1", GradientPenalty(2)])
    assert model.regularizers == (R1(), GradientPenalty(2))
    assert GAN((2,), 2, regularizers="r2").regularizers == (R2(),)
    with pytest.raises(
        ValueError, match="regularizers: expected one of 'gradient_penalty', 'r1', 'r2', 'path_length', received 'r3'"
    ):
        GAN((2,), regularizers=["r3"])
    with pytest.raises(ValueError, match="gamma: expected a number in .*received -1"):
        R1(-1)
    with pytest.raises(ValueError, match="weight: expected a number in .*received 'ten'"):
        GradientPenalty("ten")
