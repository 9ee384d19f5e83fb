"""Variance preserving schedules: alpha^2 + sigma^2 = 1, so that data of variance 1 keeps it. alpha_bar = alpha^2."""

import math

import keras
import numpy as np
from keras import ops

from kgen import backend
from kgen.core import checks
from kgen.diffusion import schedules
from kgen.diffusion.schedules import Schedule, at_least, floats

# alpha_bar stays above this, so that every prediction can be turned into every other at t = 1.
SMALLEST = 1e-6


class VariancePreserving(Schedule):
    """Base class. A schedule implements ``log_alpha_bar(t)``: ln alpha(t)^2, 0 at t = 0 and falling."""

    num_steps = 1000

    def log_alpha_bar(self, t):
        """ln alpha_bar at times t: float tensor like t, at most 0."""
        raise NotImplementedError

    def alpha(self, t):
        return ops.exp(0.5 * self.log_alpha_bar(t))

    def sigma(self, t):
        return ops.sqrt(-ops.expm1(self.log_alpha_bar(t)))

    def log_snr(self, t):
        log_alpha_bar = self.log_alpha_bar(t)
        return log_alpha_bar - ops.log(at_least(-ops.expm1(log_alpha_bar), 1e-24))

    def drift(self, t):
        return 0.5 * backend.grad(self.log_alpha_bar, floats(t))

    def diffusion(self, t):
        return ops.sqrt(at_least(-2.0 * self.drift(t), 0.0))


class _Table(VariancePreserving):
    """Betas of a number of steps; ln alpha_bar is linear between them."""

    smallest = SMALLEST

    def _keep(self, betas):
        table = np.concatenate([[0.0], np.cumsum(np.log1p(-betas))])
        table = np.maximum(table, math.log(self.smallest))
        self._log_alpha_bars = np.stack([table[:-1], table[1:]], axis=-1)  # before and after each step

    def log_alpha_bar(self, t):
        t = floats(t)
        position = ops.clip(t, 0.0, 1.0) * self.num_steps
        below = ops.clip(ops.cast(ops.floor(position + 1e-4), "int32"), 0, self.num_steps - 1)
        share = ops.clip(position - ops.cast(below, t.dtype), 0.0, 1.0)
        table = ops.convert_to_tensor(self._log_alpha_bars.astype(keras.backend.standardize_dtype(t.dtype)))
        before, after = ops.unstack(ops.take(table, below, axis=0), 2, axis=-1)
        return (1.0 - share) * before + share * after


@keras.saving.register_keras_serializable(package="kgen")
class BetaSchedule(_Table):
    """Betas that are given one by one; alpha_bar_k = prod_{j <= k} (1 - beta_j).

    Args:
        betas: numbers above 0 and below 1, from the first step to the last.
    """

    smallest = 1e-10  # betas of others are what their networks were trained with

    def __init__(self, betas):
        self.betas = tuple(float(beta) for beta in betas)
        if not self.betas or not all(0 < beta < 1 for beta in self.betas):
            raise ValueError(f"betas: expected numbers above 0 and below 1, received {betas!r:.120}.")
        self.num_steps = len(self.betas)
        self._keep(np.array(self.betas))


@keras.saving.register_keras_serializable(package="kgen")
class CappedCosineSchedule(_Table):
    """``CosineSchedule``'s betas, none above 0.999: there is more noise at t = 1, and as much everywhere else.

    Args:
        num_steps: number of steps.
    Reference:
        Nichol & Dhariwal 2021, section 3.2, arXiv 2102.09672; called `squaredcos_cap_v2` in GLIDE's code and what follows it.
    """

    smallest = BetaSchedule.smallest

    def __init__(self, num_steps=1000):
        self.num_steps = checks.positive_int("num_steps", num_steps)
        f = np.cos((np.arange(num_steps + 1) / num_steps + 0.008) / 1.008 * math.pi / 2) ** 2
        self._keep(np.minimum(1.0 - f[1:] / f[:-1], 0.999))


