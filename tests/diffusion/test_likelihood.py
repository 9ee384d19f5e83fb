"""The likelihood by the probability flow: Gaussian data with the optimal denoiser, whose density is known, and models."""

import math

import keras
import numpy as np
import pytest
from keras import ops

from kgen import backend
from kgen.core import random
from kgen.diffusion import (
    DDPM,
    EDMSchedule,
    Estimate,
    ODELikelihood,
    RectifiedFlowSchedule,
    SubVPSchedule,
    VESchedule,
    VPSchedule,
)
from kgen.diffusion.predictions import noise_of
from kgen.diffusion.schedules import like
from kgen.numerics import DormandPrinceSolver, HeunSolver

MEAN = np.array([0.5, -1.0, 0.2])
TURN = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
SCALE = np.array([0.3, 1.0, 0.1])
RNG = np.random.default_rng(1)
X = (MEAN + RNG.normal(size=(8, 3)) * SCALE @ TURN.T).astype("float32")


def gaussian(schedule):
    """The optimal denoiser of N(MEAN, TURN SCALE^2 TURN^T)."""

    def denoise(x_t, t):
        mean, turn, variance = (ops.convert_to_tensor(v.astype("float32")) for v in (MEAN, TURN, SCALE**2))
        alpha, sigma = like(schedule.alpha(t), x_t), like(schedule.sigma(t), x_t)
        gain = alpha * variance / (ops.square(alpha) * variance + ops.square(sigma))
        data = mean + ops.matmul(gain * ops.matmul(x_t - alpha * mean, turn), ops.transpose(turn))
        return Estimate(data, noise_of(data, x_t, alpha, sigma))

    return denoise


def density(x, r=0.0):
    """ln of the density of N(MEAN, TURN SCALE^2 TURN^T + r^2 I)."""
    variance = SCALE**2 + r**2
    z = (x - MEAN) @ TURN
    return -0.5 * (z**2 / variance + np.log(2 * np.pi * variance)).sum(-1)


# A graph of so few steps takes TensorFlow longer to make than to go without.
compiled = (lambda function: function) if keras.config.backend() == "tensorflow" else backend.jit


def log_prob(method, schedule, x=X, seed=0):
    run = compiled(lambda x, seeds: method.log_prob(gaussian(schedule), schedule, x, seeds))
    return ops.convert_to_numpy(run(ops.convert_to_tensor(x), ops.convert_to_tensor(random.row_seeds(seed, len(x)))))


PROCESSES = [VPSchedule(), SubVPSchedule(), VESchedule(), EDMSchedule(), RectifiedFlowSchedule()]


@pytest.mark.parametrize("schedule", PROCESSES, ids=lambda s: type(s).__name__)
def test_of_gaussians_it_is_their_density(schedule):
    t = ops.convert_to_tensor(np.array([1e-5, 1.0], "float32"))
    alpha, sigma = (ops.convert_to_numpy(f(t)).astype("float64") for f in (schedule.alpha, schedule.sigma))
    # With r noise of the first time; and where something of the data is left at t = 1, x_1 is not quite the prior that is assumed.
    r, s = sigma[0] / alpha[0], schedule.prior_scale
    variance, end = SCALE**2 + r**2, alpha[1] ** 2 * SCALE**2 + sigma[1] ** 2
    z = (X - MEAN) @ TURN
    x_1 = alpha[1] * MEAN + (z * np.sqrt(end / variance)) @ TURN.T
    off = -0.5 * (x_1**2 / s**2 + np.log(s**2) - z**2 / variance - np.log(end)).sum(-1)
    assert np.abs(off).max() < 0.2
    np.testing.assert_allclose(log_prob(ODELikelihood(), schedule), density(X, r) + off, atol=1e-3)


