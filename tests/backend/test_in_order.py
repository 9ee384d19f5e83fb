import keras
import numpy as np
import pytest

from kgen import backend

X = np.arange(10, dtype="float64").reshape(5, 2)
Y = np.arange(5, dtype="int32")


class Rows(keras.callbacks.Callback):
    """Keeps the losses of each batch."""

    def on_train_begin(self, logs=None):
        self.losses = []

    def on_train_batch_end(self, batch, logs=None):
        self.losses.append(float(logs["loss"]))


@pytest.mark.parametrize("weight", [None, np.array([1.0, 1.0, 0.0, 0.0, 1.0], "float32")])
def test_fit_takes_the_rows_in_the_order_in_which_they_stand(weight):
    layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
    model = keras.Sequential([keras.Input((2,)), layer])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    rows = Rows()
    given = backend.in_order(X, Y.astype("float32")[:, None], weight, batch_size=2)
    model.fit(**given, shuffle=False, callbacks=[rows], verbose=0)
    losses = np.cumsum((Y**2) * (1.0 if weight is None else weight))
    means = [losses[last] / (last + 1) for last in (1, 3, 4)]  # Keras logs the mean over the epoch's rows so far
    np.testing.assert_allclose(rows.losses, means, rtol=1e-6)


@pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="of TensorFlow's datasets")
def test_on_tensorflow_as_a_dataset_that_is_not_tuned():
    dataset = backend.in_order(X, Y, batch_size=2)["x"]
    batches = list(dataset.as_numpy_iterator())
    assert [len(x) for x, y, weight in batches] == [2, 2, 1] and dataset.cardinality() == 3
    assert batches[0][0].dtype == "float32" and batches[0][1].dtype == "int32" and batches[0][2] is None
    assert dataset.options().autotune.enabled is False
    (alone,) = next(iter(backend.in_order(X, batch_size=2)["x"]))
    assert alone.shape == (2, 2)
