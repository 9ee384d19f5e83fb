"""A bias for each place of an image."""

import keras


@keras.saving.register_keras_serializable(package="kgen")
class PlaceBias(keras.layers.Layer):
    """Adds a weight of its own to each value of a row: convolutions, the same everywhere, then know where they are.

    Call:
        x: float (B, ...). Returns the same shape.
    """

    def build(self, input_shape):
        self.bias = self.add_weight(shape=input_shape[1:], initializer="zeros", name="bias")

    def call(self, x):
        return x + self.bias
