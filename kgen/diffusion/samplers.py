"""Samplers: the way from noise at t = 1 to data at t = 0. A sampler is one step; the base class owns the loop."""

import keras
import numpy as np
from keras import ops

from kgen.core import checks, random
from kgen.core.config import Configured, resolve
from kgen.diffusion import grids
from kgen.diffusion.schedules import at_least, like


class Sampler(Configured):
    """Base class: ``steps`` steps over a grid of times, in one compiled loop.

    What a step knows of those before it is its carry, a tuple of tensors (B, ...) whose first is x. Rows may start at times of their own
    and take their own number of steps. The last step ends in data: at t = 0 there is no noise, even where sigma(0) > 0.

    Args:
        steps: number of steps.
        grid: "uniform", "karras", "log_snr", "trailing", "leading", or a ``TimeGrid``.
    """

    alias = None  # the short name by which ``get`` knows the class
    stochastic = False  # whether noise is added on the way: if not, samples are determined by where they start
    follows_paths = True  # whether a step goes on along the path that estimates show: a model of paths' ends shows none

    def __init__(self, steps=50, grid="uniform"):
        self.steps = checks.positive_int("steps", steps)
        self.grid = grids.get(grid)

    def check(self, schedule):
        """Raises ValueError where the sampler, or its grid, is not for a ``Schedule``."""
        self.grid.check(schedule)

    def calls(self, steps=None):
        """How often ``steps`` steps (the sampler's own by default) evaluate the denoiser."""
        return self.steps if steps is None else steps

    def init(self, x, taken=None):
        """The carry at the start: a tuple whose first is ``x``.

        Args:
            x: float tensor (B, ...).
            taken: how many steps each row takes, float tensor (B,); ``self.steps`` by default.
        """
        return (x,)

    def step(self, denoise, schedule, carry, t, s, seeds, i):
        """From time t to time s.

        Args:
            denoise: maps (x_t, t) to an ``Estimate``.
            schedule: a ``Schedule``.
            carry: what ``init`` or the step before returned.
            t, s: float tensors (B,).
            seeds: int32 tensor (B, 2): row seeds of this step alone.
            i: int32 scalar tensor, the number of the step, from 0.
        Returns:
            the new carry.
        """
        raise NotImplementedError

    def times(self, schedule, rows, steps=None, start=None, dtype="float32"):
        """The times of every row: float tensor (B, count + 1), falling from ``start`` to 0.

        Args:
            schedule: a ``Schedule``.
            rows: B.
            steps: int tensor (B,), at most ``self.steps``, which is the default for all.
            start: float tensor (B,), in (0, 1]; 1 by default.
        """
        ones = ops.ones((rows, 1), dtype=dtype)
        steps = self.steps * ones if steps is None else ops.cast(ops.reshape(steps, (-1, 1)), dtype)
        start = ones if start is None else ops.cast(ops.reshape(start, (-1, 1)), dtype)
        return self.grid.times(schedule, steps, start, self.steps)

    def start(self, schedule, seeds, shape):
        """x_1: float32 tensor (B, *shape) from N(0, prior_scale^2)."""
        return schedule.prior_scale * random.normal(seeds, shape, draw=0)

    def sample(self, denoise, schedule, seeds, shape, *, x=None, steps=None, start=None):
        """Takes all steps.

        Args:
            denoise, schedule: as in ``step``.
            seeds: int32 tensor (B, 2), row seeds.
            shape: shape of one row.
            x: where to start, float tensor (B, *shape) at the times ``start``; noise at t = 1 by default.
            steps, start: as in ``times``.
        Returns:
            float tensor (B, *shape).
        """
        x = self.start(schedule, seeds, shape) if x is None else x
        times = self.times(schedule, ops.shape(x)[0], steps, start, keras.backend.standardize_dtype(x.dtype))
        most = (
            self.steps if steps is None else ops.max(steps)
        )  # where rows have their own, the loop ends with the longest
        taken = None if steps is None else ops.cast(steps, x.dtype)
        return ops.fori_loop(0, most, self._body(denoise, schedule, seeds, times), self.init(x, taken))[0]

    def run(self, denoise, schedule, seeds, x, times):
        """As ``sample``, between any times (B, K + 1), rising ones too: float tensor like ``x``."""
        return ops.fori_loop(0, times.shape[1] - 1, self._body(denoise, schedule, seeds, times), self.init(x))[0]

    def path(self, denoise, schedule, seeds, shape, frames):
        """The states that ``sample`` passes through.

        Args:
            denoise, schedule, seeds, shape: as in ``sample``.
            frames: how many states after x_1 are given, as evenly spaced as ``steps`` allows; at most ``steps``.
        Returns:
            float32 tensor (frames + 1, B, *shape), from x_1 to the sample.
        """
        x = self.start(schedule, seeds, shape)
        step = self._body(denoise, schedule, seeds, self.times(schedule, ops.shape(x)[0]))
        ends = np.round(np.arange(frames + 1) * self.steps / frames)
        # Each state is written to the place of the next frame, where the frame itself is the last that comes.
        places = ops.convert_to_tensor(np.searchsorted(ends, np.arange(1, self.steps + 1)).astype("int32"))
        numbers = ops.reshape(ops.arange(frames + 1, dtype="int32"), (-1, *[1] * (len(shape) + 1)))

        def body(i, state):
            carry, kept = state
            carry = step(i, carry)
            return carry, ops.where(ops.equal(numbers, places[i]), carry[0][None], kept)

        return ops.fori_loop(0, self.steps, body, (self.init(x), ops.repeat(x[None], frames + 1, axis=0)))[1]

    def _body(self, denoise, schedule, seeds, times):
        def body(i, carry):
            t, s = ops.take(times, i, axis=1), ops.take(times, i + 1, axis=1)
            new = self.step(denoise, schedule, carry, t, s, random.fold_in(seeds, i + 1), i)
            moving = ops.not_equal(t, s)  # a row that has arrived stays
            return tuple(
                ops.where(ops.reshape(moving, (-1, *[1] * (len(a.shape) - 1))), a, b)
                for a, b in zip(new, carry, strict=True)
            )

        return body


