"""UniPC: each step is corrected by the estimate at its end, which the next step makes anyway."""

import keras
from keras import ops

from kgen.diffusion.multistep import MultistepSampler, log_ratio, quotient, slope
from kgen.diffusion.predictions import LEAST
from kgen.diffusion.samplers import levels
from kgen.diffusion.schedules import at_least, like


@keras.saving.register_keras_serializable(package="kgen")
class UniPCSampler(MultistepSampler):
    """UniPC of order two with B(h) = e^-h - 1 (bh2), for estimates of the data: deterministic given x_1.

    The predictor is DPM-Solver++(2M). With m at t, m' and m'' one and two steps before, h' the last step in lambda = ln alpha/sigma, and
    k = (lambda'' - lambda')/h', x_t is first corrected to

        x_t = sigma_t/sigma' x' + alpha_t (1 - e^-h') (m' + p (m'' - m')/k + q (m - m')),

    where p + q = b_1 and p k + q = b_2, b_1 = 1/(1 - e^-h') - 1/h' and b_2 = 1/(1 - e^-h') - 2 b_1/h': without m'', p = 0 and q = 1/2. The estimate m
    is that of x_t as it was before. The last step, to no noise at all, is of order one.

    Args:
        steps: number of steps, a call each.
        grid: as in ``Sampler``.
    Reference:
        Zhao et al., UniPC: a unified predictor-corrector framework for fast sampling of diffusion models, 2023, Algorithms 5 and 6,
        arXiv 2302.04867.
    """

    alias = "unipc"
    memory = 2

    def __init__(self, steps=20, grid="log_snr"):
        super().__init__(steps, 2, grid)

    def init(self, x, taken=None):
        """Those of ``MultistepSampler``, between ``x`` and them DDIM's step to x from the corrected one before."""
        first, *rest = super().init(x)
        return (first, ops.zeros_like(x), *rest)

    def step(self, denoise, schedule, carry, t, s, seeds, i):
        x, base, *rest = carry
        rest = (x, *rest)
        newer, older = self.past(rest)
        data, noise, _ = denoise(x, t)
        (alpha_t, sigma_t), (alpha, sigma) = levels(schedule, t, x), levels(schedule, s, x)
        place = log_ratio(schedule, t)

        back = place - newer.place
        gain = -ops.expm1(-back)
        p, q = _weights(back, quotient(older.place - newer.place, back, older.known), gain, newer.known, older.known)
        change = slope(newer.value, newer.place, back, older)  # (m'' - m')/k
        corrected = base + alpha_t * like(gain, x) * (like(p, x) * change + like(q, x) * (data - newer.value))
        corrected = ops.where(like(newer.known, x) > 0, corrected, x)

        h = log_ratio(schedule, s) - place
        base = alpha * data + sigma * (noise + (corrected - x) / at_least(sigma_t, LEAST))
        more = like(-0.5 * ops.expm1(-h), x) * slope(data, place, h, newer)
        new, *rest = self.kept(ops.where(sigma > 0, base + alpha * more, base), data, place, rest)
        return (new, base, *rest)


def _weights(h, k, gain, known, older):
    """p and q of the corrector: (B,)."""
    one = ops.ones_like(h)
    by_gain, by_h = quotient(one, gain, known), quotient(one, h, known)
    b_1 = by_gain - by_h
    p = quotient(b_1 - (by_gain - 2.0 * b_1 * by_h), 1.0 - k, older)
    return p, ops.where(older, b_1 - p, 0.5 * one)
