"""A small adversarial model of two players, with everything that makes a training step hard to write once."""

import keras
from keras import layers, ops

from kgen import backend
from kgen.core import GenerativeModel, checks, random
from kgen.layers import BatchNormalization


@keras.saving.register_keras_serializable(package="kgen_tests")
class TwoPlayer(GenerativeModel):
    """A WGAN-GP on rows: BatchNorm in the generator, dropout in the discriminator, ``n_critic`` discriminator steps for one of the generator.

    Args:
        dim: length of a row.
        n_critic: steps of the discriminator in one update.
        penalty: weight of (|dD/dx| - 1)^2 between data and samples, whose gradient differentiates a gradient.
    """

    log_names = ("discriminator_loss", "penalty", "generator_loss")
    latent = 3

    def __init__(self, dim=2, n_critic=2, penalty=1.0, **kwargs):
        super().__init__(**kwargs)
        self.dim, self.n_critic, self.penalty = dim, n_critic, penalty
        self.generator = keras.Sequential(
            [
                keras.Input((self.latent,)),
                layers.Dense(16, dtype=self.dtype_policy),
                BatchNormalization(momentum=0.9, dtype=self.dtype_policy),
                layers.Activation("relu", dtype=self.dtype_policy),
                layers.Dense(dim, dtype=self.dtype_policy),
            ],
            name="generator",
        )
        self.discriminator = keras.Sequential(
            [
                keras.Input((dim,)),
                layers.Dense(16, activation="gelu", dtype=self.dtype_policy),
                layers.Dropout(0.1, seed=1, dtype=self.dtype_policy),
                layers.Dense(1, dtype=self.dtype_policy),
            ],
            name="discriminator",
        )
        self.noise = keras.random.SeedGenerator(2)
        self.keep_average_of("generator")

    @property
    def players(self):
        return {
            "discriminator": self.discriminator.trainable_variables,
            "generator": self.generator.trainable_variables,
        }

    def fakes(self, n, training):
        z = keras.random.normal((n, self.latent), seed=self.noise)
        return ops.cast(self.generator(z, training=training), "float32")

    def judge(self, x, training):
        return ops.cast(self.discriminator(x, training=training)[:, 0], "float32")

    def discriminator_step(self, x):
        fake = ops.stop_gradient(self.fakes(ops.shape(x)[0], training=True))
        share = keras.random.uniform((ops.shape(x)[0], 1), seed=self.noise)
        between = share * x + (1.0 - share) * fake

        def loss_fn():
            slope = backend.grad(lambda v: self.judge(v, training=True), between)
            penalty = ops.square(ops.sqrt(ops.sum(ops.square(slope), axis=-1) + 1e-8) - 1.0)
            losses = self.judge(fake, training=True) - self.judge(x, training=True)
            return ops.mean(losses + self.penalty * penalty), {"discriminator_loss": losses, "penalty": penalty}

        return self.minimize(loss_fn, self.players["discriminator"], self.optimizer["discriminator"])

    def generator_step(self, x):
        def loss_fn():
            losses = -self.judge(self.fakes(ops.shape(x)[0], training=True), training=True)
            return ops.mean(losses), {"generator_loss": losses}

        return self.minimize(loss_fn, self.players["generator"], self.optimizer["generator"])

    def update(self, batch):
        x = ops.cast(batch.x, "float32")
        for _ in range(self.n_critic):
            logs = self.discriminator_step(x)
        return {**logs, **self.generator_step(x)}

    def measure(self, batch):
        x = ops.cast(batch.x, "float32")
        fake = self.judge(self.fakes(ops.shape(x)[0], training=False), training=False)
        slope = backend.grad(lambda v: self.judge(v, training=False), x)
        penalty = ops.square(ops.sqrt(ops.sum(ops.square(slope), axis=-1) + 1e-8) - 1.0)
        return {"discriminator_loss": fake - self.judge(x, training=False), "penalty": penalty, "generator_loss": -fake}

    def check_data(self, x, y=None):
        checks.rows("x", x, (self.dim,))

    def sample(self, n, *, seed=None, batch_size=None):
        def draw(seeds):
            return self.averaged("generator")(random.normal(seeds, (self.latent,)), training=False)

        return self.run_rows("sample", draw, [self.row_seeds(n, seed)], batch_size=batch_size)

    def get_config(self):
        return {**super().get_config(), "dim": self.dim, "n_critic": self.n_critic, "penalty": self.penalty}
