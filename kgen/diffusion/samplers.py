"""Samplers: the way from noise at t = 1 to data at t = 0. A sampler is one step; the base class owns the loop."""

import keras
import numpy as np
from keras import ops

from kgen.core import checks, random
from kgen.core.config import Configured, resolve


class Sampler(Configured):
    """Base class: ``steps`` steps over equally spaced times from 1 to 0, in one compiled loop.

    Args:
        steps: number of steps, each one evaluation of the denoiser.
    """

    def __init__(self, steps=50):
        self.steps = checks.positive_int("steps", steps)

    def step(self, denoise, schedule, x_t, t, s, seeds, draw):
        """From time t to the earlier time s.

        Args:
            denoise: maps (x_t, t) to estimates (data, noise).
            schedule: a ``Schedule``.
            x_t: float tensor (B, ...).
            t, s: float scalar tensors, 1 >= t > s >= 0.
            seeds: int32 tensor (B, 2), row seeds.
            draw: int32 scalar tensor that names this step's random numbers.
        Returns:
            x_s: float tensor (B, ...).
        """
        raise NotImplementedError

    def times(self):
        """The times that the steps run between: float32 tensor (steps + 1,), from 1 to 0."""
        return ops.cast(ops.arange(self.steps, -1, -1), "float32") / self.steps

    def sample(self, denoise, schedule, seeds, shape):
        """Draws x_1 from N(0, I) and takes all steps.

        Args:
            denoise, schedule: as in ``step``.
            seeds: int32 tensor (B, 2), row seeds.
            shape: shape of one row.
        Returns:
            float32 tensor (B, *shape).
        """
        body = self._body(denoise, schedule, seeds)
        return ops.fori_loop(0, self.steps, body, random.normal(seeds, shape, draw=0))

    def path(self, denoise, schedule, seeds, shape, frames):
        """The states that ``sample`` passes through.

        Args:
            denoise, schedule, seeds, shape: as in ``sample``.
            frames: how many states after x_1 are given, as evenly spaced as ``steps`` allows; at most ``steps``.
        Returns:
            float32 tensor (frames + 1, B, *shape), from x_1 to the sample.
        """
        step = self._body(denoise, schedule, seeds)
        ends = np.round(np.arange(frames + 1) * self.steps / frames)
        # Each state is written to the place of the next frame, where the frame itself is the last that comes.
        places = ops.convert_to_tensor(np.searchsorted(ends, np.arange(1, self.steps + 1)).astype("int32"))
        numbers = ops.reshape(ops.arange(frames + 1, dtype="int32"), (-1, *[1] * (len(shape) + 1)))

        def body(i, carry):
            x, kept = carry
            x = step(i, x)
            return x, ops.where(ops.equal(numbers, places[i]), x[None], kept)

        x = random.normal(seeds, shape, draw=0)
        return ops.fori_loop(0, self.steps, body, (x, ops.repeat(x[None], frames + 1, axis=0)))[1]

    def _body(self, denoise, schedule, seeds):
        times = self.times()
        return lambda i, x: self.step(denoise, schedule, x, times[i], times[i + 1], seeds, i + 1)


def posterior_variance(schedule, t, s):
    """The variance of q(x_s | x_t, x_0): sigma_s^2/sigma_t^2 (1 - alpha_t^2/alpha_s^2), a scalar tensor."""
    share = -ops.expm1(schedule.log_alpha_bar(t) - schedule.log_alpha_bar(s))
    return ops.square(schedule.sigma(s) / schedule.sigma(t)) * share


@keras.saving.register_keras_serializable(package="kgen")
class AncestralSampler(Sampler):
    """Draws from p(x_s | x_t) = q(x_s | x_t, x_0 = estimate).

    mean = (alpha_t/alpha_s) (sigma_s^2/sigma_t^2) x_t + alpha_s (1 - alpha_t^2/alpha_s^2)/sigma_t^2 x_0, variance as in
    ``posterior_variance``.

    Args:
        steps: number of steps; 1000 are DDPM's own.
    Reference:
        Ho et al. 2020, Eq. 7, arXiv 2006.11239; Kingma et al. 2021, Eq. 25 for any t and s, arXiv 2107.00630.
    """

    def __init__(self, steps=1000):
        super().__init__(steps)

    def step(self, denoise, schedule, x_t, t, s, seeds, draw):
        data, _ = denoise(x_t, t)
        ratio = ops.exp(0.5 * (schedule.log_alpha_bar(t) - schedule.log_alpha_bar(s)))
        share = 1.0 - ops.square(ratio)
        sigma_t, sigma_s = schedule.sigma(t), schedule.sigma(s)
        mean = ratio * ops.square(sigma_s / sigma_t) * x_t + schedule.alpha(s) * share / ops.square(sigma_t) * data
        z = random.normal(seeds, tuple(x_t.shape[1:]), draw)
        return mean + ops.sqrt(posterior_variance(schedule, t, s)) * z


@keras.saving.register_keras_serializable(package="kgen")
class DDIMSampler(Sampler):
    """x_s = alpha_s x_0 + sqrt(sigma_s^2 - v) eps + sqrt(v) z, with v = eta^2 times the posterior variance.

    Args:
        steps: number of steps.
        eta: 0 is deterministic given x_1, 1 is the ancestral sampler.
    Reference:
        Song et al., Denoising diffusion implicit models, 2021, Eq. 12 and 16, arXiv 2010.02502.
    """

    def __init__(self, steps=50, eta=0.0):
        super().__init__(steps)
        self.eta = checks.in_range("eta", eta, 0.0, 1.0)

    def step(self, denoise, schedule, x_t, t, s, seeds, draw):
        data, noise = denoise(x_t, t)
        alpha_s, sigma_s = schedule.alpha(s), schedule.sigma(s)
        if self.eta == 0:
            return alpha_s * data + sigma_s * noise
        variance = self.eta**2 * posterior_variance(schedule, t, s)
        kept = ops.sqrt(ops.maximum(ops.square(sigma_s) - variance, 0.0))
        z = random.normal(seeds, tuple(x_t.shape[1:]), draw)
        return alpha_s * data + kept * noise + ops.sqrt(variance) * z


def get(sampler, steps=None):
    """A ``Sampler`` from itself, "ddim" or "ancestral", or its configuration; ``steps`` replaces its number of steps."""
    sampler = resolve("sampler", sampler, Sampler, {"ddim": DDIMSampler, "ancestral": AncestralSampler})
    return sampler if steps is None else type(sampler)(**{**sampler.get_config(), "steps": steps})
