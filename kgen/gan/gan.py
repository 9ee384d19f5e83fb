"""Generative adversarial networks.

A generator G maps noise z to examples; a discriminator D learns to tell them from the data, and G learns to mislead it:

    min_G max_D  E_x[ln s(D(x))] + E_z[ln(1 - s(D(G(z))))],  s the logistic function.

Where D is the best there is, s(D(x)) = p(x) / (p(x) + q(x)) for data of density p and samples of density q.

Reference:
    Goodfellow et al., Generative adversarial nets, 2014, Eq. 1 and Proposition 1, arXiv 1406.2661.
"""

import functools

import keras
import numpy as np
from keras import ops

from kgen.core import Endpoint, TensorSpec, checks, random
from kgen.core.conditions import of_classes
from kgen.core.endpoints import SEED
from kgen.core.sphere import slerp
from kgen.gan import losses, networks
from kgen.gan import unrolled as unrolling
from kgen.gan.adversarial import AdversarialModel, Player, Turn
from kgen.gan.networks import run_network, run_once
from kgen.gan.regularizers import get as get_regularizers


@keras.saving.register_keras_serializable(package="kgen")
class GAN(AdversarialModel):
    """A generator and a discriminator, each with an optimizer of its own.

    One training step takes ``n_critic`` steps of the discriminator, to which the batch is dealt out, and one of the generator with as many
    rows. For discriminator steps of 64 rows, call ``fit(x, batch_size=n_critic * 64)``.

    Data and samples go through the discriminator one after the other, so that its BatchNorm layers, if it has any, see one kind at a time.

    ``compile()`` trains both players by ``Adam(2e-4, beta_1=0.5)``. It takes one optimizer, of which each player gets a copy, or
    ``{"generator": ..., "discriminator": ...}``.

    Args:
        shape: shape of one example: (H, W, C) for images in [-1, 1], or any shape, such as (D,).
        latent_dim: length of the latent vector z, standard normal.
        generator: maps z (B, latent_dim), or [z, label], to (B, *shape); ``kgen.gan.Generator`` by default.
        discriminator: maps x, or [x, label], to one logit for each, (B, 1); ``kgen.gan.Discriminator`` by default, spectrally normalised
            for images.
        adversarial_loss: "non_saturating", "minimax", "least_squares", "hinge", "wasserstein", "relativistic", or a ``Loss``.
        regularizers: what is added to the discriminator's loss: "gradient_penalty", "r1", "r2", a ``Regularizer``, or several of these.
        generator_regularizers: what is added to the generator's: "path_length", a ``Regularizer``, or several.
        n_critic: steps of the discriminator for each of the generator.
        augmentation: what data and samples go through before the discriminator sees them, an ``Augmentation`` or None.
        unrolled: an ``Unrolling``, by which the generator looks some of the discriminator's steps ahead, or None.
        num_classes: number of classes, or their names, for networks that take labels; train by ``fit(x, labels)``. See
            ``ConditionalGAN``.
        conditions: in place of ``num_classes``: a list of ``kgen.core.conditions.Condition``, whose tensors both networks get after z or x.
        ema: decay of the generator's averaged weights that evaluation and sampling use, or None.
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
        adversarial_loss="non_saturating",
        regularizers=(),
        generator_regularizers=(),
        n_critic=1,
        augmentation=None,
        unrolled=None,
        num_classes=None,
        conditions=None,
        ema=0.999,
        name="gan",
        dtype=None,
    ):
        if num_classes is not None and conditions is not None:
            raise ValueError(
                "conditions: expected num_classes or conditions, received both. LabelCondition is one of classes."
            )
        super().__init__(
            augmentation=augmentation,
            conditions=of_classes(num_classes) if conditions is None else conditions,
            ema=ema,
            name=name,
            dtype=dtype,
        )
        self.shape = checks.shape("shape", shape)
        self.latent_dim = checks.positive_int("latent_dim", latent_dim)
        self.adversarial_loss = losses.get(adversarial_loss)
        self.regularizers = get_regularizers(regularizers)
        self.generator_regularizers = get_regularizers(generator_regularizers, "generator_regularizers")
        self.n_critic = checks.positive_int("n_critic", n_critic)
        self.unrolled = unrolling.get(unrolled)
        self.num_classes = num_classes
        if self.augmentation is not None:
            self.augmentation.check(self.shape)
        if len(self.conditions) and (generator is None or discriminator is None):
            name = "conditions" if num_classes is None else "num_classes"
            raise ValueError(
                f"{name}: expected a generator and a discriminator that take what samples are conditioned on, received "
                "generator=None or discriminator=None. For classes kgen.gan.ConditionalGAN makes both."
            )
        policy = self.dtype_policy
        self.generator = (
            networks.Generator(self.latent_dim, self.shape, dtype=policy) if generator is None else generator
        )
        if discriminator is None:
            discriminator = networks.Discriminator(self.shape, spectral=self.is_image, dtype=policy)
        self.discriminator = discriminator
        self._check_networks()
        self.start_players()
        self.keep_average_of("generator")

    @property
    def is_image(self):
        """Whether examples are images, which lie in [-1, 1]."""
        return networks.is_image(self.shape)

    def _check_networks(self):
        """Runs both networks once on zeros: they must take their inputs, and return an example and one logit."""
        values = [ops.zeros((1, *spec.shape), dtype=spec.dtype) for spec in self.conditions.specs().values()]
        z = ops.zeros((1, self.latent_dim))
        x = run_once("generator", self.generator, [z, *values, *self.further(z).values()])
        if tuple(x.shape[1:]) != self.shape:
            sizes = ", ".join(map(str, self.shape))
            raise ValueError(f"generator: expected outputs (B, {sizes}), received {tuple(x.shape)}.")
        self._check_discriminator(values)

    def _check_discriminator(self, values):
        x = ops.zeros((1, *self.shape))
        logit = run_once("discriminator", self.discriminator, [x, *values, *self.further(x, "discriminator").values()])
        if tuple(logit.shape) not in ((1,), (1, 1)):
            raise ValueError(
                f"discriminator: expected one logit for each example, (B, 1), received {tuple(logit.shape)}. End it with Dense(1), "
                "without a sigmoid."
            )

    # Training.

    @property
    def roles(self):
        discriminator = Player(
            ("discriminator",), self.discriminator_losses, self.n_critic, self.regularizers, discriminator=True
        )
        generator_losses = self.generator_losses
        if self.unrolled is not None:
            generator_losses = functools.partial(self.unrolled.generator_losses, self)
        return {
            "discriminator": discriminator,
            "generator": Player(("generator",), generator_losses, 1, self.generator_regularizers),
        }

    def check_examples(self, x):
        (checks.images if self.is_image else checks.rows)("x", x, self.shape)
        return super().check_examples(x)

    def latent(self, seeds):
        """Latent vectors: float (B, latent_dim), row i from row seed i alone."""
        return random.normal(seeds, (self.latent_dim,))

    def latent_way(self, a, b, steps):
        """Latent vectors (N, steps, latent_dim) between those of two samples: for normal ones, on the great circle."""
        return slerp(a, b, steps)

    def generate(self, z, values=None, training=False):
        """G(z), or G(z, ...) with the tensors of conditions by name: float32 (B, *shape). Averaged weights are used where not training."""
        return self._run_generator(self.network_for(training, "generator"), z, values, training)

    def _run_generator(self, generator, z, values=None, training=False):
        return run_network(generator, z, {**(values or {}), **self.further(z)}, training)

    def further(self, rows, player="generator"):
        """What a network gets beside its rows (B, ...) and the conditions: a dict of tensors (B, ...). Here nothing."""
        return {}

    def discriminate(self, x, values=None, training=False):
        """D(x), or D(x, ...) with the tensors of conditions by name: float32 logits (B,)."""
        values = {**(values or {}), **self.further(x, "discriminator")}
        return ops.reshape(run_network(self.discriminator, x, values, training), (-1,))

    def _discriminator(self, batch, training):
        """The discriminator of a batch: a function from examples, and which of two draws of the augmentation they get, to logits (B,)."""

        def discriminator(x, draw, running=training):
            x = self.augmented("discriminator", x, random.fold_in(batch.seeds, 1 + draw), training)
            return self.discriminate(x, batch.conditions, running)

        return discriminator

    def discriminator_losses(self, batch, training, through=False):
        """The discriminator's ``Turn``; ``through``: whether gradients reach the generator through the samples."""
        x = ops.cast(batch.x, "float32")
        fake = self.generate(self.latent(batch.seeds), batch.conditions, training)
        fake = fake if through else ops.stop_gradient(fake)
        discriminator = self._discriminator(batch, training)
        real_logits, fake_logits = discriminator(x, 0), discriminator(fake, 1)
        values = self.adversarial_loss.discriminator(real_logits, fake_logits)
        logs = {"discriminator_loss": values, "real_logit": real_logits, "fake_logit": fake_logits}

        def function(x):
            return discriminator(x, 0, running=False)

        return Turn(values, logs, function, x, fake, real_logits)

    def generator_losses(self, batch, training):
        """The generator's ``Turn``."""
        z = self.latent(batch.seeds)
        discriminator, generator = self._discriminator(batch, training), self.network_for(training, "generator")
        fake_logits = discriminator(self.generate(z, batch.conditions, training), 1)
        pairs = self.adversarial_loss.pairs
        real_logits = discriminator(ops.cast(batch.x, "float32"), 0) if pairs else None
        values = self.adversarial_values("generator", fake_logits, real_logits)
        return Turn(values, {"generator_loss": values}, self._of_latent(generator, batch), fake=z)

    def _of_latent(self, generator, batch):
        """The generator as a function of z alone, for its regularisers."""
        return lambda z: self._run_generator(generator, z, batch.conditions)

    def call(self, inputs, training=False):
        """The generator's output for z or [z, label]."""
        return self.generator(inputs, training=training)

    # The protocol.

    def sample(self, n, *, seed=None, batch_size=None, **given):
        """Draws z and generates.

        Args:
            n: how many.
            seed: int, or None for another result each time. Row i depends on (seed, i) alone.
            batch_size: rows per compiled call; at most 256 by default.
            **given: conditions by name, ``labels`` for classes: one for all rows, or n of them.
        Returns:
            numpy float32 array (n, *shape); images are in [-1, 1].
        Raises:
            ValueError, TypeError: n, seed or a condition out of range; one missing, or one that the model does not have.
        """
        arrays = {"seeds": self.row_seeds(n, seed), **self.conditions.rows(n, given)}
        return self.run_rows("sample", self.sample_rows, arrays, batch_size=batch_size, progress=True)

    def decode(self, z, *, batch_size=None, **given):
        """G(z): numpy float32 array (B, *shape), for z (B, latent_dim); conditions as in ``sample``."""
        z = np.asarray(z)
        checks.rows("z", z, (self.latent_dim,))
        arrays = {"z": z.astype("float32"), **self.conditions.rows(len(z), given)}
        return self.run_rows("decode", self.decode_rows, arrays, batch_size=batch_size)

    def interpolate_seeds(self, n, a, b, steps=8, *, batch_size=None, **given):
        """Examples between the samples of two seeds: G of latent vectors between theirs.

        Args:
            n: how many ways.
            a, b: ints, the seeds; row i goes from that of ``sample(n, seed=a)`` to that of ``sample(n, seed=b)``.
            steps: number of points, ends included, at least 2.
            batch_size: as in ``sample``.
            **given: conditions as in ``sample``, the same on the whole way.
        Returns:
            numpy float32 array (n, steps, *shape). Of a generator that draws more than z, such as a ``StyleGAN2``'s noise, as ``decode``.
        """
        ends = [
            self.run_rows("latent", self.latent, [self.row_seeds(n, seed)], batch_size=batch_size) for seed in (a, b)
        ]
        checks.pairs(*ends, steps)
        z = self.latent_way(*ends, steps).reshape(-1, self.latent_dim)
        rows = {name: np.repeat(value, steps, axis=0) for name, value in self.conditions.rows(n, given).items()}
        found = self.run_rows("decode", self.decode_rows, {"z": z, **rows}, batch_size=batch_size)
        return found.reshape(n, steps, *self.shape)

    def sample_rows(self, seeds, **values):
        """Samples (B, *shape) from row seeds (B, 2) and the tensors of conditions by name; compiled and served."""
        return self.decode_rows(self.latent(seeds), **values)

    def decode_rows(self, z, **values):
        """G(z) (B, *shape) from z (B, latent_dim) and the tensors of conditions by name; compiled and served."""
        x = self.generate(z, {name: values[name] for name in self.conditions.specs()})
        return ops.clip(x, -1.0, 1.0) if self.is_image else x  # for generators without tanh

    def endpoints(self):
        specs = self.conditions.specs()
        z = TensorSpec((self.latent_dim,), "float32", "latent vector")
        images = ("images",) if self.is_image else ()
        outputs = {"images": "samples in [-1, 1]" if images else "samples"}

        def sample(seed, **values):
            return {"images": self.sample_rows(seed, **values)}

        def decode(z, **values):
            return {"images": self.decode_rows(z, **values)}

        return [
            Endpoint("sample", sample, {"seed": SEED, **specs}, outputs, images),
            Endpoint("decode", decode, {"z": z, **specs}, outputs, images),
        ]

    def get_config(self):
        return {
            **super().get_config(),
            "shape": list(self.shape),
            "latent_dim": self.latent_dim,
            "generator": keras.saving.serialize_keras_object(self.generator),
            "discriminator": keras.saving.serialize_keras_object(self.discriminator),
            "adversarial_loss": keras.saving.serialize_keras_object(self.adversarial_loss),
            "regularizers": [keras.saving.serialize_keras_object(r) for r in self.regularizers],
            "generator_regularizers": [keras.saving.serialize_keras_object(r) for r in self.generator_regularizers],
            "n_critic": self.n_critic,
            "unrolled": self.unrolled and keras.saving.serialize_keras_object(self.unrolled),
            "num_classes": self.num_classes,
            "conditions": None if self.num_classes is not None else self.conditions.get_config() or None,
        }

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        if "loss" in config:  # files of kgen 0.1
            config["adversarial_loss"] = config.pop("loss")
        return super().from_config(config)
