"""GANs that make one image of another: a generator with a distance from what it should have made, and a discriminator."""

import functools

import keras
from keras import ops

from kgen.core import Endpoint, TensorSpec, checks, random
from kgen.gan import losses
from kgen.gan.adversarial import AdversarialModel, Player, Turn, mean_of_rows
from kgen.gan.networks import is_image, run_network, run_once
from kgen.gan.regularizers import get as get_regularizers


class PairedGAN(AdversarialModel):
    """The ground of ``Pix2Pix`` and ``SRGAN``: a generator G of images y from images x, and a discriminator.

    The generator minimises its adversarial loss times ``adversarial_weight`` and ``distance(y, G(x))``. A subclass says what a batch's x and
    y are (``pair``), what the discriminator sees (``seen``), and the distance.

    Args:
        source, target: shapes (H, W, C) of x and of y.
        generator: network from x to y.
        discriminator: network from what ``seen`` gives to a logit or several, (B, ...).
        adversarial_loss: as in ``GAN``.
        adversarial_weight: of the generator's adversarial loss.
        regularizers: what is added to the discriminator's loss, as in ``GAN``.
        augmentation: what the discriminator's images go through, an ``Augmentation`` or None.
        ema: decay of an averaged generator that evaluation and translation use, or None.
    """

    likelihood = "implicit"
    log_names = ("generator_loss", "adversarial", "distance", "discriminator_loss", "penalty")
    verb = "make"  # the name of its endpoint

    def __init__(
        self,
        source,
        target,
        generator,
        discriminator,
        *,
        adversarial_loss,
        adversarial_weight=1.0,
        regularizers=(),
        augmentation=None,
        ema=None,
        name=None,
        dtype=None,
    ):
        super().__init__(augmentation=augmentation, ema=ema, name=name, dtype=dtype)
        self.source, self.target = tuple(source), tuple(target)
        for argument, shape in (("source", self.source), ("target", self.target)):
            if not is_image(shape):
                raise ValueError(
                    f"{argument}: {type(self).__name__} is of images, expected (H, W, C), received {shape}."
                )
        self.adversarial_loss = losses.get(adversarial_loss)
        self.adversarial_weight = checks.in_range("adversarial_weight", adversarial_weight, 0.0, 1e6)
        self.regularizers = get_regularizers(regularizers)
        self.generator, self.discriminator = generator, discriminator
        x, y = ops.zeros((1, *self.source)), ops.zeros((1, *self.target))
        made = run_once("generator", self.generator, [x])
        if tuple(made.shape[1:]) != self.target:
            sizes = ", ".join(map(str, self.target))
            raise ValueError(f"generator: expected outputs (B, {sizes}), received {tuple(made.shape)}.")
        seen = self.seen(x, y)
        run_once("discriminator", self.discriminator, [seen])
        if self.augmentation is not None:
            for image in self.images_of(seen):
                self.augmentation.check(tuple(image.shape[1:]))
        self.start_players()
        self.keep_average_of("generator")

    # What a subclass says.

    def pair(self, batch):
        """The images x and y of a batch, float32."""
        raise NotImplementedError

    def seen(self, x, y):
        """What the discriminator is given."""
        return y

    def images_of(self, seen):
        """The images in what the discriminator is given, which an augmentation changes alike."""
        return [seen]

    def distance(self, y, made):
        """From images y to those that were made, (B,)."""
        raise NotImplementedError

    # Training.

    @property
    def roles(self):
        return {
            "discriminator": Player(
                ("discriminator",), self.discriminator_losses, 1, self.regularizers, discriminator=True
            ),
            "generator": Player(("generator",), self.generator_losses),
        }

    def make(self, x, training=False):
        """G(x): float32 (B, *target). Averaged weights are used where not training."""
        return run_network(self.network_for(training, "generator"), x, training=training)

    def _discriminator(self, batch, training):
        def discriminator(seen, draw, running=training):
            seeds = random.fold_in(batch.seeds, 1 + draw)
            parts = [self.augmented("discriminator", image, seeds, training) for image in self.images_of(seen)]
            seen = ops.concatenate(parts, axis=-1) if len(parts) > 1 else parts[0]
            return run_network(self.discriminator, seen, training=running)

        return discriminator

    def discriminator_losses(self, batch, training):
        """The discriminator's ``Turn``."""
        x, y = self.pair(batch)
        discriminator = self._discriminator(batch, training)
        real, fake = self.seen(x, y), self.seen(x, ops.stop_gradient(self.make(x, training)))
        real_logits, fake_logits = discriminator(real, 0), discriminator(fake, 1)
        values = mean_of_rows(self.adversarial_loss.discriminator(real_logits, fake_logits))
        function = functools.partial(self._mean_logit, discriminator)
        return Turn(values, {"discriminator_loss": values}, function, real, fake, real_logits)

    def _mean_logit(self, discriminator, seen):
        return mean_of_rows(discriminator(seen, 0, running=False))

    def generator_losses(self, batch, training):
        """The generator's ``Turn``."""
        x, y = self.pair(batch)
        made, discriminator = self.make(x, training), self._discriminator(batch, training)
        real_logits = discriminator(self.seen(x, y), 0) if self.adversarial_loss.pairs else None
        adversarial = self.adversarial_values("generator", discriminator(self.seen(x, made), 1), real_logits)
        distance = self.distance(y, made)
        values = self.adversarial_weight * adversarial + distance
        return Turn(values, {"generator_loss": values, "adversarial": adversarial, "distance": distance})

    def call(self, x, training=False):
        """G(x)."""
        return self.generator(x, training=training)

    # The protocol.

    def sample(self, n, **kwargs):
        raise NotImplementedError(f"{type(self).__name__} makes images of images and draws none by itself. GAN draws.")

    def run_images(self, x, batch_size):
        """G(x) for a user's array: checked, compiled; numpy float32 (N, *target)."""
        x = checks.data_array("x", x)
        checks.images("x", x, self.source)
        return self.run_rows("make", self.make_rows, [x.astype("float32")], batch_size=batch_size, progress=True)

    def make_rows(self, x):
        """G(x) in [-1, 1] of images (B, *source); compiled and served."""
        return ops.clip(self.make(x), -1.0, 1.0)

    def endpoints(self):
        x = TensorSpec(self.source, "float32", "image in [-1, 1]", -1.0, 1.0, kind="image")

        def run(x):
            return {"images": self.make_rows(x)}

        return [Endpoint(self.verb, run, {"x": x}, {"images": "in [-1, 1]"}, ("images",))]

    def get_config(self):
        return {
            **super().get_config(),
            "generator": keras.saving.serialize_keras_object(self.generator),
            "discriminator": keras.saving.serialize_keras_object(self.discriminator),
            "adversarial_loss": keras.saving.serialize_keras_object(self.adversarial_loss),
            "adversarial_weight": self.adversarial_weight,
            "regularizers": [keras.saving.serialize_keras_object(r) for r in self.regularizers],
        }
