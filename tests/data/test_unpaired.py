"""Two sets without pairs: what an epoch holds, and training that goes on where it stopped."""

import keras
import numpy as np
import pytest
from keras import ops

import kgen
from kgen.core import GenerativeModel
from kgen.data import Unpaired

A, B = np.arange(10, dtype="float32")[:, None], 100 + np.arange(4, dtype="float32")[:, None]


def epoch_of(data):
    batches = [data[i][0] for i in range(len(data))]
    return [np.concatenate([batch[name][:, 0] for batch in batches]) for name in ("a", "b")]


def test_an_epoch_is_once_through_the_longer_set():
    data = Unpaired(A, B, batch_size=3, seed=1)
    assert [len(data[i][0]["a"]) for i in range(len(data))] == [3, 3, 3, 1]
    a, b = epoch_of(data)
    assert sorted(a) == A[:, 0].tolist() and a.tolist() != A[:, 0].tolist()
    assert sorted(b[:4]) == sorted(b[4:8]) == B[:, 0].tolist() and b[:4].tolist() != b[4:8].tolist()
    again = Unpaired(A, B, batch_size=3, seed=1)
    assert np.array_equal(epoch_of(again), [a, b])
    data.on_epoch_end()
    assert not np.array_equal(epoch_of(data)[0], a)
    again.epoch = 1
    assert np.array_equal(epoch_of(again), epoch_of(data))
    swapped = epoch_of(Unpaired(B, A, batch_size=3))
    assert len(swapped[0]) == 10 and sorted(swapped[1]) == A[:, 0].tolist()


class Shift(GenerativeModel):
    """Learns the difference of the means of two sets, with noise."""

    def __init__(self):
        super().__init__(conditions=[])
        self.shift = self.add_weight(shape=(), initializer="zeros", name="shift")

    def objective(self, batch, training):
        noise = kgen.core.random.normal(batch.seeds, (1,))
        return ops.mean(ops.square(batch.x["b"] - batch.x["a"] - self.shift + 0.1 * noise), axis=-1), {}


class Break(keras.callbacks.Callback):
    def __init__(self, step):
        super().__init__()
        self.left = step

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def train(folder, *callbacks):
    keras.utils.set_random_seed(0)
    model = Shift()
    model.compile(keras.optimizers.Adam(0.1))
    data = Unpaired(A / 10, B / 100, batch_size=3)
    model.fit(data, epochs=3, verbose=0, callbacks=[*callbacks, kgen.callbacks.Checkpoint(folder, every=1)])
    return ops.convert_to_numpy(model.shift)


def test_training_goes_on_within_an_epoch_as_if_it_had_never_stopped(tmp_path):
    whole = train(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "broken", Break(6))  # in the second of three epochs of four steps
    assert np.array_equal(train(tmp_path / "broken"), whole)


def test_wrong_arguments():
    with pytest.raises(ValueError, match="b: expected at least one example, received shape"):
        Unpaired(A, B[:0])
    with pytest.raises(ValueError, match="batch_size: expected an integer of at least 1, received 0"):
        Unpaired(A, B, batch_size=0)
    with pytest.raises(TypeError, match="a: expected an array"):
        Unpaired(iter(A), B)