def levels(schedule, t, x):
    """alpha and sigma at times t (B,), shaped to multiply x; at t = 0 there is no noise, even where sigma(0) > 0."""
    sigma = schedule.sigma(t)
    return like(schedule.alpha(t), x), like(ops.where(t > 0, sigma, ops.zeros_like(sigma)), x)


def transition(schedule, t, s, x):
    """How x_s comes from x_t and x_0: q(x_s | x_t, x_0) = N(a x_t + b x_0, variance).

    With k = snr(t)/snr(s): a = (alpha_s/alpha_t) k, b = alpha_s (1 - k), variance = sigma_s^2 (1 - k).

    Args:
        schedule: a ``Schedule``.
        t, s: float tensors (B,), t > s.
        x: float tensor (B, ...), for the shape.
    Returns:
        ``(a, b, variance, widest)``, shaped to multiply x; ``widest`` is the variance of q(x_t | x_s), the upper bound of learned ones.
    """
    (alpha_t, sigma_t), (alpha_s, sigma_s) = levels(schedule, t, x), levels(schedule, s, x)
    difference = like(schedule.log_snr(t) - schedule.log_snr(s), x)
    none = sigma_s <= 0
    lost = ops.where(none, ops.ones_like(sigma_s), -ops.expm1(difference))
    # (alpha_s/alpha_t) k without a division by alpha_t, which may be 0.
    a = alpha_t * ops.square(sigma_s) / (alpha_s * ops.square(sigma_t))
    return a, alpha_s * lost, ops.square(sigma_s) * lost, ops.square(sigma_t) * lost


