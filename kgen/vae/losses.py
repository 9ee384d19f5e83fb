"""The divergence term of the evidence lower bound."""

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
