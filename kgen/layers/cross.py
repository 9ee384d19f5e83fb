"""Attention from a map to a sequence."""

import math

import keras
from keras import ops

from kgen.layers.norm import GroupNormalization


@keras.saving.register_keras_serializable(package="kgen")
class CrossAttention(keras.layers.Layer):
    """Each pixel of a feature map looks at the tokens that count, with group normalisation before and a residual around.

    y = x + W_o softmax(q k^T / sqrt(d)) v, q linear in GroupNorm(x), k and v in the tokens and one learned token that always counts, so
    that a row without tokens has something to look at. W_o starts at zero.

    Args:
        heads: number of heads; divides the channels.
        groups: groups of the normalisation; divides the channels.
    Call:
        [x, tokens, mask]: float (B, ..., C), such as (B, H, W, C); float (B, L, D); float (B, L), 1 where a token counts. Returns float (B, ..., C).
    Reference:
        Rombach et al., High-resolution image synthesis with latent diffusion models, 2022, section 3.3, arXiv 2112.10752.
    """

    def __init__(self, heads=1, groups=8, **kwargs):
        super().__init__(**kwargs)
        self.heads, self.groups = heads, groups

    def build(self, input_shape):
        x, tokens, _ = input_shape
        channels = x[-1]
        if channels % self.heads:
            raise ValueError(f"heads: expected a divisor of the {channels} channels, received {self.heads}.")
        self.norm = GroupNormalization(self.groups, dtype=self.dtype_policy, name="norm")
        self.norm.build(x)
        start = keras.initializers.RandomNormal(stddev=0.02)
        self.nothing = self.add_weight(shape=(1, 1, tokens[-1]), initializer=start, name="nothing")
        for name, width in (("query", channels), ("key", tokens[-1]), ("value", tokens[-1]), ("output", channels)):
            kernel = "zeros" if name == "output" else "glorot_uniform"
            layer = keras.layers.Dense(channels, kernel_initializer=kernel, dtype=self.dtype_policy, name=name)
            layer.build((None, None, width))
            setattr(self, f"{name}_dense", layer)

    def call(self, inputs):
        x, tokens, mask = inputs
        pixels, channels = math.prod(x.shape[1:-1]), x.shape[-1]
        nothing = ops.zeros_like(tokens[:, :1]) + ops.cast(ops.convert_to_tensor(self.nothing), tokens.dtype)
        tokens = ops.concatenate([nothing, tokens], axis=1)
        counts = ops.concatenate([ops.ones_like(mask[:, :1]), mask], axis=1) > 0.5

        def heads(layer, values, size):
            return ops.reshape(layer(values), (-1, size, self.heads, channels // self.heads))

        length = tokens.shape[1]
        query = heads(self.query_dense, ops.reshape(self.norm(x), (-1, pixels, channels)), pixels)
        key, value = heads(self.key_dense, tokens, length), heads(self.value_dense, tokens, length)
        # Written out: a mask that differs from row to row is not taken by every backend's fused kernel.
        scores = ops.einsum("bqhd,bkhd->bhqk", query, key) / (channels // self.heads) ** 0.5
        scores = ops.where(counts[:, None, None, :], ops.cast(scores, "float32"), -1e9)
        weights = ops.cast(ops.softmax(scores, axis=-1), value.dtype)
        out = self.output_dense(ops.reshape(ops.einsum("bhqk,bkhd->bqhd", weights, value), (-1, pixels, channels)))
        return x + ops.reshape(out, (-1, *x.shape[1:]))

    def compute_output_shape(self, input_shape):
        return input_shape[0]

    def get_config(self):
        return {**super().get_config(), "heads": self.heads, "groups": self.groups}
