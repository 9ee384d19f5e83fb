"""Heun's method: a sampler of order two."""

import keras
from keras import ops

from kgen import backend
from kgen.diffusion.predictions import LEAST
from kgen.diffusion.samplers import Sampler, levels
from kgen.diffusion.schedules import at_least


def slopes_have_a_mean(alpha_t, sigma_t, alpha_s, sigma_s):
    """Whether the mean of the slopes at both ends of a step is one of the way between them: a bool tensor shaped like the levels.

    It is not where r_t is infinite or r_s is 0. Nor is it where the step leads from next to no data (r_t above 100) over more than a twentyfold
    change of r, as the first of few steps of a variance-preserving process does: from r = 1,000 to 11 the second slope would be weighed for 99 % of
    the way, of which it says nothing.
    """
    far = ops.logical_and(alpha_t < 0.01 * sigma_t, alpha_s * sigma_t > 20.0 * alpha_t * sigma_s)
    return ops.logical_and(ops.logical_and(alpha_t > LEAST, sigma_s > 0), ops.logical_not(far))


@keras.saving.register_keras_serializable(package="kgen")
class HeunSampler(Sampler):
    """An Euler step, and then the mean of the slopes at both of its ends: deterministic given x_1.

    In y = x/alpha and r = sigma/alpha the probability flow of every schedule is dy/dr = eps. With the estimates (x_0, eps) at t and eps' at
    the end of the Euler step, which is that of DDIM,

        x_s = alpha_s (x_0 + r_s (eps + eps')/2 + r_t (eps - eps')/2).

    It stays an Euler step where r_t is infinite or a long way off, and in the last step, to no noise at all (``slopes_have_a_mean``). It is the
    paper's Algorithm 1 without noise added on the way; with ``EDMSchedule`` and the default grid, at its times.

    Args:
        steps: number of steps, two calls each but the last.
        grid: as in ``Sampler``.
    Reference:
        Karras et al., Elucidating the design space of diffusion-based generative models, 2022, Algorithm 1, arXiv 2206.00364.
    """

    alias = "heun"

    def __init__(self, steps=18, grid="karras"):
        super().__init__(steps, grid)

    def calls(self, steps=None):
        return 2 * super().calls(steps) - 1

    def step(self, denoise, schedule, carry, t, s, seeds, i):
        (x,) = carry
        data, noise, _ = denoise(x, t)
        (alpha_t, sigma_t), (alpha_s, sigma_s) = levels(schedule, t, x), levels(schedule, s, x)
        euler = alpha_s * data + sigma_s * noise

        def corrected():
            change = 0.5 * (denoise(euler, s).noise - noise)
            better = euler + (sigma_s - alpha_s * sigma_t / at_least(alpha_t, LEAST)) * change
            return ops.where(slopes_have_a_mean(alpha_t, sigma_t, alpha_s, sigma_s), better, euler)

        return (backend.when(ops.any(s > 0), corrected, lambda: euler),)
