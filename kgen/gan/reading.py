"""GANs whose discriminator also reads something off what it judges: its class (ACGAN), the codes that it was made from (InfoGAN)."""

from keras import ops

from kgen.core import checks, random
from kgen.gan.adversarial import Turn
from kgen.gan.gan import GAN
from kgen.gan.networks import run_once


class ReadingGAN(GAN):
    """A GAN whose discriminator returns a list: the logit (B, 1), and readings (B, n), one for each of ``reading_sizes``.

    It is given examples alone, without conditions. Both players add ``reading_weight`` times ``reading_losses`` to their losses.

    Args:
        shape, latent_dim, generator, discriminator: as in ``GAN``.
        reading_weight: lambda in the papers.
        **kwargs: as in ``GAN``.
    """

    def __init__(self, shape, latent_dim, *, reading_weight=1.0, **kwargs):
        super().__init__(shape, latent_dim, **kwargs)
        self.reading_weight = checks.in_range("reading_weight", reading_weight, 0.0, 1e6)

    @property
    def reading_sizes(self):
        """Length of each reading: a tuple of ints."""
        raise NotImplementedError

    def reading_losses(self, readings, batch, z, real):
        """What the readings of the data, where ``real``, or of samples G(z) add to a player's loss.

        Args:
            readings: list of float tensors (B, n).
            batch: ``Batch``.
            z: latent vectors (B, latent_dim).
            real: bool.
        Returns:
            ``(losses, logs)``: float (B,) or 0, and a dict of tensors (B,).
        """
        raise NotImplementedError

    def _check_discriminator(self, values):
        outputs = run_once("discriminator", self.discriminator, [ops.zeros((1, *self.shape))])
        outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
        expected, found = [1, *self.reading_sizes], [tuple(o.shape) for o in outputs]
        if found != [(1, n) for n in expected]:
            names = ", ".join(f"(B, {n})" for n in expected)
            raise ValueError(
                f"discriminator: expected a list of outputs {names}, the logit and the readings, received {found}. "
                f"kgen.gan.Discriminator(shape, readings={self.reading_sizes}) makes one."
            )

    def read(self, x, training=False):
        """The discriminator's logits (B,) and readings, a list of float32 tensors (B, n)."""
        logits, *readings = self.discriminator(x, training=training)
        return ops.reshape(ops.cast(logits, "float32"), (-1,)), [ops.cast(r, "float32") for r in readings]

    def discriminate(self, x, values=None, training=False):
        return self.read(x, training)[0]

    def _seen(self, batch, x, draw, training):
        return self.read(self.augmented("discriminator", x, random.fold_in(batch.seeds, 1 + draw), training), training)

    def discriminator_losses(self, batch, training, through=False):
        x, z = ops.cast(batch.x, "float32"), self.latent(batch.seeds)
        fake = self.generate(z, batch.conditions, training)
        fake = fake if through else ops.stop_gradient(fake)
        real_logits, real_readings = self._seen(batch, x, 0, training)
        fake_logits, fake_readings = self._seen(batch, fake, 1, training)
        of_real, told = self.reading_losses(real_readings, batch, z, True)
        of_fake, more = self.reading_losses(fake_readings, batch, z, False)
        losses = self.adversarial_loss.discriminator(real_logits, fake_logits) + self.reading_weight * (
            of_real + of_fake
        )
        logs = {"discriminator_loss": losses, "real_logit": real_logits, "fake_logit": fake_logits, **told, **more}
        discriminator = self._discriminator(batch, training)
        return Turn(losses, logs, lambda x: discriminator(x, 0, running=False), x, fake, real_logits)

    def generator_losses(self, batch, training):
        z, generator = self.latent(batch.seeds), self.network_for(training, "generator")
        fake_logits, readings = self._seen(batch, self.generate(z, batch.conditions, training), 1, training)
        pairs = self.adversarial_loss.pairs
        real_logits = self._seen(batch, ops.cast(batch.x, "float32"), 0, training)[0] if pairs else None
        losses = self.adversarial_values("generator", fake_logits, real_logits)
        losses = losses + self.reading_weight * self.reading_losses(readings, batch, z, False)[0]
        return Turn(losses, {"generator_loss": losses}, self._of_latent(generator, batch), fake=z)

    def get_config(self):
        return {**super().get_config(), "reading_weight": self.reading_weight}


def cross_entropy(logits, targets):
    """-sum_k targets_k ln softmax(logits)_k: float (B,), nats."""
    return -ops.sum(targets * ops.log_softmax(logits, axis=-1), axis=-1)


def agreement(logits, targets):
    """1 where the largest logit is that of the target, else 0: float (B,)."""
    return ops.cast(ops.equal(ops.argmax(logits, axis=-1), ops.argmax(targets, axis=-1)), "float32")
