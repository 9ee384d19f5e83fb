"""The transformer of denoising diffusion."""

import keras
import numpy as np
from keras import layers, ops

from kgen.core import checks
from kgen.core.conditions import Conditions, of_classes
from kgen.layers import SinusoidalEmbedding, silu
from kgen.networks.configured import ConfiguredNetwork, Pieces
from kgen.networks.given import Given

TIME_WIDTH = 256  # numbers of the time's sinusoids, as in Peebles & Xie's code


@keras.saving.register_keras_serializable(package="kgen")
class GridPositions(layers.Layer):
    """Adds to each token of a grid where it stands: sines and cosines of its row in one half of the channels, of its column in the other.

    [sin(w_i r), cos(w_i r), sin(w_i c), cos(w_i c)],  w_i = 10000^(-i / (W/4)),  i = 0 .. W/4 - 1.

    Args:
        rows, columns: of the grid.
    Call:
        x: float tensor (B, rows * columns, W), row by row, W divisible by 4. Returns the same shape.
    Reference:
        Vaswani et al. 2017, section 3.5, arXiv 1706.03762; in two dimensions Dosovitskiy et al., ViT, 2021, appendix D.4, arXiv 2010.11929.
    """

    def __init__(self, rows, columns, **kwargs):
        super().__init__(**kwargs)
        self.rows, self.columns = rows, columns

    def table(self, width):
        """The positions: numpy float32 (rows * columns, width)."""
        frequencies = 10000.0 ** (-np.arange(width // 4) / (width // 4))
        halves = []
        for place in np.divmod(np.arange(self.rows * self.columns), self.columns):
            angles = place[:, None] * frequencies
            halves += [np.sin(angles), np.cos(angles)]
        return np.concatenate(halves, axis=1).astype("float32")

    def call(self, x):
        return x + ops.cast(self.table(x.shape[-1]), x.dtype)

    def get_config(self):
        return {**super().get_config(), "rows": self.rows, "columns": self.columns}


@keras.saving.register_keras_serializable(package="kgen")
class DiTBlock(layers.Layer):
    """A transformer block whose normalisations are scaled and shifted, and whose outputs are gated, by a condition ("adaLN-zero").

    h = x + g_1 attention((1 + s_1) norm(x) + b_1),  y = h + g_2 W_2 gelu(W_1 ((1 + s_2) norm(h) + b_2)),

    where (b_1, s_1, g_1, b_2, s_2, g_2) is linear in silu(c) and starts at zero, so that the block starts as the identity. The norms have
    no weights of their own.

    Args:
        heads: number of heads; divides the width W.
        expansion: width of the dense layer inside, in W.
    Call:
        [x, c]: float (B, N, W), float (B, D). Returns float (B, N, W).
    Reference:
        Peebles & Xie, Scalable diffusion models with transformers, 2023, section 3.2, arXiv 2212.09748.
    """

    def __init__(self, heads, expansion=4, **kwargs):
        super().__init__(**kwargs)
        self.heads, self.expansion = heads, expansion

    def build(self, input_shape):
        x, c = input_shape
        width, inner = x[-1], self.expansion * x[-1]
        self.norm = layers.LayerNormalization(epsilon=1e-6, center=False, scale=False, dtype=self.dtype_policy)
        self.norm.build(x)
        sizes = {
            "modulation": (c[-1], 6 * width),
            "qkv": (width, 3 * width),
            "project": (width, width),
            "expand": (width, inner),
            "contract": (inner, width),
        }
        for name, (before, after) in sizes.items():
            start = "zeros" if name == "modulation" else "glorot_uniform"
            layer = layers.Dense(after, kernel_initializer=start, dtype=self.dtype_policy, name=name)
            layer.build((None, before))
            setattr(self, name, layer)

    def call(self, inputs):
        x, c = inputs
        b_1, s_1, g_1, b_2, s_2, g_2 = ops.split(self.modulation(silu(c))[:, None], 6, axis=-1)
        x = x + g_1 * self._attended((1.0 + s_1) * self.norm(x) + b_1)
        h = ops.gelu(self.expand((1.0 + s_2) * self.norm(x) + b_2), approximate=True)
        return x + g_2 * self.contract(h)

    def _attended(self, h):
        _, length, width = h.shape
        qkv = ops.reshape(self.qkv(h), (-1, length, 3, self.heads, width // self.heads))
        out = ops.dot_product_attention(*ops.unstack(qkv, 3, axis=2))
        return self.project(ops.reshape(out, (-1, length, width)))

    def compute_output_shape(self, input_shape):
        return input_shape[0]

    def get_config(self):
        return {**super().get_config(), "heads": self.heads, "expansion": self.expansion}


@keras.saving.register_keras_serializable(package="kgen")
class DiT(ConfiguredNetwork):
    """A transformer over the patches of an image, conditioned on a time and optionally on a class and other conditions.

    Patches of p x p pixels become tokens by one linear map, their places are added, ``depth`` adaLN-zero blocks follow (``DiTBlock``), and a
    linear map of the tokens, normalised and modulated once more, gives each patch of the output. Every block starts as the identity and
    the output as zero.

    The paper's sizes (width, depth, heads): S (384, 12, 6), B (768, 12, 12), L (1024, 24, 16), XL (1152, 28, 16), each with patches of 2, 4 or 8.

    Args:
        shape: (H, W, C).
        patch_size: p; divides H and W. Half of it makes four times as many tokens.
        width: numbers per token, divisible by 4.
        depth: number of blocks.
        heads: attention heads; they divide the width.
        num_classes: number of classes, or None. Label ``num_classes`` itself means "no class".
        conditions: further ``kgen.core.conditions``: labels and vectors are added to the embedding of time, pictures are stacked on x_t
            (enlarged by whole pixels where they are smaller), sequences are attended to after each block.
        out_channels: channels of the output; C by default.
        remat: whether training keeps no more than what goes into each block and computes the rest again in the backward pass. The weights are
            the same. 28x28 at batch 64 on torch (width 192, depth 6): 517 MB in place of 1,268, 1.1 times the time; JAX saves nothing on a CPU,
            where XLA undoes it.
    Call:
        as in ``UNet``.
    Raises:
        ValueError: sizes that do not fit each other.
    Reference:
        Peebles & Xie, Scalable diffusion models with transformers, 2023, section 3 and Table 1, arXiv 2212.09748; attention to sequences within
        such blocks: Chen et al., PixArt-alpha, 2023, section 2.3, arXiv 2310.00426.
    """

    def __init__(
        self,
        shape,
        patch_size=2,
        width=384,
        depth=12,
        heads=6,
        num_classes=None,
        conditions=(),
        out_channels=None,
        remat=False,
        name="dit",
        **kwargs,
    ):
        shape = _check(shape, patch_size, width, depth, heads)
        rows, columns = (side // patch_size for side in shape[:2])
        filters = out_channels or shape[-1]
        x, t = keras.Input(shape, name="x"), keras.Input((), name="t")
        conditions = Conditions(conditions)
        given = Given([*of_classes(num_classes), *conditions])
        inputs = [x, t, *given.inputs]
        embedding = SinusoidalEmbedding(TIME_WIDTH, name="time_sinusoids")(t)
        embedding = layers.Dense(width, activation=silu, name="time_dense_1")(embedding)
        embedding = given.embedded(layers.Dense(width, name="time_dense_2")(embedding))
        h = layers.Conv2D(width, patch_size, strides=patch_size, name="patches")(given.stacked(x))
        h = GridPositions(rows, columns, name="positions")(ops.reshape(h, (-1, rows * columns, width)))
        pieces = Pieces(inputs)
        pieces.add(inputs, [h, embedding, *given.context], again=False)
        for i in range(depth):
            out = DiTBlock(heads, name=f"block_{i}")([h, embedding])
            out = given.attended(out, heads, heads, f"block_{i}")
            h = pieces.add([h, embedding, *given.context], out)
        last = h
        modulation = layers.Dense(2 * width, kernel_initializer="zeros", name="modulation_out")(silu(embedding))
        shift, scale = ops.split(modulation[:, None], 2, axis=-1)
        h = layers.LayerNormalization(epsilon=1e-6, center=False, scale=False, name="norm_out")(h)
        h = (1.0 + scale) * h + shift
        size = patch_size * patch_size * filters
        h = layers.Dense(size, kernel_initializer="zeros", dtype="float32", name="dense_out")(h)
        h = ops.reshape(h, (-1, rows, columns, patch_size, patch_size, filters))
        outputs = ops.reshape(ops.transpose(h, (0, 1, 3, 2, 4, 5)), (-1, *shape[:2], filters))
        pieces.add([last, embedding], outputs, again=False)
        super().__init__(inputs, outputs, name=name, **kwargs)
        self._pieces = pieces.ready() if remat else None
        self._arguments = {
            "shape": list(shape),
            "patch_size": patch_size,
            "width": width,
            "depth": depth,
            "heads": heads,
            "num_classes": num_classes,
            "conditions": conditions.get_config(),
            "out_channels": out_channels,
            "remat": remat,
            "name": name,
        }


def _check(shape, patch_size, width, depth, heads):
    shape = checks.shape("shape", shape)
    checks.positive_int("depth", depth)
    if len(shape) != 3:
        raise ValueError(f"shape: expected (H, W, C), received {shape}. UNet takes sequences (T, C).")
    if any(side % checks.positive_int("patch_size", patch_size) for side in shape[:2]):
        raise ValueError(f"patch_size: expected a divisor of both sides of {shape}, received {patch_size}.")
    if checks.positive_int("width", width) % 4:
        raise ValueError(f"width: expected a multiple of 4, as positions need it, received {width}.")
    if width % checks.positive_int("heads", heads):
        raise ValueError(f"heads: expected a divisor of width={width}, received {heads}.")
    return shape
