"""The stochastic sampler of Karras et al.: noise is added before each step of Heun's method."""

import math

import keras
from keras import ops

from kgen.core import checks
from kgen.diffusion.heun import HeunSampler
from kgen.diffusion.multistep import log_ratio
from kgen.diffusion.predictions import LEAST
from kgen.diffusion.samplers import levels, noise_like
from kgen.diffusion.schedules import at_least, at_most, like


@keras.saving.register_keras_serializable(package="kgen")
class EDMSampler(HeunSampler):
    """Raises the noise r = sigma/alpha to (1 + gamma) r, and goes from there to r_s by a step of Heun's method.

    gamma = min(s_churn/steps, sqrt(2) - 1) where s_tmin <= r <= s_tmax, else 0. The noise added has the standard deviation s_noise. The noise is not
    raised beyond that of t = 1. Rows that take fewer steps than others have a larger gamma.

    Args:
        steps: number of steps, two calls each but the last.
        s_churn: how much noise is added in all the steps together; 0 is ``HeunSampler``. This and the next are the paper's for ImageNet
            in 256 steps; in 96 and fewer, gamma is at its bound.
        s_tmin, s_tmax: where noise is added, in units of r.
        s_noise: a little above 1 makes up for detail that the network takes away.
        grid: as in ``Sampler``.
    Reference:
        Karras et al., Elucidating the design space of diffusion-based generative models, 2022, Algorithm 2 and Table 5, arXiv 2206.00364.
    """

    alias = "edm"

    def __init__(self, steps=50, s_churn=40.0, s_tmin=0.05, s_tmax=50.0, s_noise=1.003, grid="karras"):
        super().__init__(steps, grid)
        self.s_churn = checks.in_range("s_churn", s_churn, 0.0, 1e6)
        self.s_tmin, self.s_tmax = (
            checks.in_range("s_tmin", s_tmin, 0.0, 1e6),
            checks.in_range("s_tmax", s_tmax, 0.0, 1e6),
        )
        self.s_noise = checks.in_range("s_noise", s_noise, 0.0, 2.0)

    @property
    def stochastic(self):
        return self.s_churn > 0

    def init(self, x, taken=None):
        return x, ops.full((ops.shape(x)[0],), self.steps, dtype=x.dtype) if taken is None else taken

    def step(self, denoise, schedule, carry, t, s, seeds, i):
        x, taken = carry
        place = log_ratio(schedule, t)
        ratio = ops.exp(-place)
        churned = ops.logical_and(ratio >= self.s_tmin, ratio <= self.s_tmax)
        gamma = at_most(ops.cast(self.s_churn / taken, place.dtype), math.sqrt(2.0) - 1.0)
        higher = at_most(ops.cast(schedule.time(2.0 * (place - ops.log1p(gamma))), t.dtype), 1.0)
        higher = ops.where(ops.logical_and(churned, higher > t), higher, t)
        (alpha_t, sigma_t), (alpha, sigma) = levels(schedule, t, x), levels(schedule, higher, x)
        scale = ops.where(like(higher > t, x) > 0, alpha / at_least(alpha_t, LEAST), ops.ones_like(alpha))
        added = ops.sqrt(at_least(ops.square(sigma) - ops.square(scale * sigma_t), 0.0))
        noised = scale * x + added * self.s_noise * noise_like(x, seeds)
        return super().step(denoise, schedule, (noised,), higher, s, seeds, i)[0], taken
