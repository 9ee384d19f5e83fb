"""Multilayer perceptrons."""

import math

import keras
from keras import layers, ops

from kgen.layers import SinusoidalEmbedding, silu
from kgen.networks.configured import ConfiguredNetwork


@keras.saving.register_keras_serializable(package="kgen")
class MLP(ConfiguredNetwork):
    """Dense layers over flattened inputs.

    Args:
        input_shape: shape of one row; or, with ``time=True``, of the first of two inputs.
        output_shape: shape of one output row.
        widths: hidden widths; empty for a linear map.
        activation: of the hidden layers.
        time: whether there is a second input, a time (B,) in [0, 1].
    Call:
        x, or [x, t] with ``time``: float (B, *input_shape), float (B,). Returns float (B, *output_shape).
    """

    def __init__(
        self, input_shape, output_shape, widths=(256, 256), activation="silu", time=False, name="mlp", **kwargs
    ):
        input_shape, output_shape, widths = tuple(input_shape), tuple(output_shape), tuple(widths)
        x = keras.Input(input_shape, name="x")
        inputs = x
        h = layers.Flatten(name="flatten")(x) if len(input_shape) > 1 else x
        if time:
            t = keras.Input((), name="t")
            inputs = [x, t]
            h = layers.Concatenate(name="concat")([h, SinusoidalEmbedding(64, name="time_sinusoids")(t)])
        for i, width in enumerate(widths):
            h = layers.Dense(width, activation=silu if activation == "silu" else activation, name=f"dense_{i}")(h)
        h = layers.Dense(math.prod(output_shape), name="dense_out")(h)
        outputs = ops.reshape(h, (-1, *output_shape)) if len(output_shape) != 1 else h
        super().__init__(inputs, outputs, name=name, **kwargs)
        self._arguments = {
            "input_shape": list(input_shape),
            "output_shape": list(output_shape),
            "widths": list(widths),
            "activation": activation,
            "time": time,
            "name": name,
        }
