"""Layers with an equalised learning rate, and the normalisation of pixels."""

import math

import keras
from keras import layers, ops


class _Equalized(layers.Layer):
    """Kernels start from N(0, 1 / rate^2) and are multiplied by rate * gain / sqrt(inputs), biases by rate, where they are used.

    Adam then moves every layer by as much of its own scale.
    """

    def __init__(self, units, gain=1.0, rate=1.0, bias=0.0, activation=None, **kwargs):
        super().__init__(**kwargs)
        self.units, self.gain, self.rate, self.bias_start = units, gain, rate, bias
        self.activation = activation

    def _make(self, shape):
        normal = keras.initializers.RandomNormal(stddev=1.0 / self.rate)
        self.kernel = self.add_weight(shape=shape, initializer=normal, name="kernel")
        start = keras.initializers.Constant(self.bias_start / self.rate)
        self.bias = self.add_weight(shape=(self.units,), initializer=start, name="bias")
        self.scale = self.rate * self.gain / math.sqrt(math.prod(shape[:-1]))

    def _finish(self, x):
        x = x + ops.cast(self.bias, x.dtype) * self.rate
        # The root of 2 keeps the variance that leaky ReLU halves.
        return leaky(x) if self.activation == "leaky" else x

    def get_config(self):
        own = {"units": self.units, "gain": self.gain, "rate": self.rate, "bias": self.bias_start}
        return {**super().get_config(), **own, "activation": self.activation}


def leaky(x):
    """sqrt(2) max(x, 0.2 x)."""
    return ops.leaky_relu(x, 0.2) * 2**0.5


@keras.saving.register_keras_serializable(package="kgen")
class EqualizedDense(_Equalized):
    """A dense layer with an equalised learning rate.

    Args:
        units: length of the result.
        gain: of the kernel.
        rate: learning rate relative to others; 0.01 in StyleGAN's mapping network.
        bias: what biases start from.
        activation: "leaky", sqrt(2) leaky ReLU, or None.
    Call:
        x: float (B, F). Returns float (B, units).
    Reference:
        Karras et al., Progressive growing of GANs for improved quality, stability, and variation, 2018, section 4.1, arXiv 1710.10196.
    """

    def build(self, input_shape):
        self._make((input_shape[-1], self.units))

    def call(self, x):
        return self._finish(ops.matmul(x, ops.cast(self.kernel, x.dtype) * self.scale))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)


@keras.saving.register_keras_serializable(package="kgen")
class EqualizedConv2D(_Equalized):
    """A convolution of stride 1 with an equalised learning rate; arguments as in ``EqualizedDense``.

    Args:
        units: channels of the result.
        size: side of the kernel.
    Call:
        x: float (B, H, W, C). Returns float (B, H, W, units).
    """

    def __init__(self, units, size=3, **kwargs):
        super().__init__(units, **kwargs)
        self.size = size

    def build(self, input_shape):
        self._make((self.size, self.size, input_shape[-1], self.units))

    def call(self, x):
        return self._finish(ops.conv(x, ops.cast(self.kernel, x.dtype) * self.scale, padding="same"))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)

    def get_config(self):
        return {**super().get_config(), "size": self.size}


@keras.saving.register_keras_serializable(package="kgen")
class PixelNormalization(layers.Layer):
    """x / sqrt(mean of x^2 over the channels): each pixel's vector has that length.

    Call:
        x: float (B, ..., C). Returns the same shape.
    Reference:
        Karras et al. 2018, section 4.2, arXiv 1710.10196.
    """

    def call(self, x):
        return x * ops.rsqrt(ops.mean(ops.square(x), axis=-1, keepdims=True) + 1e-8)
