"""Generative adversarial networks.

A generator G maps noise z to examples; a discriminator D learns to tell them from the data, and G learns to mislead it:

    min_G max_D  E_x[ln s(D(x))] + E_z[ln(1 - s(D(G(z))))],  s the logistic function.

Where D is the best there is, s(D(x)) = p(x) / (p(x) + q(x)) for data of density p and samples of density q.

Reference:
    Goodfellow et al., Generative adversarial nets, 2014, Eq. 1 and Proposition 1, arXiv 1406.2661.
"""

import keras
import numpy as np
from keras import ops

from kgen.core import Endpoint, GenerativeModel, TensorSpec, checks, random
from kgen.core.endpoints import SEED
from kgen.gan import losses, networks
from kgen.gan.regularizers import get as get_regularizers


@keras.saving.register_keras_serializable(package="kgen")
class GAN(GenerativeModel):
    """A generator and a discriminator, each with an optimizer of its own.

    One training step deals the batch out: critic step k of ``n_critic`` trains the discriminator on rows k, k + n_critic, ... (which start
    over where the batch ends), so that each sees new data, and one step of the generator follows. For critic steps of 64 rows, call
    ``fit(x, batch_size=n_critic * 64)``.

    Data and samples go through the discriminator one after the other, so that its BatchNorm layers, if it has any, see one kind at a time.
    The generator's step leaves the discriminator as it was, with its moving statistics.

    ``compile`` takes one optimizer, of which each player gets a copy, or ``{"generator": ..., "discriminator": ...}``. Keras's usual Adam
    is too fast for adversaries: ``Adam(2e-4, beta_1=0.5)`` is where most begin.

    Args:
        shape: shape of one example: (H, W, C) for images in [-1, 1], or any shape, such as (D,).
        latent_dim: length of the latent vector z, standard normal.
        generator: maps z (B, latent_dim), or [z, label], to (B, *shape); ``kgen.gan.Generator`` by default.
        discriminator: maps x, or [x, label], to one logit for each, (B, 1); ``kgen.gan.Discriminator`` by default, spectrally normalised
            for images.
        loss: "non_saturating", "minimax", "least_squares", "hinge", "wasserstein", "relativistic", or a ``Loss``.
        regularizers: what is added to the discriminator's loss: "gradient_penalty", "r1", "r2", a ``Regularizer``, or several of these.
        n_critic: steps of the discriminator for each of the generator.
        num_classes: number of classes, for networks that take labels; train by ``fit(x, labels)``. See ``ConditionalGAN``.
        ema: decay of the generator's averaged weights that sampling uses, or None.
    """

    likelihood = "implicit"
    log_names = ("generator_loss", "discriminator_loss", "real_logit", "fake_logit", "penalty")

    def __init__(
        self,
        shape,
        latent_dim=64,
        *,
        generator=None,
        discriminator=None,
        loss="non_saturating",
        regularizers=(),
        n_critic=1,
        num_classes=None,
        ema=0.999,
        name="gan",
        dtype=None,
    ):
        super().__init__(ema=ema, name=name, dtype=dtype)
        self.shape = checks.shape("shape", shape)
        self.latent_dim = checks.positive_int("latent_dim", latent_dim)
        self.adversarial_loss = losses.get(loss)
        self.regularizers = get_regularizers(regularizers)
        self.n_critic = checks.positive_int("n_critic", n_critic)
        self.num_classes = None if num_classes is None else checks.positive_int("num_classes", num_classes)
        if self.num_classes is not None and (generator is None or discriminator is None):
            raise ValueError(
                "num_classes: a GAN with classes needs a generator and a discriminator that take them; kgen.gan.ConditionalGAN makes both."
            )
        self.generator = networks.Generator(self.latent_dim, self.shape) if generator is None else generator
        self.discriminator = (
            networks.Discriminator(self.shape, spectral=self.is_image) if discriminator is None else discriminator
        )
        self._check_networks()
        self.keep_average_of("generator")

    @property
    def is_image(self):
        """Whether examples are images, which lie in [-1, 1]."""
        return len(self.shape) == 3

    def _check_networks(self):
        """Runs both networks once on zeros: they must take their inputs, and return an example and one logit."""
        label = [] if self.num_classes is None else [ops.zeros((1,), dtype="int32")]
        x = _run_once("generator", self.generator, [ops.zeros((1, self.latent_dim)), *label])
        if tuple(x.shape[1:]) != self.shape:
            raise ValueError(f"generator: expected outputs (B, {_sizes(self.shape)}), received {tuple(x.shape)}.")
        logit = _run_once("discriminator", self.discriminator, [ops.zeros((1, *self.shape)), *label])
        if tuple(logit.shape) not in ((1,), (1, 1)):
            raise ValueError(
                f"discriminator: expected one logit for each example, (B, 1), received {tuple(logit.shape)}. End it with Dense(1), "
                "without a sigmoid."
            )

    # Training.

    @property
    def players(self):
        return {
            "generator": self.generator.trainable_variables,
            "discriminator": self.discriminator.trainable_variables,
        }

    def check_data(self, x, y=None):
        (checks.images if self.is_image else checks.rows)("x", x, self.shape)
        if self.num_classes is None and y is not None:
            raise ValueError("y: this model has no classes. Train by fit(x), or use kgen.gan.ConditionalGAN.")
        if self.num_classes is not None:
            if y is None:
                raise ValueError(f"y: this model has {self.num_classes} classes and needs labels: fit(x, labels).")
            checks.labels("y", y, self.num_classes, len(x))

    def noise(self, n, seed):
        """Latent vectors for training: float (n, latent_dim), by ``keras.random``."""
        return keras.random.normal((n, self.latent_dim), seed=seed)

    def latent(self, seeds):
        """Latent vectors for sampling: float (N, latent_dim), row i from row seed i alone."""
        return random.normal(seeds, (self.latent_dim,))

    def generate(self, z, label=None, training=False):
        """G(z) or G(z, label): float32 (B, *shape)."""
        return ops.cast(self.generator(z if label is None else [z, label], training=training), "float32")

    def judge(self, x, label=None, training=False):
        """D(x) or D(x, label): float32 logits (B,)."""
        logits = self.discriminator(x if label is None else [x, label], training=training)
        return ops.reshape(ops.cast(logits, "float32"), (-1,))

    def update(self, batch):
        _refuse_weights(batch)
        for k in range(self.n_critic):
            x, label = self._dealt(batch, k)
            logs = self._train_discriminator(x, label)
        return {**logs, **self._train_generator(x, label)}

    def _dealt(self, batch, k):
        """Rows k, k + n_critic, ... of a batch, which start over where it ends: ceil(B / n_critic) of them for each k."""
        x, label = ops.cast(batch.x, "float32"), None
        if self.num_classes is not None:
            label = ops.cast(ops.reshape(batch.y, (-1,)), "int32")
        if self.n_critic == 1:
            return x, label
        size = ops.shape(x)[0]
        rows = ops.arange((size + self.n_critic - 1) // self.n_critic, dtype="int32") * self.n_critic + k
        rows = rows % size
        return ops.take(x, rows, axis=0), None if label is None else ops.take(label, rows, axis=0)

    def _train_discriminator(self, x, label):
        z = self.noise(ops.shape(x)[0], self.seed_generator)
        fake = ops.stop_gradient(self.generate(z, label, training=True))

        def loss_fn():
            values, logs = self._discriminator_losses(x, fake, label, self.seed_generator, training=True)
            return ops.mean(values) + _weight_penalty(self.discriminator), logs

        return self.minimize(loss_fn, self.players["discriminator"], self.optimizer["discriminator"])

    def _discriminator_losses(self, x, fake, label, seed, training):
        def discriminator(x):
            return self.judge(x, label, training)

        real_logits, fake_logits = discriminator(x), discriminator(fake)
        values = self.adversarial_loss.discriminator(real_logits, fake_logits)
        penalty = ops.zeros_like(values)
        step = self.optimizer["discriminator"].iterations if self.regularizers else 0
        for regularizer in self.regularizers:
            penalty = penalty + regularizer(discriminator, x, fake, seed, step)
        logs = {"discriminator_loss": values, "real_logit": real_logits, "fake_logit": fake_logits, "penalty": penalty}
        return values + penalty, {name: ops.mean(value) for name, value in logs.items()}

    def _generator_losses(self, z, real, label, training):
        fake_logits = self.judge(self.generate(z, label, training=training), label, training=training)
        real_logits = self.judge(real, label, training=training) if self.adversarial_loss.pairs else None
        return self.adversarial_loss.generator(fake_logits, real_logits)

    def _train_generator(self, real, label):
        # The discriminator's running statistics are those of its own steps, half of them over data.
        kept = [(v, ops.copy(v)) for v in self.discriminator.non_trainable_weights]
        z = self.noise(ops.shape(real)[0], self.seed_generator)

        def loss_fn():
            loss = ops.mean(self._generator_losses(z, real, label, training=True))
            return loss + _weight_penalty(self.generator), {"generator_loss": loss}

        logs = self.minimize(loss_fn, self.players["generator"], self.optimizer["generator"])
        for variable, value in kept:
            variable.assign(value)
        return logs

    def measure(self, batch):
        """The losses of both players, with the same noise each time."""
        _refuse_weights(batch)
        x, label = ops.cast(batch.x, "float32"), None
        if self.num_classes is not None:
            label = ops.cast(ops.reshape(batch.y, (-1,)), "int32")
        z = self.noise(ops.shape(x)[0], 0)
        fake = self.generate(z, label)
        _, logs = self._discriminator_losses(x, fake, label, 1, training=False)
        generator_loss = ops.mean(self._generator_losses(z, x, label, training=False))
        return {**logs, "generator_loss": generator_loss}

    def call(self, inputs, training=False):
        """The generator's output for z or [z, label]."""
        return self.generator(inputs, training=training)

    # The protocol. What begins with an underscore takes and gives tensors, and is what is compiled and served.

    def sample(self, n, *, seed=None, labels=None, batch_size=None):
        """Draws z and generates.

        Args:
            n: how many.
            seed: int, or None for another result each time. Row i depends on (seed, i) alone.
            labels: for a model with classes: one int for all rows, or (n,) ints in [0, num_classes).
            batch_size: rows per compiled call; at most 256 by default.
        Returns:
            numpy float32 array (n, *shape); images are in [-1, 1].
        Raises:
            ValueError: n, seed or labels out of range; labels missing, or given to a model without classes.
        """
        arrays = [self.row_seeds(n, seed), *self._labels(n, labels)]
        return self.run_rows("sample", self._sample, arrays, batch_size=batch_size, progress=True)

    def decode(self, z, *, labels=None, batch_size=None):
        """G(z): numpy float32 array (B, *shape), for z (B, latent_dim); ``labels`` as in ``sample``."""
        z = np.asarray(z)
        checks.rows("z", z, (self.latent_dim,))
        arrays = [z.astype("float32"), *self._labels(len(z), labels)]
        return self.run_rows("decode", self._decode, arrays, batch_size=batch_size)

    def _sample(self, seeds, label=None):
        return self._decode(self.latent(seeds), label)

    def _decode(self, z, label=None):
        x = ops.cast(self.averaged("generator")(z if label is None else [z, label]), "float32")
        return ops.clip(x, -1.0, 1.0) if self.is_image else x  # for generators without tanh

    def _labels(self, n, labels):
        """The checked labels of n rows as a list of one array, or of none for a model without classes."""
        if self.num_classes is None:
            if labels is not None:
                raise ValueError("labels: this model has no classes; kgen.gan.ConditionalGAN has.")
            return []
        if labels is None:
            raise ValueError(
                f"labels: this model has {self.num_classes} classes; pass one int for all rows, or {n} of them in "
                f"[0, {self.num_classes})."
            )
        labels = np.asarray(labels)
        return [checks.labels("labels", np.full((n,), labels) if labels.ndim == 0 else labels, self.num_classes, n)]

    def endpoints(self):
        label = {}
        if self.num_classes is not None:
            label = {"label": TensorSpec((), "int32", "class", 0, self.num_classes - 1)}
        z = TensorSpec((self.latent_dim,), "float32", "latent vector")
        images = ("images",) if self.is_image else ()
        outputs = {"images": "samples in [-1, 1]" if images else "samples"}

        def sample(seed, label=None):
            return {"images": self._sample(seed, label)}

        def decode(z, label=None):
            return {"images": self._decode(z, label)}

        return [
            Endpoint("sample", sample, {"seed": SEED, **label}, outputs, images),
            Endpoint("decode", decode, {"z": z, **label}, outputs, images),
        ]

    def get_config(self):
        return {
            **super().get_config(),
            "shape": list(self.shape),
            "latent_dim": self.latent_dim,
            "generator": keras.saving.serialize_keras_object(self.generator),
            "discriminator": keras.saving.serialize_keras_object(self.discriminator),
            "loss": keras.saving.serialize_keras_object(self.adversarial_loss),
            "regularizers": [keras.saving.serialize_keras_object(r) for r in self.regularizers],
            "n_critic": self.n_critic,
            "num_classes": self.num_classes,
        }


def _refuse_weights(batch):
    if batch.weight is not None:
        raise ValueError(
            "sample_weight: a GAN does not weigh its rows; repeat in the data what is to be seen more often."
        )


def _weight_penalty(network):
    """The sum of a network's own penalties, such as ``kernel_regularizer``'s."""
    return sum((ops.cast(penalty, "float32") for penalty in network.losses), ops.zeros(()))


def _sizes(shape):
    return ", ".join(map(str, shape))


def _run_once(name, network, inputs):
    try:
        return network(inputs[0] if len(inputs) == 1 else inputs)
    except Exception as error:
        takes = f"(B, {_sizes(inputs[0].shape[1:])})" + (" and labels (B,)" if len(inputs) > 1 else "")
        raise ValueError(f"{name}: expected a network of inputs {takes}; it failed on them: {error}") from error
