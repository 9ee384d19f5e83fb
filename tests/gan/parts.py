"""An augmentation with state, and small networks, for the tests of this folder."""

import keras
from keras import layers, ops

from kgen.core import random
from kgen.gan import Augmentation


@keras.saving.register_keras_serializable(package="kgen_tests")
class Jitter(Augmentation):
    """Adds noise of a strength that grows with the share of data that the discriminator knows."""

    def __init__(self, rate=0.01):
        self.rate = rate

    def state(self):
        return {"strength": 0.0, "rows": 0.0}

    def __call__(self, x, seeds, state):
        return x + state["strength"] * random.normal(seeds, tuple(x.shape[1:]))

    def observe(self, real_logits):
        return {"known": ops.cast(real_logits > 0, "float32")}

    def next_state(self, state, means, rows):
        return {"strength": state["strength"] + self.rate * means["known"], "rows": state["rows"] + rows}


def dense(inputs, outputs, name, shape=None):
    end = [layers.Reshape(shape)] if shape else []
    return keras.Sequential(
        [keras.Input(inputs), layers.Flatten(), layers.Dense(8, "tanh"), layers.Dense(outputs), *end], name=name
    )
