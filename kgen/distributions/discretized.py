"""The likelihood of pixels that take equally spaced levels in [-1, 1], under logistic distributions."""

import math
import numbers

import keras
import numpy as np
from keras import ops

# At exp(-40) a logistic is a point mass to float32 long since. The bound keeps (edge - loc) / scale and its
# gradients below the largest float32 for any log_scale and any |loc| up to 1e20.
_MIN_LOG_SCALE = -40.0
_EDGES = 16  # between levels, that a mean looks at in one go


def discretized_logistic_log_prob(x, loc, log_scale, levels=256):
    """The log probability of one of ``levels`` equally spaced values in [-1, 1] under a logistic distribution.

    Level k stands at -1 + 2 k / (levels - 1) and owns the interval of width w = 2 / (levels - 1) around it; the
    intervals of the lowest and the highest level reach to -inf and +inf:

        P(x) = sigmoid(a) - sigmoid(b),   a = (x + w/2 - loc) / scale,   b = (x - w/2 - loc) / scale,

    with a = inf at the highest level and b = -inf at the lowest. The difference is not taken; as d = a - b = w / scale,

        log P(x) = log sigmoid(a) + log sigmoid(-b) + log(1 - exp(-d))

    exactly, which neither cancels nor underflows, however narrow the scale or distant the loc.

    Args:
        x: float tensor in [-1, 1]; each value counts as its nearest level, and a value outside as the nearest edge.
            No gradient reaches ``x``.
        loc: float tensor that broadcasts with ``x``, in units of ``x``. Gradients are finite for |loc| up to 1e20.
        log_scale: float tensor that broadcasts with ``x``, log of the logistic's scale in units of ``x``. Values
            below -40 count as -40 and have gradient 0.
        levels: int, at least 2.
    Returns:
        float tensor, the broadcast shape, nats; float32, or float64 where an argument is.
    Raises:
        TypeError: ``x`` holds integers.
        ValueError: ``levels`` is not an int of at least 2.
    Reference:
        Salimans et al., PixelCNN++, 2017, Eq. 2, arXiv 1701.05517.
    """
    x, loc, log_scale = _floats(x, loc, log_scale)
    if not isinstance(levels, numbers.Integral) or levels < 2:
        raise ValueError(f"`levels` must be an int of at least 2; received {levels!r}.")
    last = int(levels) - 1

    # Edges are computed from whole numbers, so that neighbours share theirs bit by bit and the probabilities sum to 1.
    k = ops.round((x + 1.0) * (0.5 * last))
    upper_edge = (2.0 * k + (1 - last)) / last
    lower_edge = (2.0 * k - (1 + last)) / last

    log_scale = ops.maximum(log_scale, _MIN_LOG_SCALE)
    inverse_scale = ops.exp(-log_scale)
    log_below_upper = -ops.softplus((loc - upper_edge) * inverse_scale)
    log_above_lower = -ops.softplus((lower_edge - loc) * inverse_scale)
    log_inside = log_below_upper + log_above_lower + _log_one_minus_exp_minus_exp(math.log(2.0 / last) - log_scale)
    return ops.where(k <= 0.0, log_below_upper, ops.where(k >= last, log_above_lower, log_inside))


def discretized_logistic_mixture_log_prob(x, logits, loc, log_scale, levels=256):
    """The log probability of equally spaced levels in [-1, 1] under a mixture of K discretized logistics per channel.

        log P(x_c) = logsumexp_k [log softmax(logits)_ck + log P(x_c | loc_ck, log_scale_ck)]

    Every channel has a mixture of its own; sum over channels (and pixels) for the log probability of an image.
    PixelCNN++ lets the channels of a pixel share one component instead: there logits are (..., K), and the pixel's
    log probability is ``logsumexp(log_softmax(logits) + sum_c discretized_logistic_log_prob(x[..., None], loc,
    log_scale), axis=-1)``, the sum over channels inside.

    Args:
        x: float tensor (..., C) in [-1, 1].
        logits: float tensor (..., C, K), unnormalised log weights.
        loc: float tensor (..., C, K), in units of ``x``.
        log_scale: float tensor (..., C, K), log of the scale in units of ``x``.
        levels: int, at least 2.
    Returns:
        float tensor (..., C), nats.
    Raises:
        TypeError: ``x`` holds integers.
        ValueError: a parameter does not have one axis more than ``x``, or the last axes differ; or as
            ``discretized_logistic_log_prob``.
    Reference:
        Salimans et al., PixelCNN++, 2017, Eq. 1 and 2, arXiv 1701.05517.
    """
    x, logits, loc, log_scale = _floats(x, logits, loc, log_scale)
    for name, value in (("logits", logits), ("loc", loc), ("log_scale", log_scale)):
        if len(value.shape) != len(x.shape) + 1 or value.shape[-1] != logits.shape[-1]:
            raise ValueError(
                f"`{name}` must have the axes of `x` and one more, of K components, K the same for all parameters; "
                f"received {name} {tuple(value.shape)} with x {tuple(x.shape)} and logits {tuple(logits.shape)}. "
                "Repeat parameters that channels share along the channel axis."
            )
    log_prob = discretized_logistic_log_prob(x[..., None], loc, log_scale, levels)
    return ops.logsumexp(ops.log_softmax(logits, axis=-1) + log_prob, axis=-1)


