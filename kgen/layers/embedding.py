"""Embeddings of numbers."""

import math

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kgen")
class SinusoidalEmbedding(keras.layers.Layer):
    """Embeds a time as cosines and sines of geometrically spaced frequencies.

    emb(t) = [cos(w_i s t), sin(w_i s t)], w_i = 10000^(-i / (d/2)), i = 0 .. d/2 - 1.

    Args:
        dim: d, an even number.
        scale: s, the factor that brings a time in [0, 1] to the 0..1000 for which the frequencies are made.
    Call:
        t: float tensor (B,). Returns float tensor (B, dim).
    Reference:
        Vaswani et al., Attention is all you need, 2017, section 3.5; Ho et al., DDPM, 2020, appendix B.
    """

    def __init__(self, dim, scale=1000.0, **kwargs):
        # In float32 whatever the policy, t as well: bfloat16 cannot tell 0.999 from 1.0, nor 999 from 1000.
        super().__init__(**{"autocast": False, **kwargs})
        if dim < 2 or dim % 2:
            raise ValueError(f"dim: expected an even number of at least 2, received {dim}.")
        self.dim, self.scale = dim, scale

    def call(self, t):
        half = self.dim // 2
        frequencies = ops.exp(-math.log(10000.0) * ops.arange(half, dtype="float32") / half)
        angles = ops.cast(t, "float32")[:, None] * self.scale * frequencies
        return ops.cast(ops.concatenate([ops.cos(angles), ops.sin(angles)], axis=-1), self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.dim)

    def get_config(self):
        return {**super().get_config(), "dim": self.dim, "scale": self.scale}
