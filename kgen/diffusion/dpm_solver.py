"""DPM-Solver++: samplers of order two and three, in lambda = ln alpha/sigma, for estimates of the data."""

import keras
from keras import ops

from kgen import backend
from kgen.diffusion.multistep import MultistepSampler, log_ratio, quotient, slope
from kgen.diffusion.samplers import Sampler, levels, noise_like, transition
from kgen.diffusion.schedules import like


@keras.saving.register_keras_serializable(package="kgen")
class DPMSolverMultistepSampler(MultistepSampler):
    """Remembers the estimates of the steps before: deterministic given x_1, unless it is ``stochastic``.

    With lambda = ln alpha/sigma, h = lambda_s - lambda_t, and h' the step before, the one of order two (2M) is

        x_s = sigma_s/sigma_t x_t + alpha_s (1 - e^-h) (x_0 + D/2),  D = h/h' (x_0 - x_0'),

    where x_0 is the estimate at t and x_0' that of the step before. Without D this is DDIM's step, and so it is written here:
    alpha_s x_0 + sigma_s eps divides by nothing. Order three (3M) takes the parabola
    x_0 + D v + C v^2, with v = (lambda - lambda_t)/h, through the last three estimates:

        x_s = sigma_s/sigma_t x_t + alpha_s ((1 - e^-h) x_0 + (1 - (1 - e^-h)/h) D + (1 - 2 (h - 1 + e^-h)/h^2) C).

    The authors' code has half of the last coefficient, with which the order is two.

    Stochastic (SDE-DPM-Solver++ 2M), it is the ancestral step with alpha_s (1 - e^-2h) D/2. The first step has nothing to remember and the
    last, to no noise at all, an infinite h: these are of order one.

    Args:
        steps: number of steps, a call each.
        grid: as in ``Sampler``.
        order: 1, 2 or 3; 2 where it is stochastic.
        stochastic: whether noise is added on the way.
    Reference:
        Lu et al., DPM-Solver++: fast solver for guided sampling of diffusion probabilistic models, 2022, Algorithm 2 and
        section 6 (SDE), arXiv 2211.01095.
    """

    alias = "dpm_solver_multistep"

    def __init__(self, steps=20, grid="log_snr", order=2, stochastic=False):
        super().__init__(steps, order, grid)
        self.stochastic = bool(stochastic)
        if self.stochastic and order != 2:
            raise ValueError(f"order: expected 2 of a stochastic DPMSolverMultistepSampler, received {order}.")

    def step(self, denoise, schedule, carry, t, s, seeds, i):
        x, past = carry[0], self.past(carry)
        data, noise, _ = denoise(x, t)
        alpha, sigma = levels(schedule, s, x)
        place = log_ratio(schedule, t)
        h = log_ratio(schedule, s) - place
        if self.stochastic:
            a, b, variance, _ = transition(schedule, t, s, x)
            first = a * x + b * data + ops.sqrt(variance) * noise_like(x, seeds)
            more = like(-0.5 * ops.expm1(-2.0 * h), x) * slope(data, place, h, past[0])
        else:
            first = alpha * data + sigma * noise
            more = self._more(data, place, h, past) if past else 0.0
        new = ops.where(sigma > 0, first + alpha * more, first)
        return self.kept(new, data, place, carry)

    def _more(self, data, place, h, past):
        """What the estimates of the steps before add, over alpha_s."""
        near = slope(data, place, h, past[0])
        second = like(-0.5 * ops.expm1(-h), data) * near
        if self.order < 3:
            return second
        newer, older = past
        third = ops.logical_and(older.known, ops.not_equal(h, 0.0))
        far = like(quotient(h, newer.place - older.place, third), data) * (newer.value - older.value)
        curve = like(quotient(h, place - older.place, third), data) * (near - far)
        first = near + like(quotient(place - newer.place, h, third), data) * curve
        lost = ops.expm1(-h)
        by_first = 1.0 + quotient(lost, h, third)
        by_curve = 1.0 - 2.0 * quotient(lost + h, ops.square(h), third)
        return ops.where(like(third, data) > 0, like(by_first, data) * first + like(by_curve, data) * curve, second)


@keras.saving.register_keras_serializable(package="kgen")
class DPMSolverSinglestepSampler(Sampler):
    """Estimates the data again in the middle of a step, in lambda = ln alpha/sigma: deterministic given x_1, of order two (2S).

    With x_m = alpha_m x_0 + sigma_m eps at lambda_m = (lambda_t + lambda_s)/2, and x_0' the estimate there,

        x_s = sigma_s/sigma_t x_t + alpha_s (1 - e^-h) x_0' = alpha_s x_0 + sigma_s eps + alpha_s (1 - e^-h) (x_0' - x_0).

    The last step, to no noise at all, is DDIM's.

    Args:
        steps: number of steps, two calls each but the last.
        grid: as in ``Sampler``.
    Reference:
        Lu et al. 2022, Algorithm 1 with r = 1/2, arXiv 2211.01095.
    """

    alias = "dpm_solver_singlestep"

    def __init__(self, steps=10, grid="log_snr"):
        super().__init__(steps, grid)

    def calls(self, steps=None):
        return 2 * super().calls(steps) - 1

    def step(self, denoise, schedule, carry, t, s, seeds, i):
        (x,) = carry
        data, noise, _ = denoise(x, t)
        alpha, sigma = levels(schedule, s, x)
        first = alpha * data + sigma * noise

        def corrected():
            place, end = log_ratio(schedule, t), log_ratio(schedule, s)
            middle = ops.cast(schedule.time(place + end), t.dtype)
            alpha_m, sigma_m = levels(schedule, middle, x)
            change = denoise(alpha_m * data + sigma_m * noise, middle).data - data
            return ops.where(sigma > 0, first - alpha * like(ops.expm1(place - end), x) * change, first)

        return (backend.when(ops.any(s > 0), corrected, lambda: first),)
