"""GANs of classes."""

import keras

from kgen.core import checks
from kgen.gan.gan import GAN
from kgen.gan.networks import Discriminator, Generator


@keras.saving.register_keras_serializable(package="kgen")
class ConditionalGAN(GAN):
    """A GAN that draws examples of a given class: ``fit(x, labels)``, ``sample(n, labels=...)``.

    Args:
        shape: as in ``GAN``.
        num_classes: number of classes.
        latent_dim: length of the latent vector z.
        conditioning: how the discriminator sees the class: "projection", "concatenation", or a ``Conditioning``. It concerns the default
            discriminator; the default generator takes the class as a one-hot vector beside z.
        generator, discriminator: as in ``GAN``, with [z, label] and [x, label] as inputs.
        loss: as in ``GAN``; the hinge loss by default, with which Miyato & Koyama trained.
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
        loss="hinge",
        name="conditional_gan",
        **kwargs,
    ):
        num_classes = checks.positive_int("num_classes", num_classes)
        latent_dim = checks.positive_int("latent_dim", latent_dim)
        if generator is None:
            generator = Generator(latent_dim, shape, num_classes=num_classes)
        if discriminator is None:
            spectral = len(tuple(shape)) == 3
            discriminator = Discriminator(shape, spectral=spectral, num_classes=num_classes, conditioning=conditioning)
        super().__init__(
            shape,
            latent_dim,
            generator=generator,
            discriminator=discriminator,
            loss=loss,
            num_classes=num_classes,
            name=name,
            **kwargs,
        )
