"""Pieces of a network that are computed again: weights, gradients and dropouts are those of the whole."""

import keras
import numpy as np
from keras import layers, ops
from networks.helpers import check_same_gradients

from kgen.networks.configured import ConfiguredNetwork, Pieces


class Toy(ConfiguredNetwork):
    def __init__(self, outputs, remat=False, **kwargs):
        x = keras.Input((3,), name="x")
        pieces = Pieces([x])
        h = pieces.add([x], layers.Dense(4, activation="tanh", name="first")(x))
        drop = layers.Dropout(0.5, seed=7, name="drop")
        h = pieces.dropped(pieces.add([h], layers.Dense(4, activation="tanh", name="second")(h)), drop)
        y = pieces.add([h], layers.Dense(outputs, name="third")(h))
        super().__init__([x], y, **kwargs)
        self._pieces = pieces.ready() if remat else None
        self._arguments = {"outputs": outputs, "remat": remat}


def test_gradients_and_dropouts_are_those_of_the_whole():
    x = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
    check_same_gradients(lambda remat: Toy(2, remat=remat), x)
    toy = Toy(2, remat=True)
    training, not_training = (ops.convert_to_numpy(toy([ops.convert_to_tensor(x)], training=t)) for t in (True, False))
    assert np.abs(training - not_training).max() > 1e-3
