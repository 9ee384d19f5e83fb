"""Samplers with the optimal denoiser of Gaussian data, where every answer is known.

For data N(mu, S), x_t is N(alpha mu, alpha^2 S + sigma^2 I), the optimal estimate of x_0 is linear in x_t, and the
probability-flow ODE scales each eigen-direction by the ratio of standard deviations.
"""

import numpy as np
import pytest
from keras import ops

from kgen import backend
from kgen.core import random
from kgen.diffusion import AncestralSampler, CosineSchedule, DDIMSampler, LinearSchedule, samplers

MEAN, SCALE = np.array([0.5, -1.0, 0.0], "float32"), np.array([0.3, 1.0, 0.05], "float32")


def optimal(schedule):
    def denoise(x_t, t):
        mean, variance = ops.convert_to_tensor(MEAN), ops.convert_to_tensor(SCALE**2)
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        gain = alpha * variance / (alpha**2 * variance + sigma**2)
        data = mean + gain * (x_t - alpha * mean)
        return data, (x_t - alpha * data) / sigma

    return denoise


def draw(sampler, schedule, n=64, seed=0):
    run = backend.jit(lambda seeds: sampler.sample(optimal(schedule), schedule, seeds, (3,)))
    return ops.convert_to_numpy(run(ops.convert_to_tensor(random.row_seeds(seed, n))))


def exact_flow(schedule, n=64, seed=0):
    """Where the probability-flow ODE ends for the same starting noise."""
    x = ops.convert_to_numpy(random.normal(random.row_seeds(seed, n), (3,), draw=0))
    one = np.float32(1.0)
    alpha, sigma = (float(ops.convert_to_numpy(f(one))) for f in (schedule.alpha, schedule.sigma))
    return MEAN + (x - alpha * MEAN) * SCALE / np.sqrt(alpha**2 * SCALE**2 + sigma**2)


def test_ddim_converges_with_order_one():
    schedule = CosineSchedule()
    steps = np.array([40, 80, 160, 320])
    errors = [np.abs(draw(DDIMSampler(k), schedule) - exact_flow(schedule)).mean() for k in steps]
    order = -np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert 0.85 < order < 1.15, (order, errors)
    assert errors[-1] < 5e-3


def exact_moments(sampler, schedule, eta):
    """Mean and standard deviation per direction after all steps: each step is linear in x and adds known noise."""
    t = np.arange(sampler.steps, -1, -1, dtype="float32") / sampler.steps
    alpha, sigma = (ops.convert_to_numpy(f(t)).astype("float64") for f in (schedule.alpha, schedule.sigma))
    mean, variance = np.zeros(3), np.ones(3)
    for i in range(sampler.steps):
        a, b, s, r = alpha[i], alpha[i + 1], sigma[i], sigma[i + 1]
        gain = a * SCALE**2 / (a**2 * SCALE**2 + s**2)
        noise = eta**2 * (r / s) ** 2 * (1 - (a / b) ** 2)
        kept = np.sqrt(max(r**2 - noise, 0.0))
        # x_s = b data + kept (x - a data)/s + noise, data = MEAN + gain (x - a MEAN)
        slope = (b - kept * a / s) * gain + kept / s
        mean = (b - kept * a / s) * (MEAN - gain * a * MEAN) + slope * mean
        variance = slope**2 * variance + noise
    return mean, np.sqrt(variance)


@pytest.mark.parametrize(
    ("sampler", "schedule", "eta"),
    [
        (DDIMSampler(60), CosineSchedule(), 0.0),
        (DDIMSampler(60, eta=0.5), LinearSchedule(), 0.5),
        (AncestralSampler(60), CosineSchedule(), 1.0),
    ],
    ids=["ddim", "ddim eta 0.5", "ancestral"],
)
def test_mean_and_covariance_of_the_samples(sampler, schedule, eta):
    n = 4000
    x = draw(sampler, schedule, n)
    mean, scale = exact_moments(sampler, schedule, eta)
    np.testing.assert_array_less(np.abs(x.mean(0) - mean), 5 * scale / n**0.5)
    np.testing.assert_allclose(x.std(0), scale, rtol=5 / (2 * n) ** 0.5)
    correlation = np.corrcoef(x.T) - np.eye(3)
    assert np.abs(correlation).max() < 5 / n**0.5


def test_many_steps_give_the_moments_of_the_data():
    for sampler, eta in ((DDIMSampler(2000), 0.0), (AncestralSampler(2000), 1.0)):
        mean, scale = exact_moments(sampler, CosineSchedule(), eta)
        np.testing.assert_allclose(mean, MEAN, atol=5e-3)
        np.testing.assert_allclose(scale, SCALE, rtol=0.03)


def test_eta_one_is_the_ancestral_sampler():
    schedule = CosineSchedule()
    a, b = draw(DDIMSampler(20, eta=1.0), schedule), draw(AncestralSampler(20), schedule)
    np.testing.assert_allclose(a, b, atol=2e-5)


def test_one_step_returns_the_estimate_at_the_start():
    schedule = LinearSchedule()
    noise = random.normal(random.row_seeds(0, 8), (3,), draw=0)
    estimate, _ = optimal(schedule)(noise, np.float32(1.0))
    np.testing.assert_allclose(draw(DDIMSampler(1), schedule, 8), ops.convert_to_numpy(estimate), atol=1e-6)


def test_arguments():
    assert samplers.get("ddim", steps=7) == DDIMSampler(7)
    assert samplers.get(DDIMSampler(9, eta=0.5), steps=7) == DDIMSampler(7, eta=0.5)
    with pytest.raises(ValueError, match="steps: expected an integer of at least 1, received 0"):
        DDIMSampler(0)
    with pytest.raises(ValueError, match=r"eta: expected a number in \[0, 1\], received 2"):
        DDIMSampler(eta=2)
    with pytest.raises(ValueError, match="sampler: expected one of 'ddim', 'ancestral', received 'euler'"):
        samplers.get("euler")