def test_random_signs_estimate_the_trace_without_bias_and_the_solver_keeps_its_tolerance():
    schedule, x = RectifiedFlowSchedule(), np.repeat(X[:1], 144, axis=0)
    exact = log_prob(ODELikelihood("exact"), schedule, X[:2])[0]
    found = log_prob(ODELikelihood("hutchinson", solver=DormandPrinceSolver(1e-4, 1e-4)), schedule, x)
    assert found.std() > 0.1  # the Jacobian is not diagonal
    assert abs(found.mean() - exact) < 4 * found.std() / 12 + 1e-3
    several = log_prob(ODELikelihood("hutchinson", 4, DormandPrinceSolver(1e-4, 1e-4)), schedule, x)
    assert 0.35 < several.std() / found.std() < 0.65
    errors = []
    for tolerance in (1e-2, 1e-4):
        rough = ODELikelihood(solver=DormandPrinceSolver(tolerance, tolerance))
        errors.append(np.abs(log_prob(rough, schedule, X[:4]) - density(X[:4])).max())
    assert errors[1] < 2e-3 < errors[0]


def test_of_a_model_it_is_conditional_unclipped_and_repeatable():
    means = np.array([[2.0, -2.0], [0.0, 1.0]], "float32")

    def network(inputs, training=False):
        x_t, t, label = inputs
        mean = ops.take(ops.convert_to_tensor(np.concatenate([means, 0 * means[:1]])), label, axis=0)
        alpha, sigma = like(RectifiedFlowSchedule().alpha(t), x_t), like(RectifiedFlowSchedule().sigma(t), x_t)
        return mean + alpha * 0.25 / (ops.square(alpha) * 0.25 + ops.square(sigma)) * (x_t - alpha * mean)

    model = DDPM(
        (2,), network=network, num_classes=2, schedule="rectified_flow", prediction="data", clip=True, ema=None
    )
    model.compile("adam", jit_compile=False)
    assert model.likelihood == "exact"
    x, labels = np.array([[2.0, -1.5], [0.5, 1.0], [3.0, -3.0]], "float32"), [0, 1, 0]
    expected = -2 * ((x - means[labels]) ** 2).sum(-1) - math.log(2 * math.pi * 0.25)
    np.testing.assert_allclose(model.log_prob(x, labels=labels), expected, atol=1e-3)
    few = ODELikelihood(solver=DormandPrinceSolver(max_steps=2))
    with pytest.warns(RuntimeWarning, match="3 of 3 rows are NaN: the solver did not arrive"):
        assert np.isnan(model.log_prob(x, labels=labels, method=few)).all()
    with pytest.raises(ValueError, match="method: the bound is of images whose values are at levels=; data of shape"):
        model.log_prob(x, labels=labels, method="bound")
    with pytest.raises(ValueError, match="method: expected one of 'bound', 'ode', received 'flow'"):
        model.log_prob(x, labels=labels, method="flow")
    assert keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(few)) == few


def test_of_images_it_is_a_bound_on_the_probability_of_their_levels():
    def network(inputs, training=False):
        x_t, t = inputs
        alpha, sigma = like(VPSchedule().alpha(t), x_t), like(VPSchedule().sigma(t), x_t)
        return 0.25 * alpha / (0.25 * ops.square(alpha) + ops.square(sigma)) * x_t

    model = DDPM((2, 2, 1), network=network, schedule="vp", prediction="data", ema=None)
    model.compile("adam", jit_compile=False)
    assert model.likelihood == "bound" and model.clip
    x = np.repeat(np.array([[[[0.5], [-1.0]], [[0.0], [1.0]]]], "float32"), 256, axis=0)
    method = ODELikelihood("exact", solver=HeunSolver(30))
    found = model.log_prob(x, method=method, levels=5)
    # E_u[ln p(x + u)] + D ln(cell), u uniform in a cell of 1/2.
    expected = -2 * (x[0] ** 2 + 0.25 / 12).sum() - 2 * math.log(2 * math.pi * 0.25) + 4 * math.log(0.5)
    assert abs(found.mean() - expected) < 4 * found.std() / 16 + 0.02 and found.std() > 0.1
    np.testing.assert_allclose(model.log_prob(x[:3], method=method, levels=5, batch_size=2), found[:3], atol=1e-3)
    bits = model.bits_per_dim(x[:3], method=method, levels=None)
    np.testing.assert_allclose(bits, (2 * 2.25 + 2 * math.log(2 * math.pi * 0.25)) / (4 * math.log(2)), atol=0.02)
