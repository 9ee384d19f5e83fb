"""Networks that tell a step how to transform each value: dense layers for couplings, masked ones for autoregression."""

import math

import keras
import numpy as np
from keras import layers, ops

from kgen.core import checks
from kgen.layers.place import PlaceBias


def dense_conditioner(shape, size, condition_size=0, widths=(128, 128), dropout=0.0):
    """Dense layers whose last one starts at zero, so that the step starts as the identity.

    Args:
        shape: shape of one row.
        size: numbers to return for each value.
        condition_size: length of the condition, 0 for none.
        widths: hidden widths.
        dropout: share of hidden units that are dropped in training, in [0, 1).
    Returns:
        ``keras.Model`` that maps x (B, *shape), or [x, condition (B, condition_size)], to (B, *shape, size).
    """
    x = keras.Input(shape, name="x")
    inputs, h = [x], layers.Flatten(name="flatten")(x)
    if condition_size:
        inputs.append(keras.Input((condition_size,), name="condition"))
        h = layers.Concatenate(name="concat")([h, inputs[1]])
    for i, width in enumerate(widths):
        h = layers.Dense(width, activation="relu", name=f"dense_{i}")(h)
        if dropout:
            h = layers.Dropout(dropout, name=f"dropout_{i}")(h)
    h = layers.Dense(math.prod(shape) * size, kernel_initializer="zeros", name="dense_out")(h)
    return keras.Model(inputs if condition_size else x, layers.Reshape((*shape, size), name="reshape")(h))


def convolutional_conditioner(shape, size, condition_size=0, widths=(32, 32), dropout=0.0):
    """Residual blocks of 3x3 convolutions over an image, whose last layer starts at zero; arguments as in ``dense_conditioner``.

    The first layer has ``widths[0]`` channels, a bias for each place, and the condition added to it; block i goes through ``widths[i]``.

    Returns:
        ``keras.Model`` that maps x (B, H, W, C), or [x, condition (B, condition_size)], to (B, H, W, C, size).
    Raises:
        ValueError: ``shape`` is not that of an image, or there are no widths.
    Reference:
        Dinh et al., Density estimation using Real NVP, 2017, section 3.6; without its batch and weight normalisation, arXiv 1605.08803.
    """
    if len(shape) != 3:
        raise ValueError(f"shape: a convolutional network takes images (H, W, C), received {tuple(shape)}.")
    if not widths:
        raise ValueError("widths: a convolutional network needs the channels of at least one block, received none.")
    x = keras.Input(shape, name="x")
    inputs = [x]
    h = PlaceBias(name="place")(layers.Conv2D(widths[0], 3, padding="same", name="conv_in")(x))
    if condition_size:
        inputs.append(keras.Input((condition_size,), name="condition"))
        given = layers.Dense(widths[0], use_bias=False, name="dense_condition")(inputs[1])
        h = layers.Add(name="add_condition")([h, layers.Reshape((1, 1, widths[0]), name="reshape_condition")(given)])
    for i, width in enumerate(widths):
        r = layers.ReLU(name=f"relu_{i}_0")(h)
        r = layers.ReLU(name=f"relu_{i}_1")(layers.Conv2D(width, 3, padding="same", name=f"conv_{i}_0")(r))
        if dropout:
            r = layers.Dropout(dropout, name=f"dropout_{i}")(r)
        h = layers.Add(name=f"add_{i}")([h, layers.Conv2D(widths[0], 3, padding="same", name=f"conv_{i}_1")(r)])
    h = layers.ReLU(name="relu_out")(h)
    h = layers.Conv2D(shape[-1] * size, 3, padding="same", kernel_initializer="zeros", name="conv_out")(h)
    return keras.Model(inputs if condition_size else x, layers.Reshape((*shape, size), name="reshape")(h))


CONDITIONERS = {"dense": dense_conditioner, "convolutional": convolutional_conditioner}


