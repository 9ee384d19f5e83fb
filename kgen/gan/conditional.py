"""GANs of classes."""

import keras

from kgen.core import checks
from kgen.core.conditions import LabelCondition
from kgen.gan.gan import GAN
from kgen.gan.networks import Discriminator, Generator, is_image


@keras.saving.register_keras_serializable(package="kgen")
class ConditionalGAN(GAN):
    """A GAN that draws examples of a given class: ``fit(x, labels)``, ``sample(n, labels=...)``.

    Args:
        shape: as in ``GAN``.
        num_classes: number of classes, or a list of their names, by which they can be asked for.
        latent_dim: length of the latent vector z.
        conditioning: how the discriminator sees the class: "projection", "concatenation", or a ``Conditioning``. It concerns the default
            discriminator; the default generator takes the class as a one-hot vector beside z.
        generator, discriminator: as in ``GAN``, with [z, label] and [x, label] as inputs.
        adversarial_loss: as in ``GAN``; the hinge loss by default, with which Miyato & Koyama trained.
        **kwargs: ``regularizers``, ``n_critic``, ``ema`` ... as in ``GAN``.
    Reference:
        Mirza & Osindero, Conditional generative adversarial nets, 2014, arXiv 1411.1784; Miyato & Koyama, cGANs with projection
        discriminator, 2018, arXiv 1802.05637.
    """

    def __init__(
        self,
        shape,
        num_classes,
        latent_dim=64,
        *,
        conditioning="projection",
        generator=None,
        discriminator=None,
        adversarial_loss="hinge",
        name="conditional_gan",
        **kwargs,
    ):
        classes = LabelCondition(num_classes).count
        latent_dim = checks.positive_int("latent_dim", latent_dim)
        if generator is None:
            generator = Generator(latent_dim, shape, num_classes=classes, dtype=kwargs.get("dtype"))
        if discriminator is None:
            told = {"num_classes": classes, "conditioning": conditioning}
            discriminator = Discriminator(shape, spectral=is_image(shape), dtype=kwargs.get("dtype"), **told)
        super().__init__(
            shape,
            latent_dim,
            generator=generator,
            discriminator=discriminator,
            adversarial_loss=adversarial_loss,
            num_classes=num_classes,
            name=name,
            **kwargs,
        )