class _TwoBetas(_Table):
    """Betas between a first and a last one.

    The default betas are those of 1000 steps, times 1000 / num_steps: the same process, cut into fewer or more steps.
    """

    default_betas = None

    def __init__(self, beta_start, beta_end, num_steps):
        self.num_steps = checks.positive_int("num_steps", num_steps)
        first, last = (beta * 1000 / num_steps for beta in self.default_betas)
        self.beta_start = first if beta_start is None else float(beta_start)
        self.beta_end = last if beta_end is None else float(beta_end)
        if not 0 < self.beta_start <= self.beta_end < 1:
            hint = " So few steps need betas of their own." if beta_end is None else ""
            raise ValueError(
                f"beta_start, beta_end: expected 0 < beta_start <= beta_end < 1, received {self.beta_start:g} and {self.beta_end:g}.{hint}"
            )
        self._keep(self._betas(num_steps))

    def _betas(self, count):
        raise NotImplementedError


@keras.saving.register_keras_serializable(package="kgen")
class LinearSchedule(_TwoBetas):
    """beta_k grows linearly over the steps; alpha_bar_k = prod_{j <= k} (1 - beta_j).

    Args:
        beta_start, beta_end: the first and last beta; by default 1e-4 and 0.02 of 1000 steps, times 1000 / num_steps.
        num_steps: number of steps.
    Reference:
        Ho et al., Denoising diffusion probabilistic models, 2020, section 4, arXiv 2006.11239.
    """

    default_betas = (1e-4, 0.02)

    def __init__(self, beta_start=None, beta_end=None, num_steps=1000):
        super().__init__(beta_start, beta_end, num_steps)

    def _betas(self, count):
        return np.linspace(self.beta_start, self.beta_end, count, dtype="float64")


@keras.saving.register_keras_serializable(package="kgen")
class ScaledLinearSchedule(_TwoBetas):
    """The square root of beta_k grows linearly over the steps.

    Args:
        beta_start, beta_end: the first and last beta; by default 0.00085 and 0.012 of 1000 steps, times 1000 / num_steps.
        num_steps: number of steps.
    Reference:
        Rombach et al., High-resolution image synthesis with latent diffusion models, 2022 (its code), arXiv 2112.10752.
    """

    default_betas = (0.00085, 0.012)

    def __init__(self, beta_start=None, beta_end=None, num_steps=1000):
        super().__init__(beta_start, beta_end, num_steps)

    def _betas(self, count):
        return np.linspace(self.beta_start**0.5, self.beta_end**0.5, count, dtype="float64") ** 2


@keras.saving.register_keras_serializable(package="kgen")
class CosineSchedule(VariancePreserving):
    """alpha_bar(t) = f(t)/f(0), f(t) = cos^2(pi/2 (t + s)/(1 + s)).

    Args:
        offset: s, which keeps the first steps from being too small.
        num_steps: the grid for training and for the bound.
    Reference:
        Nichol & Dhariwal, Improved denoising diffusion probabilistic models, 2021, Eq. 17, arXiv 2102.09672.
    """

    def __init__(self, offset=0.008, num_steps=1000):
        self.offset = checks.in_range("offset", offset, 0.0, 1.0)
        self.num_steps = checks.positive_int("num_steps", num_steps)

    def log_alpha_bar(self, t):
        angle = (floats(t) + self.offset) / (1.0 + self.offset) * (math.pi / 2)
        first = math.cos(self.offset / (1.0 + self.offset) * math.pi / 2)
        return ops.clip(2.0 * ops.log(at_least(ops.cos(angle) / first, 1e-9)), math.log(SMALLEST), 0.0)

    def time(self, log_snr):
        log_snr = floats(log_snr)
        first = math.cos(self.offset / (1.0 + self.offset) * math.pi / 2) ** 2
        cosine, sine = first * ops.sigmoid(log_snr), 1.0 - first + first * ops.sigmoid(-log_snr)  # squared
        angle = ops.arctan2(ops.sqrt(sine), ops.sqrt(cosine))
        return ops.clip(angle * (2.0 / math.pi * (1.0 + self.offset)) - self.offset, 0.0, 1.0)


