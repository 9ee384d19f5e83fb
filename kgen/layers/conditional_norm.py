"""Batch normalisation whose scale and shift depend on a condition."""

import keras
from keras import layers

from kgen.layers.batch_norm import BatchNormalization


@keras.saving.register_keras_serializable(package="kgen")
class ConditionalBatchNormalization(layers.Layer):
    """y = (1 + W c) (x - mean) / sqrt(var + epsilon) + V c, mean and variance of each channel over the batch, c the condition.

    With c a one-hot class, each class has a scale and a shift of its own. All start as 1 and 0.

    Args:
        momentum, epsilon: as in ``keras.layers.BatchNormalization``.
    Call:
        [x, c]: float (B, ..., C), float (B, E). Returns float (B, ..., C).
    Reference:
        Dumoulin et al., A learned representation for artistic style, 2017, Eq. 5, arXiv 1610.07629; de Vries et al., Modulating early
        visual processing by language, 2017, section 3, arXiv 1707.00683.
    """

    def __init__(self, momentum=0.9, epsilon=1e-5, **kwargs):
        super().__init__(**kwargs)
        self.momentum, self.epsilon = momentum, epsilon

    def build(self, input_shape):
        x, c = input_shape
        plain = {"use_bias": False, "kernel_initializer": "zeros", "dtype": self.dtype_policy}
        norm = {"momentum": self.momentum, "epsilon": self.epsilon, "dtype": self.dtype_policy}
        self.norm = BatchNormalization(center=False, scale=False, name="norm", **norm)
        self.scale = layers.Dense(x[-1], name="scale", **plain)
        self.shift = layers.Dense(x[-1], name="shift", **plain)
        self.norm.build(x)
        self.scale.build(c)
        self.shift.build(c)

    def call(self, inputs, training=False):
        x, c = inputs
        like = (-1, *[1] * (len(x.shape) - 2), x.shape[-1])
        scale, shift = (keras.ops.reshape(layer(c), like) for layer in (self.scale, self.shift))
        return self.norm(x, training=training) * (1.0 + scale) + shift

    def compute_output_shape(self, input_shape):
        return input_shape[0]

    def get_config(self):
        return {**super().get_config(), "momentum": self.momentum, "epsilon": self.epsilon}
