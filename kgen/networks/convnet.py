"""Convolutional encoders and decoders of images."""

import keras
from keras import layers

from kgen.layers import SinusoidalEmbedding, silu
from kgen.networks.configured import ConfiguredNetwork


def _numbered(name, j):
    return name if j == 0 else f"{name}_{j}"


def _check(name, shape, channels):
    factor = 2 ** len(channels)
    if len(shape) != 3 or shape[0] % factor or shape[1] % factor:
        raise ValueError(
            f"{name}: expected an image shape (H, W, C) with sides divisible by {factor}, since each of {len(channels)} strides "
            f"halves them; received {shape}."
        )


@keras.saving.register_keras_serializable(package="kgen")
class ConvEncoder(ConfiguredNetwork):
    """Stages of 3x3 convolutions, the last of each strided, then dense layers: an image to a vector.

    Args:
        shape: (H, W, C), sides divisible by 2^len(channels).
        output_size: length of the vector.
        channels: feature channels; each stage halves the sides.
        dense: width of the dense layer before the output.
        convs: number of convolutions of each stage beside the strided one. Those of the first stage see the whole image, and take
            most of the time.
        time: whether there is a second input, a time (B,) in [0, 1], which each stage is told.
    Call:
        x, or [x, t] with ``time``: float (B, H, W, C), float (B,). Returns float (B, output_size).
    """

    def __init__(
        self,
        shape,
        output_size,
        channels=(32, 64),
        dense=256,
        convs=1,
        time=False,
        name="encoder",
        **kwargs,
    ):
        shape, channels = tuple(shape), tuple(channels)
        _check("shape", shape, channels)
        x = keras.Input(shape, name="x")
        h = inputs = x
        if time:
            t = keras.Input((), name="t")
            inputs, sinusoids = [x, t], SinusoidalEmbedding(64, name="time_sinusoids")(t)
        for i, filters in enumerate(channels):
            for j in range(convs):
                h = layers.Conv2D(filters, 3, padding="same", activation=silu, name=_numbered(f"conv_{i}", j))(h)
            h = layers.Conv2D(filters, 3, strides=2, padding="same", activation=silu, name=f"stride_{i}")(h)
            if time:
                h = h + layers.Dense(filters, name=f"time_{i}")(sinusoids)[:, None, None]
        h = layers.Dense(dense, activation=silu, name="dense")(layers.Flatten(name="flatten")(h))
        super().__init__(inputs, layers.Dense(output_size, name="dense_out")(h), name=name, **kwargs)
        self._arguments = {
            "shape": list(shape),
            "output_size": output_size,
            "channels": list(channels),
            "dense": dense,
            "convs": convs,
            "time": time,
            "name": name,
        }


@keras.saving.register_keras_serializable(package="kgen")
class ConvDecoder(ConfiguredNetwork):
    """The mirror of ``ConvEncoder``: a vector to an image by dense layers and 3x3 transposed convolutions.

    Args:
        input_size: length of the vector.
        output_shape: (H, W, C) of the output, sides divisible by 2^len(channels).
        channels: feature channels, in the encoder's order; the decoder goes through them backwards.
        dense: width of the dense layer after the input.
        convs: number of convolutions of each stage beside the transposed one.
    Call:
        z: float (B, input_size). Returns float (B, H, W, C).
    """

    def __init__(self, input_size, output_shape, channels=(32, 64), dense=256, convs=1, name="decoder", **kwargs):
        output_shape, channels = tuple(output_shape), tuple(channels)
        _check("output_shape", output_shape, channels)
        z = keras.Input((input_size,), name="z")
        small = (output_shape[0] >> len(channels), output_shape[1] >> len(channels), channels[-1])
        h = layers.Dense(dense, activation=silu, name="dense")(z)
        h = layers.Dense(small[0] * small[1] * small[2], activation=silu, name="dense_map")(h)
        h = layers.Reshape(small, name="reshape")(h)
        for i, filters in reversed(list(enumerate(channels))):
            h = layers.Conv2DTranspose(filters, 4, strides=2, padding="same", activation=silu, name=f"stride_{i}")(h)
            for j in range(convs):
                h = layers.Conv2D(filters, 3, padding="same", activation=silu, name=_numbered(f"conv_{i}", j))(h)
        super().__init__(z, layers.Conv2D(output_shape[-1], 3, padding="same", name="conv_out")(h), name=name, **kwargs)
        self._arguments = {
            "input_size": input_size,
            "output_shape": list(output_shape),
            "channels": list(channels),
            "dense": dense,
            "convs": convs,
            "name": name,
        }
