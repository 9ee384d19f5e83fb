"""Embeddings of numbers."""

import math

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kgen")
class SinusoidalEmbedding(keras.layers.Layer):
    """Embeds a time as cosines and sines of geometrically spaced frequencies.

    emb(t) = [cos(w_i (s t + o)), sin(w_i (s t + o))], w_i = 10000^(-i / (d/2 - f)), i = 0 .. d/2 - 1.

    Args:
        dim: d, an even number.
        scale: s, the factor that brings a time in [0, 1] to the 0..1000 for which the frequencies are made.
        offset: o: -1 where steps are counted from 0.
        freq_shift: f: 1 where the last frequency is 1/10000, as in Ho et al.'s code.
    Call:
        t: float tensor (B,). Returns float tensor (B, dim).
    Reference:
        Vaswani et al., Attention is all you need, 2017, section 3.5; Ho et al., DDPM, 2020, appendix B.
    """

    def __init__(self, dim, scale=1000.0, offset=0.0, freq_shift=0.0, **kwargs):
        # In float32 whatever the policy, t as well: bfloat16 cannot tell 0.999 from 1.0, nor 999 from 1000.
        super().__init__(**{"autocast": False, **kwargs})
        if dim < 2 or dim % 2:
            raise ValueError(f"dim: expected an even number of at least 2, received {dim}.")
        if freq_shift and not 0 <= freq_shift < dim // 2:
            raise ValueError(
                f"freq_shift: expected at least 0 and less than {dim // 2}, half of dim, received {freq_shift}."
            )
        self.dim, self.scale, self.offset, self.freq_shift = dim, scale, offset, freq_shift

    def call(self, t):
        half = self.dim // 2
        frequencies = ops.exp(-math.log(10000.0) * ops.arange(half, dtype="float32") / (half - self.freq_shift))
        angles = (ops.cast(t, "float32")[:, None] * self.scale + self.offset) * frequencies
        return ops.cast(ops.concatenate([ops.cos(angles), ops.sin(angles)], axis=-1), self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.dim)

    def get_config(self):
        own = {"dim": self.dim, "scale": self.scale, "offset": self.offset, "freq_shift": self.freq_shift}
        return {**super().get_config(), **own}
