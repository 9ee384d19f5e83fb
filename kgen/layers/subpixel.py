"""Enlarging by rearranging channels."""

import keras
from keras import layers, ops

from kgen.core import checks


@keras.saving.register_keras_serializable(package="kgen")
class SubPixel(layers.Layer):
    """Spreads channels over pixels: pixel (factor i + a, factor j + b) of channel c is channel (factor a + b) C + c of pixel (i, j).

    After a convolution it is a transposed convolution whose kernel is a multiple of its stride, at the cost of the smaller image.

    Args:
        factor: by how much each side grows.
    Call:
        x: float (B, H, W, factor^2 C). Returns float (B, factor H, factor W, C).
    Reference:
        Shi et al., Real-time single image and video super-resolution using an efficient sub-pixel convolutional neural network, 2016, Eq. 4,
        arXiv 1609.05158.
    """

    def __init__(self, factor=2, **kwargs):
        super().__init__(**kwargs)
        self.factor = checks.positive_int("factor", factor)

    def call(self, x):
        f, (height, width, channels) = self.factor, x.shape[1:]
        x = ops.reshape(x, (-1, height, width, f, f, channels // f**2))
        x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
        return ops.reshape(x, (-1, height * f, width * f, channels // f**2))

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        return (batch, height * self.factor, width * self.factor, channels // self.factor**2)

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}
