"""Convolutions in a style, and noise."""

import math

import keras
from keras import layers, ops

from kgen.core import random
from kgen.layers.equalized import EqualizedDense


@keras.saving.register_keras_serializable(package="kgen")
class ModulatedConv2D(layers.Layer):
    """A convolution whose kernel is scaled by a style, and again so that its results have variance 1 where its inputs have.

        w'_ijk = s_i w_ijk,  w''_ijk = w'_ijk / sqrt(sum_ik w'_ijk^2 + epsilon),

    i counting inputs, j results, k places; s = A w + 1 is an affine function of the latent w. Scaling inputs by s and results by the root is the
    same, and one convolution serves all rows.

    Args:
        units: channels of the result.
        size: side of the kernel.
        demodulate: whether results are scaled to variance 1; not where they are colours.
    Call:
        [x, w]: float (B, H, W, C), float (B, D). Returns float (B, H, W, units).
    Reference:
        Karras et al., Analyzing and improving the image quality of StyleGAN, 2020, Eq. 1 and 3, arXiv 1912.04958.
    """

    def __init__(self, units, size=3, demodulate=True, **kwargs):
        super().__init__(**kwargs)
        self.units, self.size, self.demodulate = units, size, demodulate

    def build(self, input_shape):
        channels = input_shape[0][-1]
        self.style = EqualizedDense(channels, bias=1.0, name="style", dtype=self.dtype_policy)
        self.style.build(input_shape[1])
        shape = (self.size, self.size, channels, self.units)
        self.kernel = self.add_weight(
            shape=shape, initializer=keras.initializers.RandomNormal(stddev=1.0), name="kernel"
        )
        self.scale = 1.0 / math.sqrt(math.prod(shape[:-1]))

    def call(self, inputs):
        x, w = inputs
        style, kernel = self.style(w), self.kernel * self.scale
        y = ops.conv(x * style[:, None, None], ops.cast(kernel, x.dtype), padding="same")
        if not self.demodulate:
            return y
        squares = ops.sum(ops.square(ops.cast(kernel, "float32")), axis=(0, 1))
        variance = ops.matmul(ops.square(ops.cast(style, "float32")), squares)  # (B, units)
        return y * ops.cast(ops.rsqrt(variance + 1e-8), y.dtype)[:, None, None]

    def compute_output_shape(self, input_shape):
        return (*input_shape[0][:-1], self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units, "size": self.size, "demodulate": self.demodulate}


@keras.saving.register_keras_serializable(package="kgen")
class PixelNoise(layers.Layer):
    """Adds normal noise, one number for each pixel, drawn from row seeds, times a strength that is learned and starts at 0.

    Args:
        draw: int, by which layers of one network have noise of their own.
    Call:
        [x, seeds]: float (B, H, W, C), int32 (B, 2). Returns float (B, H, W, C).
    """

    def __init__(self, draw, **kwargs):
        super().__init__(**kwargs)
        self.draw = draw

    def build(self, input_shape):
        self.strength = self.add_weight(shape=(), initializer="zeros", name="strength")

    def call(self, inputs):
        x, seeds = inputs
        noise = random.normal(random.fold_in(seeds, 1000 + self.draw), (*x.shape[1:3], 1))
        return x + ops.cast(noise, x.dtype) * self.strength

    def compute_output_shape(self, input_shape):
        return input_shape[0]

    def get_config(self):
        return {**super().get_config(), "draw": self.draw}
