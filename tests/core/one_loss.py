"""A small model with one loss: a denoising autoencoder with dropout, BatchNorm and an averaged copy of its network."""

import keras
from keras import layers, ops

from kgen.core import GenerativeModel, checks, random
from kgen.layers import BatchNormalization


@keras.saving.register_keras_serializable(package="kgen_tests")
class OneLoss(GenerativeModel):
    """Learns x from x with noise and dropout; one row's loss is its mean squared error.

    Args:
        dim: length of a row.
        width: units of the hidden layer.
    """

    log_names = ("loss", "error")

    def __init__(self, dim=4, width=8, **kwargs):
        super().__init__(**kwargs)
        self.dim, self.width = dim, width
        self.network = keras.Sequential(
            [
                keras.Input((dim,)),
                layers.Dense(width, dtype=self.dtype_policy),
                BatchNormalization(momentum=0.9, dtype=self.dtype_policy),
                layers.Activation("relu", dtype=self.dtype_policy),
                layers.Dropout(0.25, seed=1, dtype=self.dtype_policy),
                layers.Dense(dim, dtype=self.dtype_policy),
            ],
            name="network",
        )
        self.noise = keras.random.SeedGenerator(2)
        self.keep_average_of("network")

    def objective(self, batch, training):
        x = ops.cast(batch.x, "float32")
        noisy = x + 0.1 * keras.random.normal(ops.shape(x), seed=self.noise) if training else x
        y = ops.cast(self.network(noisy, training=training), "float32")
        losses = ops.mean(ops.square(y - x), axis=-1)
        return losses, {"error": ops.mean(ops.abs(y - x), axis=-1)}

    def check_data(self, x, y=None):
        checks.rows("x", x, (self.dim,))
        if y is not None:
            checks.labels("y", y, 10, len(x))

    def sample(self, n, *, seed=None, batch_size=None):
        def draw(seeds):
            return self.averaged("network")(random.normal(seeds, (self.dim,)), training=False)

        return self.run_rows("sample", draw, [self.row_seeds(n, seed)], batch_size=batch_size)

    def get_config(self):
        return {**super().get_config(), "dim": self.dim, "width": self.width}


@keras.saving.register_keras_serializable(package="kgen_tests")
class Location(GenerativeModel):
    """Learns a mean: one row's loss is |x - mean|^2. Gradient descent on it has a closed form.

    Args:
        dim: length of a row.
        l2: weight of a penalty |mean|^2.
    """

    def __init__(self, dim=1, l2=0.0, **kwargs):
        super().__init__(**kwargs)
        self.dim, self.l2 = dim, l2
        self.mean = self.add_weight(
            shape=(dim,), initializer="zeros", name="mean", regularizer=keras.regularizers.L2(l2)
        )

    def objective(self, batch, training):
        return ops.sum(ops.square(ops.cast(batch.x, "float32") - self.mean), axis=-1), {}

    def check_data(self, x, y=None):
        checks.rows("x", x, (self.dim,))

    def get_config(self):
        return {**super().get_config(), "dim": self.dim, "l2": self.l2}
