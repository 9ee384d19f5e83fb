"""Networks that suit a shape, for those who bring none."""

import keras
from keras import layers

from kgen.networks import ConvEncoder


def default_network(shape):
    """Maps (B, *shape) to (B, 1): convolutions for images of even sides of 8 pixels and more, else three dense layers.

    The dense network has no bias at its output: an energy is defined up to a constant.
    """
    if len(shape) == 3 and min(shape[:2]) >= 8 and all(side % 4 == 0 for side in shape[:2]):
        return ConvEncoder(shape, 1, channels=(32, 64), name="network")
    hidden = [layers.Dense(128, activation="silu", name=f"dense_{i}") for i in range(3)]
    flat = [layers.Flatten(name="flatten")] if len(shape) > 1 else []
    output = layers.Dense(1, use_bias=False, name="dense_out")
    return keras.Sequential([keras.Input(shape), *flat, *hidden, output], name="network")
