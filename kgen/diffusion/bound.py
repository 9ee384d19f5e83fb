"""The variational bound on the likelihood of a diffusion model."""

import math

from keras import ops

from kgen.core import random
from kgen.diffusion.samplers import transition
from kgen.diffusion.schedules import like

STEPS = 1000  # of the bound, where a schedule has no grid of its own


def variational_bound(denoise, schedule, x, seeds, levels, num_samples):
    """An unbiased estimate of a lower bound on ln P(x), for data quantised to equal levels in [-1, 1].

    ln P(x) >= -(L_T + sum_{k=2}^T L_{k-1} + L_0) on the grid t_k = k/T: L_T = KL(q(x_1 | x) || N(0, prior_scale^2 I)),
    L_{k-1} = KL(q(x_{k-1} | x_k, x) || p(x_{k-1} | x_k)), which is 1/2 (snr(t_{k-1}) - snr(t_k)) |x - x_0(x_{t_k})|^2 unless p has a
    variance of its own, and L_0 = -ln P(x | x_{t_1}), a Gaussian around the estimate with variance sigma(t_1)^2,
    integrated over the level's cell (the outer cells are unbounded).

    Args:
        denoise: maps (x_t, t), with one time per row, to an ``Estimate``.
        schedule: a ``Schedule``.
        x: float tensor (B, ...), in [-1, 1].
        seeds: int32 tensor (B, 2), row seeds.
        levels: number of levels that the data has: 256 for bytes.
        num_samples: how many of the terms k = 2 .. T are evaluated, drawn as ``chances`` says, one from each of as many strata of equal
            chance; all of them if T - 1 or more.
    Returns:
        float32 tensor (B,), nats.
    Reference:
        Ho et al. 2020, Eq. 5 and 13, arXiv 2006.11239; Kingma et al. 2021, Eq. 15, arXiv 2107.00630.
    """
    steps, shape = schedule.num_steps or STEPS, tuple(x.shape[1:])
    terms = steps - 1
    num_samples = min(num_samples, terms)
    ones = ops.ones((ops.shape(x)[0],), dtype="float32")

    def total(values):
        return ops.sum(ops.reshape(values, (-1, math.prod(shape))), axis=-1)

    def noisy(t, draw):
        return schedule.add_noise(x, t, random.normal(seeds, shape, draw))

    every = num_samples == terms
    if not every:
        chance = chances(schedule, steps)
        up_to = ops.cumsum(chance)[None]

    def body(i, bound):
        if every:
            term, weight = i * ops.ones_like(seeds[:, 0]), 1.0
        else:
            u = (ops.cast(i, "float32") + random.uniform(random.fold_in(seeds, 1), (), draw=i)) / num_samples
            term = ops.minimum(ops.sum(ops.cast(up_to <= u[:, None], "int32"), axis=-1), terms - 1)
            weight = 1.0 / (num_samples * ops.take(chance, term))
        k = 2.0 + ops.cast(term, "float32")
        t, s = k / steps, (k - 1.0) / steps
        estimate = denoise(noisy(t, i + 2), t)
        return bound - weight * total(divergence(schedule, x, estimate, t, s))

    bound = ops.fori_loop(0, num_samples, body, 0.0 * ones)
    first = ones / steps
    estimate = denoise(noisy(first, 1), first).data
    bound = bound + total(_log_cell(x, estimate, like(schedule.sigma(first), x), levels))
    alpha, sigma = schedule.alpha(ones) / schedule.prior_scale, schedule.sigma(ones) / schedule.prior_scale
    variance = like(ops.square(sigma), x)
    prior = 0.5 * (like(ops.square(alpha), x) * ops.square(x) + variance - 1.0 - ops.log(variance))
    return bound - total(prior)


def chances(schedule, steps):
    """How likely each of the terms k = 2 .. T is drawn: float32 tensor (T - 1,), of sum 1.

    Half of it is equal for all; half goes by (snr(t_{k-1}) - snr(t_k)) / (1 + snr(t_k)), twice what a term is for each value of standard normal
    data. Terms of little noise are far larger than others: drawn as often as these, they make up the scatter of the estimate.
    """
    snr = schedule.snr(ops.arange(1, steps + 1, dtype="float32") / steps)
    weight = (snr[:-1] - snr[1:]) / (1.0 + snr[1:])
    return 0.5 / (steps - 1) + 0.5 * weight / ops.sum(weight)


def divergence(schedule, x, estimate, t, s):
    """KL(q(x_s | x_t, x) || p(x_s | x_t)) of each value, nats: float tensor like x.

    Args:
        schedule: a ``Schedule``.
        x: float tensor (B, ...), the data.
        estimate: the ``Estimate`` from x_t.
        t, s: float tensors (B,), t > s > 0.
    """
    error = ops.square(x - estimate.data)
    if estimate.variance is None:
        return like(0.5 * (schedule.snr(s) - schedule.snr(t)), x) * error
    _, b, variance, widest = transition(schedule, t, s, x)
    log_variance = ops.log(variance)
    own = estimate.variance * ops.log(widest) + (1.0 - estimate.variance) * log_variance
    return 0.5 * (own - log_variance + (variance + ops.square(b) * error) * ops.exp(-own) - 1.0)


def _log_cell(x, mean, sigma, levels):
    """ln of a Gaussian's mass in the cell of the level x: half a level's distance to both sides, and all beyond the ends."""
    half = 1.0 / (levels - 1)

    def cdf(value):
        return 0.5 * ops.erfc(-(value - mean) / (sigma * math.sqrt(2.0)))

    def survival(value):
        return 0.5 * ops.erfc((value - mean) / (sigma * math.sqrt(2.0)))

    upper = ops.where(x > 1.0 - half, ops.ones_like(x), cdf(x + half))
    lower = ops.where(x < -1.0 + half, ops.zeros_like(x), cdf(x - half))
    # To the right of the mean the difference of survival functions keeps the digits that the difference of cdfs loses.
    upper_tail = ops.where(x > 1.0 - half, ops.zeros_like(x), survival(x + half))
    lower_tail = ops.where(x < -1.0 + half, ops.ones_like(x), survival(x - half))
    mass = ops.where(x > mean, lower_tail - upper_tail, upper - lower)
    return ops.log(ops.maximum(mass, 1e-37))
