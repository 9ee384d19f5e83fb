"""Finite scalar quantisation: each number of a vector is rounded to one of a few levels, and the codes are their combinations.

Reference:
    Mentzer et al., Finite scalar quantization: VQ-VAE made simple, 2024, Eq. 1 and appendix A.1, arXiv 2309.15505.
"""

import math

import keras
import numpy as np
from keras import ops

from kgen import backend
from kgen.core import checks
from kgen.layers.quantizer import perplexity_of

EDGE = 1e-3  # how far the outermost levels keep from where tanh saturates, as in the paper's code


@keras.saving.register_keras_serializable(package="kgen")
class FiniteScalarQuantizer(keras.layers.Layer):
    """Rounds number i of each vector to one of L_i levels: q_i = round(h_i tanh(z_i + s_i) - o_i) / (L_i // 2).

    h_i = (L_i - 1)(1 - 0.001)/2; where L_i is even the levels lie between whole numbers, o_i = 1/2 and tanh(s_i) = o_i/h_i, so that 0 stays
    0 and q is in [-1, 1); of two levels, which are -1 and 0, s_i = 0. There is no codebook to learn, none of whose codes die, and no loss.
    Gradients pass straight through the rounding. Takes the place of a ``VectorQuantizer``:
    ``VQVAE(shape, quantizer=FiniteScalarQuantizer((8, 5, 5)))``.

    Args:
        levels: L_i, each at least 2; the paper's are (8, 6, 5) for 240 codes, (8, 5, 5, 5) for 1,000, (7, 5, 5, 5, 5) for 4,375.
    Call:
        z: float tensor (B, ..., len(levels)). Returns as ``VectorQuantizer`` does, with losses of zero.
    """

    def __init__(self, levels=(8, 5, 5, 5), name="quantizer", dtype="float32", **kwargs):
        super().__init__(name=name, dtype=dtype, **kwargs)
        self.levels = checks.shape("levels", levels)
        if not self.levels or min(self.levels) < 2:
            raise ValueError(f"levels: expected at least one number, each at least 2, received {self.levels}.")
        self.dim, self.num_codes = len(self.levels), math.prod(self.levels)
        count = np.array(self.levels)
        self._half = ((count - 1) * (1 - EDGE) / 2).astype("float32")
        self._offset = np.where(count % 2 == 0, 0.5, 0.0).astype("float32")
        shift = np.where(count > 2, self._offset / self._half, 0.0)  # of two levels none is at 0: they meet there
        self._shift = np.arctanh(shift).astype("float32")
        self._width = (count // 2).astype("float32")
        self._basis = np.cumprod([1, *self.levels[:-1]]).astype("int32")
        self.built = True

    def _rounded(self, z):
        """Whole numbers, from -(L // 2) on, and what they were rounded from: float32 (..., dim) each."""
        half, shift, offset = (ops.convert_to_tensor(v) for v in (self._half, self._shift, self._offset))
        bounded = half * ops.tanh(ops.cast(z, "float32") + shift) - offset
        return ops.round(bounded), bounded

    def _codes(self, whole):
        digits = ops.cast(whole + ops.convert_to_tensor(self._width), "int32")
        return ops.cast(ops.sum(digits * ops.convert_to_tensor(self._basis), axis=-1), "int32")

    def nearest(self, z):
        """The code of each vector: int32 tensor (B, ...), for z (B, ..., dim)."""
        return self._codes(self._rounded(z)[0])

    def lookup(self, codes):
        """The vectors of codes: float32 tensor (B, ..., dim), for int tensor codes (B, ...) in [0, num_codes)."""
        basis, levels = (ops.convert_to_tensor(v) for v in (self._basis, np.array(self.levels, "int32")))
        digits = ops.cast(ops.expand_dims(codes, -1), "int32") // basis % levels
        width = ops.convert_to_tensor(self._width)
        return (ops.cast(digits, "float32") - width) / width

    def call(self, z, training=False):
        if tuple(z.shape[-1:]) != (self.dim,):
            raise ValueError(
                f"z: expected shape (B, ..., {self.dim}), a number for each of levels, received {z.shape}."
            )
        whole, bounded = self._rounded(z)
        codes = self._codes(ops.stop_gradient(whole))
        quantized = (bounded + ops.stop_gradient(whole - bounded)) / ops.convert_to_tensor(self._width)
        chosen = ops.one_hot(ops.reshape(codes, (-1,)), self.num_codes, dtype="float32")
        used = backend.replica_sum(ops.sum(chosen, axis=0))
        losses = ops.zeros((ops.shape(z)[0],), dtype="float32")
        return quantized, codes, losses, perplexity_of(used)

    def get_config(self):
        return {**super().get_config(), "levels": list(self.levels)}
