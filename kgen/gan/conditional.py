"""GANs of classes, and of other conditions."""

import keras

from kgen.core import checks
from kgen.core.conditions import LabelCondition
from kgen.gan.gan import GAN
from kgen.gan.networks import Discriminator, Generator, is_image


@keras.saving.register_keras_serializable(package="kgen")
class ConditionalGAN(GAN):
    """A GAN that draws examples of a given class: ``fit(x, labels)``, ``sample(n, labels=...)``; or of a text: ``conditions=``.

    Args:
        shape: as in ``GAN``.
        num_classes: number of classes, or a list of their names, by which they can be asked for. None with ``conditions``.
        latent_dim: length of the latent vector z.
        conditioning: how the discriminator sees the class: "projection", "concatenation", or a ``Conditioning``. It concerns the default
            discriminator.
        generator_conditioning: how the default generator is told the class: "concatenation", a one-hot vector beside z, or for images
            "batch_norm", a scale and a shift of each class in each normalisation.
        conditions: in place of ``num_classes``: a list of ``kgen.core.conditions``: labels, vectors, and texts (``SequenceCondition``), which
            both networks read as the mean of learned vectors of their tokens.
        generator, discriminator: as in ``GAN``, with [z, label] and [x, label] as inputs.
        adversarial_loss: as in ``GAN``; the hinge loss by default, with which Miyato & Koyama trained.
        **kwargs: ``regularizers``, ``n_critic``, ``ema`` ... as in ``GAN``.
    Reference:
        Mirza & Osindero, Conditional generative adversarial nets, 2014, arXiv 1411.1784; Miyato & Koyama, cGANs with projection
        discriminator, 2018, arXiv 1802.05637; Reed et al., Generative adversarial text to image synthesis, 2016, arXiv 1605.05396.
    """

    def __init__(
        self,
        shape,
        num_classes=None,
        latent_dim=64,
        *,
        conditioning="projection",
        generator_conditioning="concatenation",
        conditions=None,
        generator=None,
        discriminator=None,
        adversarial_loss="hinge",
        name="conditional_gan",
        **kwargs,
    ):
        told = {"dtype": kwargs.get("dtype")}
        told |= {"conditions": conditions} if conditions else {"num_classes": LabelCondition(num_classes).count}
        latent_dim = checks.positive_int("latent_dim", latent_dim)
        if generator is None:
            generator = Generator(latent_dim, shape, conditioning=generator_conditioning, **told)
        if discriminator is None:
            discriminator = Discriminator(shape, spectral=is_image(shape), conditioning=conditioning, **told)
        super().__init__(
            shape,
            latent_dim,
            generator=generator,
            discriminator=discriminator,
            adversarial_loss=adversarial_loss,
            num_classes=num_classes,
            conditions=conditions,
            name=name,
            **kwargs,
        )
