"""Fully convolutional encoders and decoders: an image to a smaller map of vectors, and back."""

import keras
from keras import layers

from kgen.layers import silu
from kgen.networks.configured import ConfiguredNetwork


def _residual(h, filters, name):
    """h + Conv1x1(silu(Conv3x3(silu(h))))."""
    out = layers.Conv2D(filters, 3, padding="same", name=f"{name}_conv_1")(silu(h))
    return h + layers.Conv2D(filters, 1, name=f"{name}_conv_2")(silu(out))


@keras.saving.register_keras_serializable(package="kgen")
class SpatialEncoder(ConfiguredNetwork):
    """Strided 4x4 convolutions, residual blocks and a 1x1 convolution: an image to a map of vectors.

    Args:
        shape: (H, W, C), sides divisible by 2^len(channels).
        size: length of each vector.
        channels: feature channels; each stage halves the sides.
        blocks: number of residual blocks.
    Call:
        x: float (B, H, W, C). Returns float (B, H / 2^n, W / 2^n, size), n = len(channels).
    Reference:
        van den Oord et al., Neural discrete representation learning, 2017, section 4.1, arXiv 1711.00937 (SiLU for ReLU).
    """

    def __init__(self, shape, size, channels=(32, 64), blocks=2, name="encoder", **kwargs):
        shape, channels = tuple(shape), tuple(channels)
        factor = 2 ** len(channels)
        if len(shape) != 3 or shape[0] % factor or shape[1] % factor:
            raise ValueError(
                f"shape: expected (H, W, C) with sides divisible by {factor}, since each of {len(channels)} strides halves "
                f"them; received {shape}."
            )
        x = keras.Input(shape, name="x")
        h = x
        for i, filters in enumerate(channels):
            h = layers.Conv2D(filters, 4, strides=2, padding="same", name=f"stride_{i}")(silu(h) if i else h)
        for i in range(blocks):
            h = _residual(h, channels[-1], f"block_{i}")
        super().__init__(x, layers.Conv2D(size, 1, name="conv_out")(silu(h)), name=name, **kwargs)
        self._arguments = {
            "shape": list(shape),
            "size": size,
            "channels": list(channels),
            "blocks": blocks,
            "name": name,
        }


@keras.saving.register_keras_serializable(package="kgen")
class SpatialDecoder(ConfiguredNetwork):
    """The mirror of ``SpatialEncoder``: a 3x3 convolution, residual blocks, transposed 4x4 convolutions and a 3x3 convolution.

    Args:
        map_shape: (h, w, size) of the input.
        output_channels: C of the output.
        channels: feature channels, in the encoder's order; the decoder goes through them backwards, and each doubles the sides.
        blocks: number of residual blocks.
    Call:
        z: float (B, h, w, size). Returns float (B, 2^n h, 2^n w, C), n = len(channels).
    Reference:
        van den Oord et al., Neural discrete representation learning, 2017, section 4.1, arXiv 1711.00937 (SiLU for ReLU).
    """

    def __init__(self, map_shape, output_channels, channels=(32, 64), blocks=2, name="decoder", **kwargs):
        map_shape, channels = tuple(map_shape), tuple(channels)
        if len(map_shape) != 3:
            raise ValueError(f"map_shape: expected (h, w, size), received {map_shape}.")
        z = keras.Input(map_shape, name="z")
        h = layers.Conv2D(channels[-1], 3, padding="same", name="conv_in")(z)
        for i in range(blocks):
            h = _residual(h, channels[-1], f"block_{i}")
        for i, filters in reversed(list(enumerate(channels))):
            h = layers.Conv2DTranspose(filters, 4, strides=2, padding="same", name=f"stride_{i}")(silu(h))
        outputs = layers.Conv2D(output_channels, 3, padding="same", name="conv_out")(silu(h))
        super().__init__(z, outputs, name=name, **kwargs)
        self._arguments = {
            "map_shape": list(map_shape),
            "output_channels": output_channels,
            "channels": list(channels),
            "blocks": blocks,
            "name": name,
        }
