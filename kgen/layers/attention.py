"""Attention."""

import math

import keras
from keras import ops

from kgen.layers.norm import GroupNormalization


@keras.saving.register_keras_serializable(package="kgen")
class SpatialAttention(keras.layers.Layer):
    """Self-attention over the pixels of a feature map, with group normalisation before and a residual around.

    y = x + W_o softmax(q k^T / sqrt(d)) v, where q, k, v are linear in GroupNorm(x). W_o starts at zero, so that the layer starts as the identity
    and what it adds grows as it learns what to look at.

    Args:
        heads: number of heads; divides the channels.
        groups: groups of the normalisation; divides the channels.
        epsilon: what the normalisation adds to the variance.
    Call:
        x: float tensor (B, ..., C): maps (B, H, W, C), sequences (B, T, C). Returns the same shape.
    Reference:
        Ho et al., Denoising diffusion probabilistic models, 2020, appendix B, arXiv 2006.11239;
        Dhariwal & Nichol, Diffusion models beat GANs on image synthesis, 2021, arXiv 2105.05233 (its code: `proj_out` starts at zero).
    """

    def __init__(self, heads=1, groups=8, epsilon=1e-5, **kwargs):
        super().__init__(**kwargs)
        self.heads, self.groups, self.epsilon = heads, groups, epsilon

    def build(self, input_shape):
        channels = input_shape[-1]
        if channels % self.heads:
            raise ValueError(f"heads: expected a divisor of the {channels} channels, received {self.heads}.")
        self.norm = GroupNormalization(self.groups, self.epsilon, dtype=self.dtype_policy, name="norm")
        self.norm.build(input_shape)
        tokens = (input_shape[0], None, channels)
        for name in ("query", "key", "value", "output"):
            start = "zeros" if name == "output" else "glorot_uniform"
            layer = keras.layers.Dense(channels, kernel_initializer=start, dtype=self.dtype_policy, name=name)
            layer.build(tokens)
            setattr(self, f"{name}_dense", layer)

    def call(self, x):
        pixels, channels = math.prod(x.shape[1:-1]), x.shape[-1]
        tokens = ops.reshape(self.norm(x), (-1, pixels, channels))

        def heads(layer):
            return ops.reshape(layer(tokens), (-1, pixels, self.heads, channels // self.heads))

        attended = ops.dot_product_attention(heads(self.query_dense), heads(self.key_dense), heads(self.value_dense))
        out = self.output_dense(ops.reshape(attended, (-1, pixels, channels)))
        return x + ops.reshape(out, (-1, *x.shape[1:]))

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "heads": self.heads, "groups": self.groups, "epsilon": self.epsilon}
