"""Training laws: which times are drawn in training, and what an error at each of them weighs."""

import math

import keras
from keras import ops

from kgen.core import checks
from kgen.core.config import Configured, resolve


class Times(Configured):
    """Base class: the distribution of the times of training."""

    def times(self, u, schedule):
        """Times from uniform numbers.

        Args:
            u: float tensor (B,), uniform in [0, 1). In training they are spread evenly over the batch, which makes the loss vary less
                (Kingma et al. 2021, appendix I.1).
            schedule: a ``Schedule``.
        Returns:
            float tensor (B,), in [0, 1].
        """
        raise NotImplementedError


@keras.saving.register_keras_serializable(package="kgen")
class UniformTimes(Times):
    """All times alike: those of the schedule's grid, k / num_steps for k = 1 .. num_steps, or any where it has none."""

    def times(self, u, schedule):
        if schedule.num_steps is None:
            return schedule.first_time + u * (1.0 - schedule.first_time)
        return ops.minimum((ops.floor(u * schedule.num_steps) + 1.0) / schedule.num_steps, 1.0)


@keras.saving.register_keras_serializable(package="kgen")
class LogNormalTimes(Times):
    """ln sigma/alpha is normal, between its values at the ends of the schedule.

    Args:
        mean, std: of ln sigma/alpha.
    Reference:
        Karras et al. 2022, Table 1, arXiv 2206.00364; Song & Dhariwal 2023, section 3.5 (between the ends), arXiv 2310.14189.
    """

    def __init__(self, mean=-1.2, std=1.2):
        self.mean, self.std = float(mean), checks.in_range("std", std, 1e-3, 100.0)

    def times(self, u, schedule):
        ends = -0.5 * schedule.log_snr(ops.convert_to_tensor([schedule.first_time, 1.0], dtype=u.dtype))
        low, high = ops.unstack(0.5 + 0.5 * ops.erf((ends - self.mean) / (self.std * math.sqrt(2.0))), 2)
        log_sigma = self.mean + self.std * _normal(low + u * (high - low))
        return ops.clip(schedule.time(-2.0 * log_sigma), schedule.first_time, 1.0)


@keras.saving.register_keras_serializable(package="kgen")
class LogitNormalTimes(Times):
    """ln t/(1 - t) is normal: the middle of the way is drawn more often than its ends.

    Args:
        mean, std: of ln t/(1 - t).
    Reference:
        Esser et al., Scaling rectified flow transformers, 2024, Eq. 19, arXiv 2403.03206.
    """

    def __init__(self, mean=0.0, std=1.0):
        self.mean, self.std = float(mean), checks.in_range("std", std, 1e-3, 100.0)

    def times(self, u, schedule):
        return ops.sigmoid(self.mean + self.std * _normal(u))


@keras.saving.register_keras_serializable(package="kgen")
class StepTimes(Times):
    """The times at which a sampler of equal steps calls the network: k / steps for k = 1 .. steps, all alike.

    Args:
        steps: how many; with 1, t = 1 alone.
    """

    def __init__(self, steps=1):
        self.steps = checks.positive_int("steps", steps)

    def times(self, u, schedule):
        return ops.minimum((ops.floor(u * self.steps) + 1.0) / self.steps, 1.0)


def _normal(u):
    """Standard normal numbers from uniform ones; u is kept 2^-24 away from 0 and 1."""
    return math.sqrt(2.0) * ops.erfinv(ops.clip(2.0 * u - 1.0, -1.0 + 2.0**-23, 1.0 - 2.0**-23))


class Weight(Configured):
    """Base class: what the squared error of the data's estimate, |x - x_0(x_t)|^2, weighs."""

    def weight(self, t, schedule):
        """The weights: float tensor (B,) for times (B,)."""
        raise NotImplementedError


@keras.saving.register_keras_serializable(package="kgen")
class SNRWeight(Weight):
    """min(snr, largest): with "noise" prediction and no bound, the loss of Ho et al. 2020; with a bound, min-SNR.

    Args:
        largest: gamma of the paper; None for no bound.
    Reference:
        Hang et al., Efficient diffusion training via min-SNR weighting strategy, 2023, Eq. 8, arXiv 2303.09556.
    """

    def __init__(self, largest=5.0):
        self.largest = None if largest is None else checks.in_range("largest", largest, 1e-6, 1e6)

    def weight(self, t, schedule):
        snr = schedule.snr(t)
        return snr if self.largest is None else ops.minimum(snr, self.largest)


@keras.saving.register_keras_serializable(package="kgen")
class TruncatedSNRWeight(Weight):
    """max(snr, 1): the larger of the squared errors of the data and of the noise. It stays above 0 where nothing of the data is left.

    Reference:
        Salimans & Ho 2022, section 4, arXiv 2202.00512.
    """

    def weight(self, t, schedule):
        return ops.maximum(schedule.snr(t), 1.0)


def get_times(times):
    """``Times`` from itself, "uniform", "log_normal" or "logit_normal", or its configuration."""
    aliases = {"uniform": UniformTimes, "log_normal": LogNormalTimes, "logit_normal": LogitNormalTimes}
    return resolve("times", times, Times, aliases)


def get_weight(weight):
    """``Weight`` from itself, "min_snr", "truncated_snr", its configuration, or None: the prediction's own unit weight."""
    aliases = {"min_snr": SNRWeight, "truncated_snr": TruncatedSNRWeight}
    return None if weight is None else resolve("weight", weight, Weight, aliases)
