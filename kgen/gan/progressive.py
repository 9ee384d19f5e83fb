"""Progressive GAN: images that grow while training.

Both networks begin with small images; layers for larger ones are faded in, one size after the other, while a level goes from 0 to that of
the full size. With S generator's steps for each stage, the level stays at 0 for S of them, takes S to get to 1, stays for S, and so on:

    level(step) = sum_k clip(step / S - (2 k - 1), 0, 1).

Reference:
    Karras et al., Progressive growing of GANs for improved quality, stability, and variation, 2018, section 2 and appendix A, arXiv 1710.10196.
"""

import keras
from keras import ops

from kgen.core import checks
from kgen.gan.gan import GAN
from kgen.gan.losses import WassersteinLoss
from kgen.gan.networks import refuse_classes
from kgen.gan.regularizers import GradientPenalty, Regularizer
from kgen.networks import ProgressiveDiscriminator, ProgressiveGenerator
from kgen.networks.halving import a_number_or_several


@keras.saving.register_keras_serializable(package="kgen")
class Drift(Regularizer):
    """weight * D(x)^2 of the data: keeps the logits of a Wasserstein discriminator near zero. Reference: Karras et al. 2018, appendix A.1."""

    def __init__(self, weight=1e-3, every=1):
        super().__init__(every)
        self.weight = checks.in_range("weight", weight, 0.0, 1e6)

    def __call__(self, function, real, fake, seeds, step=0, state=None):
        return self.weight * ops.square(function(real))


@keras.saving.register_keras_serializable(package="kgen")
class ProgressiveGAN(GAN):
    """A GAN of images that grows by a level inside of one pair of networks; samples are of the full size at any level.

    What is not grown yet is computed all the same: a step costs as much at the start as at the end. The discriminator sees groups of rows
    (``MinibatchStandardDeviation``), and slopes are those of a group's logits together, as in the paper's code. ``compile()`` trains both players
    by the paper's ``Adam(1e-3, beta_1=0, beta_2=0.99)``.

    Args:
        shape: (H, W, C) of images in [-1, 1].
        latent_dim: length of z; 512 in the paper.
        stage_steps: S, generator's steps of each stage.
        width: channels of the smaller images, 512 in the paper; or those of each size, the smallest first.
        levels: how often the sides double; as often as they can from 4 pixels or fewer by default.
        generator, discriminator: networks of [z, level] and [x, level]; by default ``kgen.networks.ProgressiveGenerator`` and
            ``ProgressiveDiscriminator``.
        adversarial_loss, regularizers: as in ``GAN``; by default the paper's Wasserstein loss with gradient penalty and ``Drift``.
        **kwargs: ``n_critic``, ``augmentation``, ``ema`` as in ``GAN``.
    """

    def __init__(
        self,
        shape,
        latent_dim=128,
        *,
        stage_steps=1000,
        width=128,
        levels=None,
        generator=None,
        discriminator=None,
        adversarial_loss=None,
        regularizers=None,
        name="progressive_gan",
        **kwargs,
    ):
        if generator is None or discriminator is None:
            refuse_classes("ProgressiveGAN", **kwargs)
        policy = {"dtype": kwargs.get("dtype")}
        if generator is None:
            generator = ProgressiveGenerator(latent_dim, shape, width, levels, **policy)
        levels = getattr(generator, "levels", None) if levels is None else levels
        if levels is None:
            raise ValueError(
                "levels: expected how often the sides double, which this generator does not say by levels."
            )
        if discriminator is None:
            discriminator = ProgressiveDiscriminator(shape, width, levels, **policy)
        for player, network in (("generator", generator), ("discriminator", discriminator)):
            if getattr(network, "levels", levels) != levels:
                raise ValueError(
                    f"{player}: expected a network of {levels} levels, as both grow together, received one of {network.levels}."
                )
        super().__init__(
            shape,
            latent_dim,
            generator=generator,
            discriminator=discriminator,
            adversarial_loss=WassersteinLoss() if adversarial_loss is None else adversarial_loss,
            regularizers=(GradientPenalty(), Drift()) if regularizers is None else regularizers,
            name=name,
            **kwargs,
        )
        self.stage_steps, self.levels = checks.positive_int("stage_steps", stage_steps), levels
        self.width = a_number_or_several(width)
        self.keep_state("growth", {"level": 0.0})

    def default_optimizer(self):
        """The paper's: Adam(1e-3, beta_1=0, beta_2=0.99)."""
        return keras.optimizers.Adam(1e-3, beta_1=0.0, beta_2=0.99)

    def level_at(self, step):
        """The level after ``step`` steps of the generator: float scalar tensor in [0, levels]."""
        stage = ops.cast(step, "float32") / self.stage_steps
        return sum(ops.clip(stage - (2 * k - 1), 0.0, 1.0) for k in range(1, self.levels + 1))

    def further(self, rows, player="generator"):
        level = self.state_of("growth")["level"] if "growth" in self._state_names else 0.0
        return {"level": level + ops.zeros((ops.shape(rows)[0],), dtype="float32")}

    def shown(self, x):
        """Data (B, H, W, C) as large as samples have grown, and faded in as these: what the discriminator compares them with (section 2)."""
        level = self.state_of("growth")["level"]
        sizes = [x]
        for _ in range(self.levels):
            sizes.insert(0, ops.average_pool(sizes[0], 2, strides=2))
        image = sizes[0]
        for k, larger in enumerate(sizes[1:]):
            a = ops.clip(level - k, 0.0, 1.0)
            image = (1.0 - a) * ops.repeat(ops.repeat(image, 2, axis=1), 2, axis=2) + a * larger
        return image

    def discriminator_losses(self, batch, training, through=False):
        if training:  # the level of this step, which sampling goes on from
            self.set_state("growth", {"level": self.level_at(self.optimizer["generator"].iterations)})
        batch = batch._replace(x=self.shown(ops.cast(batch.x, "float32")))
        return super().discriminator_losses(batch, training, through)

    def generator_losses(self, batch, training):
        if self.adversarial_loss.pairs:
            batch = batch._replace(x=self.shown(ops.cast(batch.x, "float32")))
        return super().generator_losses(batch, training)

    def get_config(self):
        config = super().get_config()
        return {**config, "stage_steps": self.stage_steps, "width": self.width, "levels": self.levels}
