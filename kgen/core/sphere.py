"""Ways between vectors, on a sphere and straight."""

import numpy as np
from keras import ops

from kgen.core import checks


def slerp(a, b, steps=8):
    """Points on the great circle between vectors. Their lengths change evenly from that of the one to that of the other.

    A straight line between two draws of N(0, I) in many dimensions passes through vectors much shorter than any draw; this way does not.

    Args:
        a, b: float arrays (N, D).
        steps: number of points, ends included, at least 2.
    Returns:
        numpy float32 array (N, steps, D).
    Raises:
        ValueError: shapes differ, a vector is 0, or two vectors point in opposite directions, between which there is no one way.
    Reference:
        White, Sampling Generative Networks, 2016, Section 2.1, arXiv 1609.04468.
    """
    a, b = np.asarray(a, "float64"), np.asarray(b, "float64")
    checks.pairs(a, b, steps)
    if a.ndim != 2:
        raise ValueError(f"a, b: expected vectors (N, D), received shape {a.shape}.")
    lengths = [np.linalg.norm(v, axis=1, keepdims=True) for v in (a, b)]
    if min(length.min() for length in lengths) == 0:
        raise ValueError("a, b: expected vectors other than 0, which has no direction.")
    a, b = a / lengths[0], b / lengths[1]
    cosine = np.clip((a * b).sum(1), -1.0, 1.0)
    if cosine.min() < -1.0 + 1e-9:
        raise ValueError(
            f"a, b: row {int(cosine.argmin())} of both point in opposite directions; no way is shorter than another."
        )
    angle = np.arccos(cosine)[:, None, None]
    share = np.linspace(0.0, 1.0, steps)[None, :, None]
    sine = np.where(angle < 1e-6, 1.0, np.sin(angle))
    first = np.where(angle < 1e-6, 1.0 - share, np.sin((1.0 - share) * angle) / sine)
    second = np.where(angle < 1e-6, share, np.sin(share * angle) / sine)
    length = (1.0 - share) * lengths[0][:, None] + share * lengths[1][:, None]
    return (length * (first * a[:, None] + second * b[:, None])).astype("float32")


def slerp_rows(a, b, share):
    """As ``slerp``, of tensors, one point of each way: float tensor (B, D).

    Args:
        a, b: float tensors (B, D); of opposite directions any way is taken.
        share: float tensor (B,), of the way, in [0, 1].
    """
    lengths = [ops.sqrt(ops.sum(ops.square(v), axis=1, keepdims=True)) for v in (a, b)]
    a, b = (v / ops.maximum(length, 1e-6) for v, length in zip((a, b), lengths, strict=True))
    angle = ops.arccos(ops.clip(ops.sum(a * b, axis=1, keepdims=True), -1.0, 1.0))
    angle = ops.maximum(angle, 1e-4)  # sin(s angle)/sin(angle) is s there, to 1e-8
    share = ops.reshape(share, (-1, 1))
    way = (ops.sin((1.0 - share) * angle) * a + ops.sin(share * angle) * b) / ops.sin(angle)
    return way * ((1.0 - share) * lengths[0] + share * lengths[1])


def straight(a, b, steps=8):
    """Points on the straight line between vectors (N, D), ends included: numpy float32 array (N, steps, D)."""
    share = np.linspace(0.0, 1.0, steps, dtype="float32")[None, :, None]
    return (1.0 - share) * a[:, None] + share * b[:, None]