def discretized_logistic_mixture_mean(logits, loc, log_scale, levels=256):
    """The mean of equally spaced levels in [-1, 1] under a mixture of K discretized logistics per channel.

        E[x] = 1 - w sum_{k=0}^{levels-2} F(e_k),   e_k = -1 + (2 k + 1) / (levels - 1),   w = 2 / (levels - 1),

    where F is the mixture's distribution function and e_k the edge above level k: x is 1 less w for each edge that it stays below. It is not
    the mean of the ``loc`` where a component reaches past -1 or 1, whose mass beyond counts as the outermost level, or is narrower than a level.

    Args:
        logits: float tensor (..., C, K), unnormalised log weights.
        loc: float tensor (..., C, K), in units of x.
        log_scale: float tensor (..., C, K), log of the scale in units of x; below -40 it counts as -40.
        levels: int, at least 2.
    Returns:
        float tensor (..., C), in [-1, 1].
    Raises:
        ValueError: ``levels`` is not an int of at least 2.
    """
    logits, loc, log_scale = _floats(logits, loc, log_scale)
    if not isinstance(levels, numbers.Integral) or levels < 2:
        raise ValueError(f"`levels` must be an int of at least 2; received {levels!r}.")
    last = int(levels) - 1
    weights, inverse_scale = ops.softmax(logits, axis=-1), ops.exp(-ops.maximum(log_scale, _MIN_LOG_SCALE))
    # A few edges at a time: all of 256 levels would be 255 numbers for each of a component's.
    chunk = min(last, _EDGES)
    edges = np.zeros(-(-last // chunk) * chunk)
    edges[:last] = (2.0 * np.arange(last) + 1.0) / last - 1.0
    counts = np.arange(len(edges)) < last  # the last chunk may have places to spare
    edges, counts = (
        ops.convert_to_tensor(a.reshape(-1, chunk, 1).astype("float64"), dtype=loc.dtype) for a in (edges, counts)
    )

    def add(i, below):
        z = (ops.take(edges, i, axis=0) - loc[..., None, :]) * inverse_scale[..., None, :]
        return below + ops.sum(ops.sigmoid(z) * ops.take(counts, i, axis=0) * weights[..., None, :], axis=(-2, -1))

    below = ops.fori_loop(0, int(edges.shape[0]), add, ops.zeros_like(loc[..., 0]))
    return ops.clip(1.0 - (2.0 / last) * below, -1.0, 1.0)  # but for rounding, it is inside


def _floats(x, *parameters):
    """The tensors in one float dtype of at least 32 bits: half precision cannot tell 256 levels apart near 1."""
    x, *parameters = tensors = [ops.convert_to_tensor(value) for value in (x, *parameters)]
    if keras.backend.is_int_dtype(x.dtype):
        raise TypeError(
            f"`x` must be a float tensor in [-1, 1]; received {keras.backend.standardize_dtype(x.dtype)}. "
            "Rescale pixels 0..255 by x / 127.5 - 1."
        )
    dtype = keras.backend.result_type("float32", *(tensor.dtype for tensor in tensors))
    return [ops.cast(tensor, dtype) for tensor in tensors]


def _log_one_minus_exp_minus_exp(u):
    """log(1 - exp(-d)), d = exp(u): by series where d is small, so that it falls like u instead of reaching log 0."""
    d = ops.exp(u)
    series = u - d / 2.0 + d * d / 24.0  # the next term, d^4 / 2880, is below 1e-11 here
    return ops.where(d < 0.01, series, ops.log(-ops.expm1(-ops.maximum(d, 0.01))))
