"""The partition function Z of a restricted Boltzmann machine: by enumeration, and by annealed importance sampling.

Reference:
    Neal, Annealed importance sampling, 2001; Salakhutdinov & Murray, On the quantitative analysis of deep belief networks, 2008.
"""

import typing

import numpy as np
from keras import ops

from kgen.energy import gibbs
from kgen.energy.gibbs import Weights

ENUMERABLE = 20  # hidden units whose 2^H states are summed over in seconds


class Partition(typing.NamedTuple):
    """An estimate of ln Z in nats, and the interval of 3 standard errors of Z around it; ``low`` may be -inf."""

    log_z: float
    low: float
    high: float


def log_joint(visible, weights, states):
    """ln of the sum of exp(-E(v, h)) over all v, for hidden states that are numbered by their bits.

    Args:
        visible: ``Visible``.
        weights: ``Weights`` of H hidden units.
        states: int32 tensor (B,) in [0, 2^H).
    Returns:
        float32 tensor (B,); its log-sum-exp over all states is ln Z.
    """
    units = ops.arange(weights.hidden_bias.shape[0], dtype="int32")
    h = ops.cast(ops.bitwise_and(ops.right_shift(states[:, None], units[None]), 1), "float32")
    return ops.matmul(h, weights.hidden_bias) + visible.log_sum(weights.visible_bias, gibbs.field(weights, h))


def log_sum_exp(values):
    """ln sum exp(values), numpy in float64."""
    values = np.asarray(values, "float64")
    return float(values.max() + np.log(np.exp(values - values.max()).sum()))


def _between(base_bias, weights, beta):
    """The machine at inverse temperature beta: independent visible units of bias ``base_bias`` at 0, ``weights`` at 1."""
    bias = (1.0 - beta) * base_bias + beta * weights.visible_bias
    return Weights(bias, beta * weights.hidden_bias, beta * weights.kernel)


def log_base_partition(visible, base_bias, hidden):
    """ln Z at beta = 0, where the visible units are independent and each hidden unit doubles the sum: a scalar tensor."""
    return visible.log_sum(base_bias, ops.zeros((1, base_bias.shape[0])))[0] + hidden * float(np.log(2.0))


def anneal(visible, base_bias, weights, seeds, temperatures):
    """The log-weights of annealed importance sampling, one chain for each seed.

    ln w = sum_k F_k-1(v_k) - F_k(v_k), where F_k is the free energy at beta_k = k / K, v_1 comes from the base and v_k+1 from v_k by a
    Gibbs step at beta_k. E[w] = Z / Z_0.

    Args:
        visible: ``Visible``.
        base_bias: float32 tensor (D,).
        weights: ``Weights``.
        seeds: int32 tensor (B, 2), row seeds.
        temperatures: K, at least 1.
    Returns:
        float32 tensor (B,), nats.
    Reference:
        Salakhutdinov & Murray 2008, Eq. 13 to 18.
    """
    nothing = ops.zeros((ops.shape(seeds)[0], base_bias.shape[0]))
    v = visible.sample(base_bias, nothing, seeds, 0)

    def body(k, carry):
        v, log_w = carry
        beta = ops.cast(k, "float32") / temperatures
        before = _between(base_bias, weights, beta - 1.0 / temperatures)
        now = _between(base_bias, weights, beta)
        log_w = log_w + gibbs.free_energy(visible, before, v) - gibbs.free_energy(visible, now, v)
        return gibbs.step(visible, now, v, seeds, 2 * k), log_w

    return ops.fori_loop(1, temperatures + 1, body, (v, ops.zeros_like(nothing[:, 0])))[1]


def estimate(log_weights, log_base):
    """The ``Partition`` from log-weights (M,) and ln Z_0: Z = Z_0 mean(w), +- 3 std(w) / sqrt(M)."""
    log_weights = np.asarray(log_weights, "float64")
    top = log_weights.max()
    w = np.exp(log_weights - top)
    mean, error = w.mean(), 3.0 * w.std(ddof=1) / np.sqrt(len(w))
    log_z, high = log_base + top + np.log(mean), log_base + top + np.log(mean + error)
    low = log_base + top + np.log(mean - error) if mean > error else -np.inf
    return Partition(float(log_z), float(low), float(high))
