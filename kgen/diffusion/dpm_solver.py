"""DPM-Solver++(2M): a sampler of order two at one call a step."""

import keras
from keras import ops

from kgen.diffusion.samplers import Sampler, levels
from kgen.diffusion.schedules import like


@keras.saving.register_keras_serializable(package="kgen")
class DPMSolverMultistepSampler(Sampler):
    """Remembers the estimate of the step before: deterministic given x_1.

    With lambda = ln alpha/sigma, h = lambda_s - lambda_t, and h' the step before,

        x_s = sigma_s/sigma_t x_t + alpha_s (1 - e^-h) (x_0 + h/(2 h') (x_0 - x_0')),

    where x_0 is the estimate at t and x_0' that of the step before. Without the last term this is DDIM's step, and so it is written here:
    alpha_s x_0 + sigma_s eps divides by nothing. The first step has nothing to remember and the last, to no noise at all, an infinite
    h: these are of order one.

    Args:
        steps: number of steps, a call each.
        grid: as in ``Sampler``.
    Reference:
        Lu et al., DPM-Solver++: fast solver for guided sampling of diffusion probabilistic models, 2022, Algorithm 2, arXiv 2211.01095.
    """

    def __init__(self, steps=20, grid="log_snr"):
        super().__init__(steps, grid)

    def init(self, x):
        """``x``, the estimate of x_0 of the step before, and twice its lambda (B,)."""
        return x, ops.zeros_like(x), ops.zeros((ops.shape(x)[0],), dtype=x.dtype)

    def step(self, denoise, schedule, carry, t, s, seeds, i):
        x, before, log_snr_before = carry
        estimate = denoise(x, t)
        alpha, sigma = levels(schedule, s, x)
        log_snr = schedule.log_snr(t)  # finite at both ends
        step, step_before = schedule.log_snr(s) - log_snr, log_snr - log_snr_before
        known = ops.logical_and(ops.not_equal(step_before, 0.0), i > 0)
        ratio = ops.where(known, 0.5 * step / ops.where(known, step_before, ops.ones_like(step)), ops.zeros_like(step))
        second = like(-ops.expm1(-0.5 * step) * ratio, x) * (estimate.data - before)
        first = alpha * estimate.data + sigma * estimate.noise
        return ops.where(sigma > 0, first + alpha * second, first), estimate.data, ops.cast(log_snr, x.dtype)
