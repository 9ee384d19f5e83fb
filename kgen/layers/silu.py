"""The sigmoid linear unit."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kgen")
def silu(x):
    """x sigmoid(x): Keras's ``silu``, made of operations that TensorFlow differentiates by itself.

    TensorFlow's own brings a gradient of its own: it takes twice as long to trace, and TensorFlow keeps each graph that has one for as
    long as the process lives. Training steps take as long with either; this one keeps one more tensor for the gradient.

    Args:
        x: float tensor of any shape.
    Returns:
        tensor like ``x``.
    Reference:
        Elfwing et al., Sigmoid-weighted linear units, 2018, Eq. 6, arXiv 1702.03118.
    """
    return x * ops.sigmoid(x) if keras.config.backend() == "tensorflow" else ops.silu(x)
