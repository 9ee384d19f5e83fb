"""Units of likelihood."""

import math


def bits_per_dim(log_prob, shape):
    """Nats per example to bits per dimension: -log_prob / (ln 2 * number of values in one example).

    Args:
        log_prob: float or array, log-probabilities of quantised data in nats.
        shape: shape of one example.
    """
    return -log_prob / (math.log(2.0) * math.prod(shape))
