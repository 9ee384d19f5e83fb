"""Networks that suit a shape, for those who bring none."""

import keras
from keras import layers

from kgen.layers import silu
from kgen.networks import ConvEncoder


def default_network(shape):
    """Maps (B, *shape) to (B, 1): convolutions for images of even sides of 8 pixels and more, else three dense layers.

    The dense network has no bias at its output: an energy is defined up to a constant.
    """
    if len(shape) == 3 and min(shape[:2]) >= 8 and all(side % 4 == 0 for side in shape[:2]):
        return ConvEncoder(shape, 1, channels=(32, 64), name="network")
    x = keras.Input(shape, name="x")
    h = layers.Flatten(name="flatten")(x) if len(shape) > 1 else x
    for i in range(3):
        h = silu(layers.Dense(128, name=f"dense_{i}")(h))
    return keras.Model(x, layers.Dense(1, use_bias=False, name="dense_out")(h), name="network")
