"""The Jacobian of a flow by autodiff, which its log-determinants are held to."""

import keras
import numpy as np
from keras import ops

from kgen import backend


def jacobian(fn, x):
    """``fn(x)`` and dfn(x)/dx of each row: float32 (B, ...), and float64 (B, D, D).

    Args:
        fn: a function of a float32 tensor (B, ...) whose rows do not depend on one another.
        x: float32 (B, ...).
    """

    def both(x):
        y, pull = backend.vjp(fn, x)
        size = int(np.prod(y.shape[1:]))
        one = np.eye(size, dtype="float32").reshape(size, 1, *y.shape[1:])
        lines = [pull(ops.convert_to_tensor(np.broadcast_to(e, y.shape))) for e in one]
        return y, ops.stack([ops.reshape(line, (len(x), -1)) for line in lines], axis=1)

    jit = (
        backend.jit if keras.config.backend() == "jax" else lambda fn: fn
    )  # JAX compiles each operation by itself else
    y, found = jit(both)(ops.convert_to_tensor(x))
    return ops.convert_to_numpy(y), ops.convert_to_numpy(found).astype("float64")
