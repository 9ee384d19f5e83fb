"""Self-attention under a mask, with keys and values kept from one call to the next."""

import random

import keras
from keras import layers, ops

from kgen.layers.rotary import rotate


@keras.saving.register_keras_serializable(package="kgen")
class MaskedAttention(layers.Layer):
    """Multi-head self-attention in which the caller says who sees whom: it is causal where ``visible`` is.

    y = W_o softmax(q k^T / sqrt(d) where visible) v, with q, k and v one linear map of x.

    Args:
        heads: number of heads; divides the width of x.
        dropout: rate, of the attention weights.
        output_initializer: of W_o.
    Call:
        x: float tensor (B, T, W).
        visible: boolean tensor that broadcasts to (B, heads, T, L): whether a query sees a key.
        rotation: what ``rotary_angles`` gives for the positions of x, or None.
        cache: pair of float tensors (B, heads, L, d), keys and values of L slots, or None: then L = T, x itself.
        slot: int scalar tensor; with a cache, the slot where the T tokens of x begin.
        Returns ``(y, (keys, values))``: y (B, T, W), and the keys and values that were attended to, the cache with those of x written in.
    Reference:
        Vaswani et al., Attention is all you need, 2017, section 3.2, arXiv 1706.03762.
    """

    def __init__(self, heads, dropout=0.0, output_initializer="glorot_uniform", **kwargs):
        super().__init__(**kwargs)
        self.heads, self.dropout = heads, dropout
        self.output_initializer = keras.initializers.get(output_initializer)

    def build(self, input_shape):
        width = input_shape[-1]
        if width % self.heads:
            raise ValueError(f"heads: expected a divisor of the width {width}, received {self.heads}.")
        initializer = keras.initializers.RandomNormal(0.02, seed=random.getrandbits(30))
        self.qkv = layers.Dense(3 * width, kernel_initializer=initializer, dtype=self.dtype_policy, name="qkv")
        self.qkv.build(input_shape)
        initializer = self.output_initializer
        self.project = layers.Dense(width, kernel_initializer=initializer, dtype=self.dtype_policy, name="project")
        self.project.build(input_shape)
        # With a seed: without one, Keras on torch drops by torch's global state, which no file keeps.
        self.drop = layers.Dropout(self.dropout, seed=random.getrandbits(30)) if self.dropout else None

    def call(self, x, visible, rotation=None, cache=None, slot=None, training=False):
        length, width = ops.shape(x)[1], x.shape[-1]
        size = width // self.heads
        qkv = ops.reshape(self.qkv(x), (-1, length, 3, self.heads, size))
        q, k, v = ops.unstack(ops.transpose(qkv, (2, 0, 3, 1, 4)), 3)
        if rotation is not None:
            q, k = rotate(q, *rotation), rotate(k, *rotation)
        if cache is not None:
            # As fast in a loop as a slice update, which on TensorFlow only XLA can run: not a stock server.
            here = (ops.arange(cache[0].shape[2], dtype="int32") == slot)[:, None]
            k, v = ops.where(here, k, cache[0]), ops.where(here, v, cache[1])
        scores = ops.cast(ops.matmul(q * size**-0.5, ops.swapaxes(k, -1, -2)), "float32")
        weights = ops.cast(ops.softmax(ops.where(visible, scores, -1e9), axis=-1), v.dtype)
        if self.drop is not None:
            weights = self.drop(weights, training=training)
        y = ops.transpose(ops.matmul(weights, v), (0, 2, 1, 3))
        return self.project(ops.reshape(y, (-1, length, width))), (k, v)

    def get_config(self):
        return {
            **super().get_config(),
            "heads": self.heads,
            "dropout": self.dropout,
            "output_initializer": keras.initializers.serialize(self.output_initializer),
        }
