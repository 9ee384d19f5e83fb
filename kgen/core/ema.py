"""Exponential moving averages of weights, updated inside the training step."""

import keras
from keras import ops


def copy_network(network):
    """A network with the same configuration and weights, whose weights are not trained.

    Raises:
        TypeError: the network cannot be rebuilt from its configuration.
    """
    try:
        copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(network))
    except Exception as error:
        raise TypeError(
            f"network: {type(network).__name__} could not be rebuilt from its configuration ({error}). An averaged copy of the "
            "weights needs it: give the class get_config(), or pass ema=None."
        ) from error
    return copy


class MovingAverage:
    """Keeps ``average`` near ``network``: after step k, average += (1 - d_k) (network - average), d_k = min(d, (1 + k)/(10 + k)).

    The growing decay lets the average forget the random start (the rule of TensorFlow's ExponentialMovingAverage).

    Args:
        decay: d, in [0, 1).
        pairs: list of (network, average), built, with the same variables in the same order.
    """

    def __init__(self, decay, pairs):
        self.decay = decay
        self.pairs = [
            (source, target)
            for network, average in pairs
            for source, target in zip(network.weights, average.weights, strict=True)
        ]

    def update(self, step, finite=True):
        """Takes one step of the average, after training step ``step`` (a float scalar tensor, from 0), unless ``finite`` is false."""
        rate = 1.0 - ops.minimum(self.decay, (1.0 + step) / (10.0 + step))
        rate = ops.where(finite, rate, 0.0)
        for source, target in self.pairs:
            value = ops.stop_gradient(ops.convert_to_tensor(source))
            target.assign(target + ops.cast(rate, target.dtype) * (value - target))
