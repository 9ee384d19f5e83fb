"""The spectrally normalised GAN.

Each layer of the discriminator is divided by its largest singular value, which bounds the discriminator's Lipschitz constant at no cost.

Reference:
    Miyato et al., Spectral normalization for generative adversarial networks, 2018, section 2 and Eq. 16 and 17, arXiv 1802.05957.
"""

import keras

from kgen.backend import keras_private
from kgen.gan.gan import GAN
from kgen.gan.networks import Discriminator
from kgen.layers import SpectralNormalization


@keras.saving.register_keras_serializable(package="kgen")
class SNGAN(GAN):
    """A GAN with a spectrally normalised discriminator and the hinge loss.

    Args:
        shape, latent_dim, generator: as in ``GAN``.
        discriminator: as in ``GAN``; every layer of it that has a kernel stands in a ``kgen.layers.SpectralNormalization``. By default
            ``Discriminator(shape, spectral=True)``.
        adversarial_loss: as in ``GAN``.
        **kwargs: ``n_critic``, ``regularizers``, ``ema`` ... as in ``GAN``. The paper takes ``n_critic=5``.
    """

    def __init__(
        self,
        shape,
        latent_dim=64,
        *,
        generator=None,
        discriminator=None,
        adversarial_loss="hinge",
        name="sngan",
        **kwargs,
    ):
        if discriminator is None and kwargs.get("num_classes") is None:
            discriminator = Discriminator(shape, spectral=True, dtype=kwargs.get("dtype"))
        super().__init__(
            shape,
            latent_dim,
            generator=generator,
            discriminator=discriminator,
            adversarial_loss=adversarial_loss,
            name=name,
            **kwargs,
        )
        plain = _not_normalised(self.discriminator)
        if plain:
            raise ValueError(
                f"discriminator: expected every layer in a kgen.layers.SpectralNormalization, received {', '.join(plain)} without one."
            )


def _not_normalised(network):
    """The names of a network's layers with kernels that stand in no ``SpectralNormalization``."""
    found = keras_private.flatten_layers(network)
    inside = {id(layer.layer) for layer in found if isinstance(layer, SpectralNormalization)}

    def has_kernel(layer):
        alone = len(keras_private.flatten_layers(layer)) == 1
        return alone and any("kernel" in w.name or "embeddings" in w.name for w in layer.weights)

    return [layer.name for layer in found if id(layer) not in inside and has_kernel(layer)]