@keras.saving.register_keras_serializable(package="kgen")
class MADE(layers.Layer):
    """Dense layers with masks: output i depends on inputs before i, and on the condition.

    Each hidden unit has a degree m: it sees inputs 1 to m, and outputs m + 1 to D see it. The condition has degree 0. A layer narrower than
    D - 1 leaves some degrees out: through it an output does not see the last few values, about D / width of them, before its own, and
    the first outputs may see no condition. Direct connections show each output, linearly, all values before its own and the condition.

    Args:
        size: numbers to return for each value.
        condition_size: length of the condition, 0 for none.
        widths: hidden widths.
        activation: of the hidden layers.
        direct: whether to connect inputs and condition straight to the outputs too.
    Call:
        x: float (B, D); condition: float (B, condition_size) or None. Returns float (B, D, size).
    Reference:
        Germain et al., MADE: Masked autoencoder for distribution estimation, 2015, Eq. 8 to 12 and section 4.2, arXiv 1502.03509.
    """

    def __init__(self, size, condition_size=0, widths=(128, 128), activation="relu", direct=True, **kwargs):
        super().__init__(**kwargs)
        self.size = checks.positive_int("size", size)
        self.condition_size = condition_size
        self.widths = tuple(checks.positive_int("widths", w) for w in widths)
        self.activation = keras.activations.get(activation)
        self.direct = bool(direct)

    def build(self, input_shape):
        d = self.dim = input_shape[-1]
        # Without a condition a unit of degree 0 would be a constant.
        lowest = 0 if self.condition_size or d == 1 else 1
        inputs = degrees = np.concatenate([np.arange(1, d + 1), np.zeros(self.condition_size)])
        self.masks, self.kernels, self.biases = [], [], []
        for i, width in enumerate(self.widths):
            # As many of each degree, or, of fewer units than values, degrees spread over all of them.
            units = np.arange(width)
            hidden = lowest + (units % (d - lowest) if width >= d - lowest else (units + 1) * (d - lowest) // width - 1)
            self._add_dense(degrees, hidden, np.greater_equal, "glorot_uniform", i)
            degrees = hidden
        outputs = np.repeat(np.arange(1, d + 1), self.size)
        self._add_dense(degrees, outputs, np.greater, "zeros", len(self.widths))
        self.direct_kernel = None
        if self.direct and (d > 1 or self.condition_size):
            shape = (len(inputs), len(outputs))
            self.direct_kernel = self.add_weight(shape=shape, initializer="zeros", name="direct_kernel")
            self.direct_mask = np.greater(outputs[None, :], inputs[:, None]).astype("float32")

    def _add_dense(self, rows, columns, compare, initializer, i):
        # Before the mask, which is as large: a preset's sizes are checked where its weights are made.
        shape = (len(rows), len(columns))
        self.kernels.append(self.add_weight(shape=shape, initializer=initializer, name=f"kernel_{i}"))
        self.biases.append(self.add_weight(shape=shape[1:], initializer="zeros", name=f"bias_{i}"))
        self.masks.append(compare(columns[None, :], rows[:, None]).astype("float32"))

    def call(self, x, condition=None):
        h = inputs = x if condition is None else ops.concatenate([x, ops.cast(condition, x.dtype)], axis=-1)
        for i, (kernel, mask, bias) in enumerate(zip(self.kernels, self.masks, self.biases, strict=True)):
            h = self.activation(h) if i else h
            h = ops.matmul(h, kernel * ops.cast(mask, self.compute_dtype)) + bias
        if self.direct_kernel is not None:
            h = h + ops.matmul(inputs, self.direct_kernel * ops.cast(self.direct_mask, self.compute_dtype))
        return ops.reshape(h, (-1, self.dim, self.size))

    def compute_output_shape(self, x_shape, condition_shape=None):
        return (*x_shape, self.size)

    def get_config(self):
        return {
            **super().get_config(),
            "size": self.size,
            "condition_size": self.condition_size,
            "widths": list(self.widths),
            "activation": keras.activations.serialize(self.activation),
            "direct": self.direct,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**{"direct": False, **config})  # a file of 0.1 does not name it
