"""What a loss adds to the reconstruction term: divergences of each posterior, and of all of them together, from the prior."""

from keras import ops

from kgen import backend, distributions


def divergence(q, p, z):
    """KL(q || p) in closed form where there is one, else its estimate from samples.

    Args:
        q: distributions of z, a batch of B.
        p: the prior of one z.
        z: float tensor (B, d), a sample of each q.
    Returns:
        float32 tensor (B,), nats.
    """
    try:
        return distributions.kl_divergence(q, p)
    except NotImplementedError:
        return q.log_prob(z) - p.log_prob(z)


def beyond_free_bits(kl, free_bits, weight=None):
    """Losses whose mean is max(free_bits, mean of ``kl``), over the whole batch, that of all replicas.

    Args:
        kl: float tensor (B,), nats.
        free_bits: nats that cost nothing.
        weight: sample weights (B,), of both means; or None.
    Returns:
        float tensor (B,): ``kl``, or ``free_bits`` for every row.
    Reference:
        Kingma et al., Improved variational inference with inverse autoregressive flow, 2016, Eq. 15, arXiv 1606.04934.
    """
    if not free_bits:
        return kl
    weight = ops.ones_like(kl) if weight is None else ops.cast(weight, kl.dtype)
    total, count = (backend.replica_sum(ops.sum(v)) for v in (ops.stop_gradient(kl) * weight, weight))
    return ops.where(total > free_bits * count, kl, free_bits)


def mean_discrepancy(a, b, weight=None):
    """The squared maximum mean discrepancy of two samples: 0 on average where they are of one distribution.

    mean_{i != j} k(a_i, a_j) + mean_{i != j} k(b_i, b_j) - 2 mean_{ij} k(a_i, b_j), with k(x, y) = sum_s C s / (C s + |x - y|^2) over
    s in 0.1, 0.2, 0.5, 1, 2, 5, 10, and C = 2 d, the mean squared distance of two draws from N(0, I).

    Args:
        a, b: float tensors (B, d).
        weight: what each of a counts for in the means, (B,); or None.
    Returns:
        float32 scalar tensor, which may be a little below 0.
    Reference:
        Tolstikhin et al., Wasserstein auto-encoders, 2018, Algorithm 2 and section 4, arXiv 1711.01558; Gretton et al. 2012.
    """

    def kernel(x, y):
        distance = ops.sum(ops.square(x[:, None] - y[None]), axis=-1)
        return sum(2.0 * a.shape[-1] * s / (2.0 * a.shape[-1] * s + distance) for s in SCALES)

    def within(x, weight):
        pairs = ops.sum(weight) ** 2 - ops.sum(ops.square(weight))
        total = ops.sum(kernel(x, x) * weight[:, None] * weight) - len(SCALES) * ops.sum(ops.square(weight))
        return total / ops.where(pairs > 0, pairs, 1.0)

    equal = ops.ones_like(b[:, 0])
    weight = ops.ones_like(a[:, 0]) if weight is None else ops.cast(weight, a.dtype)
    across = ops.sum(ops.mean(kernel(a, b), axis=1) * weight) / ops.maximum(ops.sum(weight), 1e-12)
    return within(a, weight) + within(b, equal) - 2.0 * across


SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
