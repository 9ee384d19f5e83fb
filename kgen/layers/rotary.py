"""Rotary positions: queries and keys are turned by angles in proportion to their positions."""

import math

from keras import ops

from kgen.core import checks


def rotary_angles(positions, dim, base=10000.0):
    """Cosines and sines of the angles p w_i, w_i = base^(-2 i / d), i = 0 .. d/2 - 1.

    Args:
        positions: int tensor (B, T).
        dim: d, an even number: the size of one head.
        base: the slowest angle's period is about 2 pi ``base`` positions.
    Returns:
        pair of float32 tensors (B, 1, T, d/2), which broadcast over heads.
    Raises:
        ValueError: ``dim`` is odd.
    Reference:
        Su et al., RoFormer: enhanced transformer with rotary position embedding, 2021, Eq. 15, arXiv 2104.09864.
    """
    if checks.positive_int("dim", dim) % 2:
        raise ValueError(f"dim: rotary positions turn pairs of numbers, so a head needs an even size, received {dim}.")
    frequencies = ops.exp(-math.log(base) * 2.0 / dim * ops.arange(dim // 2, dtype="float32"))
    # In float32 whatever the policy: bfloat16 cannot tell position 999 from 1000.
    angles = ops.cast(positions, "float32")[:, None, :, None] * frequencies
    return ops.cos(angles), ops.sin(angles)


def rotate(x, cos, sin):
    """Turns each pair (x_i, x_{i + d/2}) by its angle: dot products of turned vectors depend on the positions' difference alone.

    Args:
        x: float tensor (B, heads, T, d).
        cos, sin: what ``rotary_angles`` gives.
    Returns:
        float tensor shaped like ``x``.
    """
    cos, sin = ops.cast(cos, x.dtype), ops.cast(sin, x.dtype)
    a, b = ops.split(x, 2, axis=-1)
    return ops.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)
