"""Schedules that do not preserve variance: variance exploding, sub-VP, EDM's, and the straight lines of rectified flow."""

import math

import keras
from keras import ops

from kgen.core import checks
from kgen.diffusion.schedules import Schedule, at_least, floats
from kgen.diffusion.variance_preserving import VPSchedule


@keras.saving.register_keras_serializable(package="kgen")
class VESchedule(Schedule):
    """Variance exploding: alpha = 1, sigma(t) = sigma_min (sigma_max / sigma_min)^t.

    Args:
        sigma_min, sigma_max: the noise at t = 0, which is above 0, and at t = 1, which should exceed the largest distance in the data.
    Reference:
        Song et al. 2021, Eq. 31, arXiv 2011.13456.
    """

    last_time = 1e-6  # of sigma_min, all but

    def __init__(self, sigma_min=0.01, sigma_max=50.0):
        self.sigma_min, self.sigma_max = _ordered(sigma_min, sigma_max)

    @property
    def prior_scale(self):
        return self.sigma_max

    def alpha(self, t):
        return ops.ones_like(floats(t))

    def sigma(self, t):
        return self.sigma_min * ops.exp(floats(t) * math.log(self.sigma_max / self.sigma_min))

    def time(self, log_snr):
        share = (-0.5 * floats(log_snr) - math.log(self.sigma_min)) / math.log(self.sigma_max / self.sigma_min)
        return ops.clip(share, 0.0, 1.0)

    def drift(self, t):
        return ops.zeros_like(floats(t))

    def diffusion(self, t):
        return self.sigma(t) * math.sqrt(2.0 * math.log(self.sigma_max / self.sigma_min))


@keras.saving.register_keras_serializable(package="kgen")
class EDMSchedule(Schedule):
    """alpha = 1, sigma(t) = (sigma_min^(1/rho) + t (sigma_max^(1/rho) - sigma_min^(1/rho)))^rho.

    Equal steps of this time are the noise levels by which Karras et al. sample. At t = 0 there is still noise of sigma_min, too little
    to be seen; samplers take it away in their last step.

    Args:
        sigma_min, sigma_max, rho: as in the paper.
    Reference:
        Karras et al., Elucidating the design space of diffusion-based generative models, 2022, Eq. 5, arXiv 2206.00364.
    """

    last_time = 1e-6  # of sigma_min, all but

    def __init__(self, sigma_min=0.002, sigma_max=80.0, rho=7.0):
        self.sigma_min, self.sigma_max = _ordered(sigma_min, sigma_max)
        self.rho = checks.in_range("rho", rho, 1.0, 100.0)

    @property
    def prior_scale(self):
        return self.sigma_max

    def alpha(self, t):
        return ops.ones_like(floats(t))

    def _ends(self):
        return self.sigma_min ** (1.0 / self.rho), self.sigma_max ** (1.0 / self.rho)

    def sigma(self, t):
        low, high = self._ends()
        return (low + floats(t) * (high - low)) ** self.rho

    def time(self, log_snr):
        low, high = self._ends()
        return ops.clip((ops.exp(-0.5 * floats(log_snr) / self.rho) - low) / (high - low), 0.0, 1.0)

    def drift(self, t):
        return ops.zeros_like(floats(t))


@keras.saving.register_keras_serializable(package="kgen")
class SubVPSchedule(VPSchedule):
    """alpha as in ``VPSchedule``, sigma = 1 - alpha^2: less noise than where variance is preserved.

    Args:
        beta_min, beta_max: as in ``VPSchedule``.
    Reference:
        Song et al. 2021, Eq. 29, arXiv 2011.13456.
    """

    def sigma(self, t):
        return -ops.expm1(self.log_alpha_bar(t))

    def log_snr(self, t):
        return Schedule.log_snr(self, t)

    def _lost(self, log_snr):
        snr = ops.exp(ops.clip(log_snr, -55.0, 55.0))  # as far as ``log_snr`` goes
        return ops.log1p((1.0 + ops.sqrt(1.0 + 4.0 * snr)) / (2.0 * snr))

    def diffusion(self, t):
        return Schedule.diffusion(self, t)


@keras.saving.register_keras_serializable(package="kgen")
class RectifiedFlowSchedule(Schedule):
    """alpha = 1 - t, sigma = t: straight lines from data to noise.

    Reference:
        Liu et al., Flow straight and fast, 2023, Eq. 1, arXiv 2209.03003; Lipman et al., Flow matching, 2023, arXiv 2210.02747 (there with
        time the other way round).
    """

    ends_in_noise = True
    last_time = 1e-3

    def alpha(self, t):
        return 1.0 - floats(t)

    def sigma(self, t):
        return floats(t)

    def time(self, log_snr):
        return ops.sigmoid(-0.5 * floats(log_snr))

    def drift(self, t):
        return -1.0 / at_least(1.0 - floats(t), 1e-6)


def _ordered(low, high):
    if not 0 < low < high:
        raise ValueError(f"sigma_min, sigma_max: expected 0 < sigma_min < sigma_max, received {low} and {high}.")
    return float(low), float(high)