@keras.saving.register_keras_serializable(package="kgen")
class SigmoidSchedule(VariancePreserving):
    """alpha_bar(t) = (S(end) - S(start + t (end - start))) / (S(end) - S(start)), S(u) = 1/(1 + exp(-u/temperature)).

    Args:
        start, end, temperature: shape of the curve.
        num_steps: the grid for training and for the bound.
    Reference:
        Jabri et al., Scalable adaptive computation for iterative generation, 2022, appendix B, arXiv 2212.11972.
    """

    def __init__(self, start=-3.0, end=3.0, temperature=1.0, num_steps=1000):
        if not start < end or temperature <= 0:
            raise ValueError(
                f"start, end, temperature: expected start < end and temperature > 0, received {start}, {end} and {temperature}."
            )
        self.start, self.end, self.temperature = start, end, temperature
        self.num_steps = checks.positive_int("num_steps", num_steps)

    def log_alpha_bar(self, t):
        low, high = (1.0 / (1.0 + math.exp(-u / self.temperature)) for u in (self.start, self.end))
        u = (self.start + floats(t) * (self.end - self.start)) / self.temperature
        return ops.clip(ops.log(at_least((high - ops.sigmoid(u)) / (high - low), SMALLEST)), math.log(SMALLEST), 0.0)


@keras.saving.register_keras_serializable(package="kgen")
class VPSchedule(VariancePreserving):
    """ln alpha_bar(t) = -(beta_min t + t^2/2 (beta_max - beta_min)): the continuous form of ``LinearSchedule``.

    Args:
        beta_min, beta_max: beta at t = 0 and t = 1, per unit of time.
    Reference:
        Song et al. 2021, Eq. 33, arXiv 2011.13456.
    """

    num_steps = None
    first_time = 1e-5
    last_time = 1e-3

    def __init__(self, beta_min=0.1, beta_max=20.0):
        self.beta_min, self.beta_max = _betas(beta_min, beta_max)

    def log_alpha_bar(self, t):
        t = floats(t)
        return -(self.beta_min * t + 0.5 * ops.square(t) * (self.beta_max - self.beta_min))

    def time(self, log_snr):
        lost, slope = self._lost(floats(log_snr)), self.beta_max - self.beta_min
        return ops.clip(2.0 * lost / (self.beta_min + ops.sqrt(self.beta_min**2 + 2.0 * slope * lost)), 0.0, 1.0)

    def _lost(self, log_snr):
        """-ln alpha_bar where the log signal-to-noise ratio is this."""
        return ops.softplus(-log_snr)

    def drift(self, t):
        return -0.5 * (self.beta_min + floats(t) * (self.beta_max - self.beta_min))


def _betas(low, high):
    if not 0 < low <= high:
        raise ValueError(f"beta_min, beta_max: expected 0 < beta_min <= beta_max, received {low} and {high}.")
    return low, high


@keras.saving.register_keras_serializable(package="kgen")
class ZeroTerminalSNR(VariancePreserving):
    """Another variance preserving schedule, shifted and scaled so that nothing of the data is left at t = 1: alpha(1) = 0.

    alpha(t) = (a(t) - a(1)) a(0) / (a(0) - a(1)), where a is the other's alpha. A network cannot tell the data from pure noise by the
    noise in it: train with "velocity" or "data".

    Args:
        schedule: a ``VariancePreserving`` schedule or its name.
    Reference:
        Lin et al., Common diffusion noise schedules and sample steps are flawed, 2024, Algorithm 1, arXiv 2305.08891.
    """

    ends_in_noise = True

    def __init__(self, schedule="linear"):
        self.schedule = schedules.get(schedule)
        if not isinstance(self.schedule, VariancePreserving):
            raise TypeError(f"schedule: expected a variance preserving schedule, received {self.schedule!r}.")
        self.num_steps = self.schedule.num_steps
        self._ends = [float(self.schedule.alpha(t)) for t in (0.0, 1.0)]

    def alpha(self, t):
        first, last = self._ends
        return at_least((self.schedule.alpha(t) - last) * (first / (first - last)), 0.0)

    def sigma(self, t):
        alpha = self.alpha(t)
        return ops.sqrt((1.0 - alpha) * (1.0 + alpha))

    def log_alpha_bar(self, t):
        return 2.0 * ops.log(at_least(self.alpha(t), 1e-12))
