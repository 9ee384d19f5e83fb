"""Time grids: the times that a sampler's steps run between."""

import keras
from keras import ops

from kgen.core import checks
from kgen.core.config import Configured, resolve
from kgen.diffusion.schedules import at_least, at_most


class TimeGrid(Configured):
    """Base class."""

    def check(self, schedule):
        """Raises ValueError where the grid is not for a ``Schedule``."""

    def at(self, share, schedule, start):
        """The time after a share of the way, before the last step.

        Args:
            share: float tensor (B, K), in [0, 1]: 0 at the start, 1 at the last time above 0.
            schedule: a ``Schedule``.
            start: float tensor (B, 1), the times at which rows start.
        Returns:
            float tensor (B, K).
        """
        raise NotImplementedError

    def times(self, schedule, steps, start, count):
        """The times of every row.

        Args:
            schedule: a ``Schedule``.
            steps: float tensor (B, 1), the number of steps of each row.
            start: float tensor (B, 1), in (0, 1].
            count: int, the largest number of steps.
        Returns:
            float tensor (B, count + 1), from start to 0, falling; a row that has taken its steps stays at 0.
        """
        k = ops.cast(ops.arange(count + 1), start.dtype)[None]
        share = at_most(k / at_least(steps - 1.0, 1.0), 1.0)
        times = self.at(share, schedule, start)
        times = ops.where(ops.logical_or(k < 0.5, times > start), start, times)
        return ops.where(k < steps - 0.5, times, ops.zeros_like(times))


@keras.saving.register_keras_serializable(package="kgen")
class UniformGrid(TimeGrid):
    """Equal steps of time, or of a power of it: t_k = start (1 - k/steps)^power.

    Args:
        power: 1 for equal steps; below it, more of them where there is much noise, as suits a consistency model in two steps.
    """

    def __init__(self, power=1.0):
        self.power = checks.in_range("power", power, 0.01, 100.0)

    def times(self, schedule, steps, start, count):
        k = ops.cast(ops.arange(count + 1), start.dtype)[None]
        left = at_least(steps - k, 0.0)
        return start * left / steps if self.power == 1 else start * (left / steps) ** self.power


def _log_sigma(schedule, start):
    """ln sigma/alpha at the start and at the last time above 0. Where nothing of the data is left, a little before."""
    last = ops.ones_like(start) * schedule.last_time
    start = at_most(start, 1.0 - 1e-3) if schedule.ends_in_noise else start
    return -0.5 * schedule.log_snr(start), -0.5 * schedule.log_snr(ops.where(last < start, last, start))


@keras.saving.register_keras_serializable(package="kgen")
class KarrasGrid(TimeGrid):
    """Equal steps of (sigma/alpha)^(1/rho). Reference: Karras et al. 2022, Eq. 5, arXiv 2206.00364.

    Args:
        rho: 7 in the paper; the larger, the more steps where there is little noise.
    """

    def __init__(self, rho=7.0):
        self.rho = checks.in_range("rho", rho, 1.0, 100.0)

    def at(self, share, schedule, start):
        high, low = (ops.exp(v / self.rho) for v in _log_sigma(schedule, start))
        return schedule.time(-2.0 * self.rho * ops.log(high + share * (low - high)))


@keras.saving.register_keras_serializable(package="kgen")
class LogSNRGrid(TimeGrid):
    """Equal steps of the log signal-to-noise ratio, and so of ln sigma/alpha, which others call exponential.

    Reference: Lu et al., DPM-Solver, 2022, section 3.3, arXiv 2206.00927.
    """

    def at(self, share, schedule, start):
        high, low = _log_sigma(schedule, start)
        return schedule.time(-2.0 * (high + share * (low - high)))


class _StepsGrid(TimeGrid):
    """Base of the grids that are made of a schedule's own steps."""

    def check(self, schedule):
        if schedule.num_steps is None:
            raise ValueError(
                f"grid: {self!r} counts the steps of a schedule, and {type(schedule).__name__} has none. Expected 'uniform', 'karras' or "
                "'log_snr', or a schedule with num_steps."
            )


@keras.saving.register_keras_serializable(package="kgen")
class TrailingGrid(_StepsGrid):
    """Equal steps of time from the start, rounded to steps of the schedule: t_k = round(N start (1 - k/steps)) / N.

    Reference:
        Lin et al., Common diffusion noise schedules and sample steps are flawed, 2024, Table 2, arXiv 2305.08891.
    """

    def times(self, schedule, steps, start, count):
        self.check(schedule)
        number = schedule.num_steps
        k = ops.cast(ops.arange(count + 1), start.dtype)[None]
        times = ops.round(number * start * at_least(steps - k, 0.0) / steps) / number
        return ops.where(k < 0.5, start, times)


@keras.saving.register_keras_serializable(package="kgen")
class LeadingGrid(_StepsGrid):
    """Every floor(N start/steps)-th step of the schedule, from the first on: t_k = (1 + (steps - 1 - k) floor(N start/steps)) / N, then 0.

    Steps from t = 1 do not begin there, but a step's length before: noise is taken for x at that time, as it was in the first
    implementations. Rows that start before t = 1 begin where they start.

    Reference:
        Lin et al. 2024, Table 2, arXiv 2305.08891, which says why ``TrailingGrid`` is better.
    """

    def times(self, schedule, steps, start, count):
        self.check(schedule)
        number = schedule.num_steps
        k = ops.cast(ops.arange(count + 1), start.dtype)[None]
        # The small number is for quotients that are integers, but for rounding.
        length = ops.cast(ops.cast(at_least((number * start + 1e-3) / steps, 1.0), "int32"), start.dtype)
        times = at_most((1.0 + (steps - 1.0 - k) * length) / number, 1.0)
        times = ops.where(ops.logical_and(start < 1.0, ops.logical_or(k < 0.5, times > start)), start, times)
        return ops.where(k < steps - 0.5, times, ops.zeros_like(times))


def get(grid):
    """A ``TimeGrid`` from itself, "uniform", "karras", "log_snr", "exponential" (the same), "trailing" or "leading", or its configuration."""
    aliases = {
        "uniform": UniformGrid,
        "karras": KarrasGrid,
        "log_snr": LogSNRGrid,
        "exponential": LogSNRGrid,
        "trailing": TrailingGrid,
        "leading": LeadingGrid,
    }
    return resolve("grid", grid, TimeGrid, aliases)
