"""Noise schedules: how much of the data is left at time t, from t = 0 (all of it) to t = 1 (next to nothing).

x_t = alpha(t) x_0 + sigma(t) eps, alpha^2 + sigma^2 = 1 (variance preserving); alpha_bar = alpha^2.
"""

import math

import keras
import numpy as np
from keras import ops

from kgen.core import checks
from kgen.core.config import Configured, resolve

# alpha_bar stays above this, so that every prediction can be turned into every other at t = 1.
SMALLEST = 1e-6


class Schedule(Configured):
    """Base class. A schedule implements ``log_alpha_bar(t)``: ln alpha(t)^2, 0 at t = 0 and falling."""

    num_steps = 1000  # the grid on which models train and on which the variational bound is taken

    def log_alpha_bar(self, t):
        """ln alpha_bar at times t.

        Args:
            t: float tensor of any shape, in [0, 1].
        Returns:
            float32 tensor of the same shape, at most 0.
        """
        raise NotImplementedError

    def alpha(self, t):
        """What is left of the data: float32, in (0, 1]."""
        return ops.exp(0.5 * self.log_alpha_bar(t))

    def sigma(self, t):
        """The noise's standard deviation: float32, in [0, 1)."""
        return ops.sqrt(-ops.expm1(self.log_alpha_bar(t)))

    def snr(self, t):
        """The signal-to-noise ratio alpha^2 / sigma^2; infinite at t = 0."""
        log_alpha_bar = self.log_alpha_bar(t)
        return ops.exp(log_alpha_bar) / -ops.expm1(log_alpha_bar)

    def add_noise(self, x, t, noise):
        """x_t = alpha(t) x + sigma(t) noise, with one time per row.

        Args:
            x, noise: float tensors (B, ...).
            t: float tensor (B,), in [0, 1].
        Returns:
            float tensor (B, ...).
        """
        return like(self.alpha(t), x) * x + like(self.sigma(t), x) * noise


def like(values, x):
    """One value per row (B,), shaped to multiply ``x`` (B, ...)."""
    return ops.cast(ops.reshape(values, (-1,) + (1,) * (len(x.shape) - 1)), x.dtype)


@keras.saving.register_keras_serializable(package="kgen")
class LinearSchedule(Schedule):
    """beta_k grows linearly over ``num_steps`` steps; alpha_bar_k = prod_{j <= k} (1 - beta_j), and ln alpha_bar is linear between them.

    Args:
        beta_start, beta_end: beta_1 and beta_num_steps.
        num_steps: number of steps.
    Reference:
        Ho et al., Denoising diffusion probabilistic models, 2020, section 4, arXiv 2006.11239.
    """

    def __init__(self, beta_start=1e-4, beta_end=0.02, num_steps=1000):
        if not 0 < beta_start <= beta_end < 1:
            raise ValueError(
                f"beta_start, beta_end: expected 0 < beta_start <= beta_end < 1, received {beta_start} and {beta_end}."
            )
        self.beta_start, self.beta_end = beta_start, beta_end
        self.num_steps = checks.positive_int("num_steps", num_steps)
        betas = np.linspace(beta_start, beta_end, num_steps, dtype="float64")
        table = np.concatenate([[0.0], np.cumsum(np.log1p(-betas))])
        self._table = np.maximum(table, math.log(SMALLEST)).astype("float32")

    def log_alpha_bar(self, t):
        position = ops.clip(ops.cast(t, "float32"), 0.0, 1.0) * self.num_steps
        below = ops.clip(ops.cast(ops.floor(position + 1e-4), "int32"), 0, self.num_steps - 1)
        share = ops.clip(position - ops.cast(below, "float32"), 0.0, 1.0)
        table = ops.convert_to_tensor(self._table)
        return (1.0 - share) * ops.take(table, below) + share * ops.take(table, below + 1)


@keras.saving.register_keras_serializable(package="kgen")
class CosineSchedule(Schedule):
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
        angle = (ops.cast(t, "float32") + self.offset) / (1.0 + self.offset) * (math.pi / 2)
        first = math.cos(self.offset / (1.0 + self.offset) * math.pi / 2)
        return ops.clip(2.0 * ops.log(ops.maximum(ops.cos(angle) / first, 1e-9)), math.log(SMALLEST), 0.0)


@keras.saving.register_keras_serializable(package="kgen")
class SigmoidSchedule(Schedule):
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
        u = (self.start + ops.cast(t, "float32") * (self.end - self.start)) / self.temperature
        return ops.clip(ops.log(ops.maximum((high - ops.sigmoid(u)) / (high - low), SMALLEST)), math.log(SMALLEST), 0.0)


def get(schedule):
    """A ``Schedule`` from itself, "linear", "cosine" or "sigmoid", or its configuration."""
    aliases = {"linear": LinearSchedule, "cosine": CosineSchedule, "sigmoid": SigmoidSchedule}
    return resolve("schedule", schedule, Schedule, aliases)
