"""Adams-Bashforth samplers: a polynomial through the last estimates of the noise, integrated over the step."""

import keras
from keras import ops

from kgen.diffusion.multistep import MultistepSampler, log_ratio
from kgen.diffusion.samplers import levels
from kgen.diffusion.schedules import like


class AdamsSampler(MultistepSampler):
    """Base class. In y = x/alpha and r = sigma/alpha the probability flow is dy/dr = eps, so that

        x_s = alpha_s (y_t + sum_j c_j eps_j) = alpha_s x_0 + sigma_s eps + alpha_s sum_(j > 0) c_j (eps_j - eps),

    where c_j is the integral over r, from r_t to r_s, of the Lagrange polynomial of eps_j, the estimate of j steps before. The second form
    is DDIM's step and what is added to it; it divides by nothing. The polynomials are products of (v - v_k)/(v_j - v_k), with v = 0 at t
    and 1 at s. A step that a row has not taken is a node at infinity: its factor is 1.

    A subclass says in which coordinate they are polynomials, and what the integrals of 1, v, v^2 ... are.
    """

    def nodes(self, schedule, t, s, past):
        """v of the steps before, a list of (B,)."""
        raise NotImplementedError

    def moments(self, schedule, t, s, alpha, sigma):
        """alpha_s times the integrals of v^m dr from t to s for m < order: a list of (B,)."""
        raise NotImplementedError

    def step(self, denoise, schedule, carry, t, s, seeds, i):
        x, past = carry[0], self.past(carry)
        data, noise, _ = denoise(x, t)
        alpha, sigma = levels(schedule, s, x)
        new = alpha * data + sigma * noise
        if past:
            flat = ops.reshape(alpha, (-1,)), ops.reshape(sigma, (-1,))
            nodes, moments = self.nodes(schedule, t, s, past), self.moments(schedule, t, s, *flat)
            for j, one in enumerate(past):
                others = [(nodes[k], other.known) for k, other in enumerate(past) if k != j]
                polynomial = _product(nodes[j], one.known, [(ops.zeros_like(nodes[j]), one.known), *others])
                weight = sum(c * m for c, m in zip(polynomial, moments, strict=True))
                new = new + like(ops.where(one.known, weight, ops.zeros_like(weight)), x) * (one.value - noise)
        return self.kept(new, noise, log_ratio(schedule, t), carry)


def _product(node, known, others):
    """The coefficients, from v^0 on, of the product of (v - other)/(node - other) over the ``others`` that are known."""
    polynomial = [ops.ones_like(node)]
    for other, there in others:
        there = ops.logical_and(known, there)
        away = ops.where(there, node - other, ops.ones_like(node))
        constant = ops.where(there, -other / away, ops.ones_like(node))
        linear = ops.where(there, 1.0 / away, ops.zeros_like(node))
        terms = [constant * c for c in polynomial] + [ops.zeros_like(node)]
        polynomial = [a + b for a, b in zip(terms, [0.0, *[linear * c for c in polynomial]], strict=True)]
    return polynomial


def _not_zero(values):
    return ops.where(ops.equal(values, 0.0), ops.ones_like(values), values)


@keras.saving.register_keras_serializable(package="kgen")
class LMSSampler(AdamsSampler):
    """Linear multistep: polynomials in r = sigma/alpha. Deterministic given x_1.

    The last step, to r = 0, has the full order too.

    Args:
        steps: number of steps, a call each.
        grid: as in ``Sampler``.
        order: 1 to 4.
    Reference:
        Crowson, k-diffusion (``sample_lms``), 2022; Hairer, Norsett & Wanner, Solving ordinary differential equations I, 1993, section III.5.
    """

    alias = "lms"
    orders = (1, 2, 3, 4)

    def __init__(self, steps=20, grid="karras", order=4):
        super().__init__(steps, order, grid)

    def _span(self, schedule, t, s):
        """r_t and r_s."""
        start, end = (ops.exp(-log_ratio(schedule, u)) for u in (t, s))
        return start, ops.where(s > 0, end, ops.zeros_like(end))

    def nodes(self, schedule, t, s, past):
        start, end = self._span(schedule, t, s)
        return [(ops.exp(-one.place) - start) / _not_zero(end - start) for one in past]

    def moments(self, schedule, t, s, alpha, sigma):
        start, end = self._span(schedule, t, s)
        return [alpha * (end - start) / (m + 1) for m in range(self.order)]


@keras.saving.register_keras_serializable(package="kgen")
class DEISSampler(AdamsSampler):
    """tAB-DEIS with log rho: polynomials in ln r, r = sigma/alpha. Deterministic given x_1.

    With h = ln r_s/r_t the integrals are r_t h M_m, M_m = int_0^1 v^m e^(h v) dv: M_0 = (e^h - 1)/h and M_m = (e^h - m M_(m-1))/h. The last
    step, to ln r = -infinity, is DDIM's.

    Args:
        steps: number of steps, a call each.
        grid: as in ``Sampler``.
        order: 1 to 3.
    Reference:
        Zhang & Chen, Fast sampling of diffusion models with exponential integrator, 2023, section 3.3 and appendix H, arXiv 2204.13902.
    """

    alias = "deis"

    def __init__(self, steps=20, grid="log_snr", order=3):
        super().__init__(steps, order, grid)

    def nodes(self, schedule, t, s, past):
        start, end = log_ratio(schedule, t), log_ratio(schedule, s)
        return [(start - one.place) / _not_zero(start - end) for one in past]

    def moments(self, schedule, t, s, alpha, sigma):
        start = log_ratio(schedule, t)
        h = _not_zero(start - log_ratio(schedule, s))
        found = [ops.expm1(h) / h]
        for m in range(1, self.order):
            found.append((ops.exp(h) - m * found[-1]) / h)
        scale = ops.where(sigma > 0, alpha * ops.exp(-start) * h, ops.zeros_like(h))
        return [scale * moment for moment in found]
