"""Schedules: how much of the data and how much noise there is at time t, from t = 0 (data) to t = 1 (next to nothing of it).

x_t = alpha(t) x_0 + sigma(t) eps. The ratio alpha/sigma falls with t; its logarithm, times two, is the log signal-to-noise ratio. The same
x_t come from the process dx = f(t) x dt + g(t) dw, with f = d ln alpha/dt and g^2 = d sigma^2/dt - 2 f sigma^2.

Times are float tensors in [0, 1] of any shape, float32 unless they are float64. Reference: Kingma et al., Variational diffusion models,
2021, sections 3.1 and 4, arXiv 2107.00630; Song et al., Score-based generative modeling through SDEs, 2021, arXiv 2011.13456.
"""

import keras
from keras import ops

from kgen import backend
from kgen.core.config import Configured, resolve

LEAST = 1e-12  # what stands in for 0 where a logarithm is taken


def floats(t):
    """``t`` as a float tensor: float64 where it is that already, else float32."""
    t = ops.convert_to_tensor(t)
    return t if keras.backend.standardize_dtype(t.dtype) == "float64" else ops.cast(t, "float32")


def at_least(x, low):
    """max(x, low) for a number ``low``, of the dtype of ``x``: on torch ``ops.maximum`` makes float32 of float64."""
    return ops.where(x > low, x, ops.full_like(x, low))


def at_most(x, high):
    """min(x, high) for a number ``high``, of the dtype of ``x``."""
    return ops.where(x < high, x, ops.full_like(x, high))


def like(values, x):
    """One value per row (B,), shaped to multiply ``x`` (B, ...)."""
    return ops.cast(ops.reshape(values, (-1,) + (1,) * (len(x.shape) - 1)), x.dtype)


class Schedule(Configured):
    """Base class. A schedule implements ``alpha`` and ``sigma``; what follows from them is here."""

    num_steps = None  # the grid of times on which models train and the bound is taken; None: all times
    first_time = 0.0  # the smallest time that training draws; above 0 where sigma(0) = 0 leaves nothing to predict
    prior_scale = 1.0  # standard deviation of x_1, at which sampling starts
    ends_in_noise = False  # whether alpha(1) = 0

    @property
    def last_time(self):
        """The last time above 0 of grids that are not equal steps of time."""
        return 1.0 / self.num_steps if self.num_steps else self.first_time

    def alpha(self, t):
        """What is left of the data: float tensor like t, at least 0."""
        raise NotImplementedError

    def sigma(self, t):
        """The noise's standard deviation: float tensor like t, at least 0."""
        raise NotImplementedError

    def log_snr(self, t):
        """ln alpha^2 / sigma^2, finite at both ends: it stops at +-55, where float32 has long lost the smaller part."""
        alpha, sigma = self.alpha(t), self.sigma(t)
        return 2.0 * (ops.log(at_least(alpha, LEAST)) - ops.log(at_least(sigma, LEAST)))

    def snr(self, t):
        """alpha^2 / sigma^2."""
        return ops.exp(self.log_snr(t))

    def time(self, log_snr):
        """The inverse of ``log_snr``: the time at which it is this; 0 or 1 beyond its ends.

        By bisection, to the precision of the dtype; schedules with a closed form have it in place of this.
        """
        log_snr = floats(log_snr)
        low, high = ops.zeros_like(log_snr), ops.ones_like(log_snr)
        count = 50 if keras.backend.standardize_dtype(log_snr.dtype) == "float64" else 26

        def halve(_, ends):
            low, high = ends
            middle = 0.5 * (low + high)
            late = self.log_snr(middle) < log_snr
            return ops.where(late, low, middle), ops.where(late, middle, high)

        low, high = ops.fori_loop(0, count, halve, (low, high))
        return 0.5 * (low + high)

    def drift(self, t):
        """f(t) = d ln alpha / dt: float tensor like t (B,), by automatic differentiation."""
        return backend.grad(lambda u: ops.log(at_least(self.alpha(u), LEAST)), floats(t))

    def diffusion(self, t):
        """g(t) = sqrt(d sigma^2/dt - 2 f sigma^2): float tensor like t (B,)."""
        t = floats(t)
        growth = backend.grad(lambda u: ops.square(self.sigma(u)), t)
        return ops.sqrt(at_least(growth - 2.0 * self.drift(t) * ops.square(self.sigma(t)), 0.0))

    def add_noise(self, x, t, noise):
        """x_t = alpha(t) x + sigma(t) noise, with one time per row.

        Args:
            x, noise: float tensors (B, ...).
            t: float tensor (B,), in [0, 1].
        Returns:
            float tensor (B, ...).
        """
        return like(self.alpha(t), x) * x + like(self.sigma(t), x) * noise


def get(schedule):
    """A ``Schedule`` from itself, its short name, or its configuration."""
    from kgen.diffusion import processes as other
    from kgen.diffusion import variance_preserving as vp

    aliases = {
        "linear": vp.LinearSchedule,
        "scaled_linear": vp.ScaledLinearSchedule,
        "cosine": vp.CosineSchedule,
        "capped_cosine": vp.CappedCosineSchedule,
        "sigmoid": vp.SigmoidSchedule,
        "vp": vp.VPSchedule,
        "sub_vp": other.SubVPSchedule,
        "ve": other.VESchedule,
        "edm": other.EDMSchedule,
        "rectified_flow": other.RectifiedFlowSchedule,
    }
    return resolve("schedule", schedule, Schedule, aliases)