@keras.saving.register_keras_serializable(package="kgen")
class AncestralSampler(Sampler):
    """Draws from p(x_s | x_t) = q(x_s | x_t, x_0 = estimate), with the posterior's variance or, where it is learned, the model's.

    Args:
        steps: number of steps; 1000 are DDPM's own.
        grid: as in ``Sampler``.
        variance: "small" is that of q(x_s | x_t, x_0), "large" that of q(x_t | x_s), except in the last step, which adds no noise; they are
            the least and the most that data may ask for. Where the variance is learned, it says nothing.
    Reference:
        Ho et al. 2020, Eq. 7 and section 3.2 (`variance`), arXiv 2006.11239; Kingma et al. 2021, Eq. 25 for any t and s, arXiv 2107.00630;
        Nichol & Dhariwal 2021, Eq. 15 (learned variance), arXiv 2102.09672.
    """

    alias = "ancestral"
    stochastic = True

    def __init__(self, steps=1000, grid="uniform", variance="small"):
        super().__init__(steps, grid)
        self.variance = checks.one_of("variance", variance, ("small", "large"))

    def step(self, denoise, schedule, carry, t, s, seeds, i):
        (x,) = carry
        estimate = denoise(x, t)
        a, b, variance, widest = transition(schedule, t, s, x)
        if estimate.variance is not None:  # between the two, by their logarithms; none in the last step
            log = estimate.variance * ops.log(widest) + (1.0 - estimate.variance) * ops.log(at_least(variance, 1e-20))
            variance = ops.where(variance > 0, ops.exp(log), ops.zeros_like(log))
        elif self.variance == "large":
            variance = ops.where(variance > 0, widest, ops.zeros_like(widest))
        return (a * x + b * estimate.data + ops.sqrt(variance) * noise_like(x, seeds),)


def noise_like(x, seeds):
    """Standard normal numbers of a step, shaped like x."""
    return ops.cast(random.normal(seeds, tuple(x.shape[1:])), x.dtype)


@keras.saving.register_keras_serializable(package="kgen")
class DDIMSampler(Sampler):
    """x_s = alpha_s x_0 + sqrt(sigma_s^2 - v) eps + sqrt(v) z, with v = eta^2 times the posterior variance.

    Args:
        steps: number of steps.
        eta: 0 is deterministic given x_1, 1 is the ancestral sampler.
        grid: as in ``Sampler``.
    Reference:
        Song et al., Denoising diffusion implicit models, 2021, Eq. 12 and 16, arXiv 2010.02502.
    """

    alias = "ddim"

    def __init__(self, steps=50, eta=0.0, grid="uniform"):
        super().__init__(steps, grid)
        self.eta = checks.in_range("eta", eta, 0.0, 1.0)

    @property
    def stochastic(self):
        return self.eta > 0

    def step(self, denoise, schedule, carry, t, s, seeds, i):
        (x,) = carry
        estimate = denoise(x, t)
        alpha, sigma = levels(schedule, s, x)
        if self.eta == 0:
            return (alpha * estimate.data + sigma * estimate.noise,)
        variance = self.eta**2 * transition(schedule, t, s, x)[2]
        kept = ops.sqrt(at_least(ops.square(sigma) - variance, 0.0))
        return (alpha * estimate.data + kept * estimate.noise + ops.sqrt(variance) * noise_like(x, seeds),)


def names():
    """The samplers of this room by their short names."""
    from kgen import diffusion  # when asked, since the room imports this file

    found = [v for v in vars(diffusion).values() if isinstance(v, type) and issubclass(v, Sampler) and v.alias]
    return {sampler.alias: sampler for sampler in sorted(found, key=lambda sampler: sampler.alias)}


def get(sampler, steps=None):
    """A ``Sampler`` from itself, its ``alias`` ("ddim", "heun", ...), or its configuration; ``steps`` replaces its number of steps."""
    sampler = resolve("sampler", sampler, Sampler, names())
    return sampler if steps is None else type(sampler)(**{**sampler.get_config(), "steps": steps})
