"""A bias for each place of an image."""

import keras


@keras.saving.register_keras_serializable(package="kgen")
class PlaceBias(keras.layers.Layer):
    """Adds a weight of its own to each value of a row: convolutions, the same everywhere, then know where they are.

    Args:
        start: how the weights begin, "zeros" or "normal", of variance 1.
    Call:
        x: float (B, ...). Returns the same shape.
    """

    def __init__(self, start="zeros", **kwargs):
        super().__init__(**kwargs)
        self.start = start

    def build(self, input_shape):
        start = "zeros" if self.start == "zeros" else keras.initializers.RandomNormal(stddev=1.0)
        self.bias = self.add_weight(shape=input_shape[1:], initializer=start, name="bias")

    def call(self, x):
        return x + self.bias

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "start": self.start}
