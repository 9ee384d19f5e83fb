"""Deep convolutional GANs.

Strides in place of pooling, BatchNorm in both networks but at the generator's output and the discriminator's input, no dense hidden layers,
ReLU and tanh in the generator, leaky ReLU in the discriminator.

Reference:
    Radford et al., Unsupervised representation learning with deep convolutional generative adversarial networks, 2016, section 3,
    arXiv 1511.06434.
"""

import keras
from keras import layers

from kgen.core import checks, random
from kgen.core.sphere import straight
from kgen.gan.gan import GAN
from kgen.gan.networks import checked_widths, halvings, is_image, refuse_classes
from kgen.layers import BatchNormalization
from kgen.networks.configured import ConfiguredNetwork

WIDTHS = (128, 256, 512, 1024)  # the paper's, of 64x64 images


def _normal():
    """All weights start from a normal distribution of standard deviation 0.02 (section 4)."""
    return keras.initializers.RandomNormal(stddev=0.02)


def _norm(name):
    return BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)


def _widths(shape, widths):
    if not is_image(shape):
        raise ValueError(f"shape: DCGAN makes images, expected (H, W, C), received {shape}.")
    widths = checked_widths("widths", WIDTHS[: halvings(shape)] if widths is None else widths, shape)
    if not widths:
        raise ValueError(f"shape: expected sides that can be halved and are above 4, received {shape}.")
    return widths


@keras.saving.register_keras_serializable(package="kgen")
class DCGANGenerator(ConfiguredNetwork):
    """Projects z to a small image of many channels, which transposed 5x5 convolutions of stride 2 double in size.

    Args:
        latent_dim: length of z.
        shape: (H, W, C), sides divisible by 2^len(widths).
        widths: channels before each doubling, the largest image's first; the paper's 128, 256, 512, 1024 by default, as many as halve both
            sides evenly.
    Call:
        z: float (B, latent_dim). Returns float (B, H, W, C) in [-1, 1].
    """

    def __init__(self, latent_dim, shape, widths=None, name="generator", **kwargs):
        shape = tuple(shape)
        widths = _widths(shape, widths)
        z = keras.Input((latent_dim,), name="z")
        small = (shape[0] >> len(widths), shape[1] >> len(widths), widths[-1])
        # BatchNorm takes the mean away, and a bias with it.
        h = layers.Dense(small[0] * small[1] * small[2], use_bias=False, kernel_initializer=_normal(), name="project")(
            z
        )
        h = layers.Reshape(small, name="reshape")(h)
        for i, width in reversed(list(enumerate([shape[-1], *widths[:-1]]))):
            h = layers.ReLU(name=f"relu_{i}")(_norm(f"norm_{i}")(h))
            last = {"activation": "tanh", "dtype": "float32"} if i == 0 else {"use_bias": False}
            h = layers.Conv2DTranspose(
                width, 5, strides=2, padding="same", kernel_initializer=_normal(), name=f"conv_{i}", **last
            )(h)
        super().__init__(z, h, name=name, **kwargs)
        self._arguments = {"latent_dim": latent_dim, "shape": list(shape), "widths": list(widths), "name": name}


@keras.saving.register_keras_serializable(package="kgen")
class DCGANDiscriminator(ConfiguredNetwork):
    """The mirror of ``DCGANGenerator``: 5x5 convolutions of stride 2, flattened into one logit.

    Args:
        shape, widths: as in ``DCGANGenerator``.
    Call:
        x: float (B, H, W, C). Returns float (B, 1).
    """

    def __init__(self, shape, widths=None, name="discriminator", **kwargs):
        shape = tuple(shape)
        widths = _widths(shape, widths)
        x = keras.Input(shape, name="x")
        h = x
        for i, width in enumerate(widths):
            h = layers.Conv2D(
                width, 5, strides=2, padding="same", use_bias=i == 0, kernel_initializer=_normal(), name=f"conv_{i}"
            )(h)
            if i > 0:
                h = _norm(f"norm_{i}")(h)
            h = layers.LeakyReLU(negative_slope=0.2, name=f"leaky_{i}")(h)
        h = layers.Dense(1, kernel_initializer=_normal(), name="logit")(layers.Flatten(name="flatten")(h))
        super().__init__(x, h, name=name, **kwargs)
        self._arguments = {"shape": list(shape), "widths": list(widths), "name": name}


@keras.saving.register_keras_serializable(package="kgen")
class DCGAN(GAN):
    """A GAN of images with the networks of Radford et al. and z uniform on [-1, 1].

    Args:
        shape: (H, W, C) of images in [-1, 1].
        latent_dim: length of z.
        widths: channels of both networks, the largest images first; by default the paper's 128, 256, 512, 1024, as many as halve both
            sides evenly down to 4.
        generator, discriminator: in place of ``DCGANGenerator`` and ``DCGANDiscriminator``.
        **kwargs: ``adversarial_loss``, ``regularizers``, ``ema`` ... as in ``GAN``.
    """

    def __init__(
        self, shape, latent_dim=100, *, widths=None, generator=None, discriminator=None, name="dcgan", **kwargs
    ):
        latent_dim, dtype = checks.positive_int("latent_dim", latent_dim), kwargs.get("dtype")
        if generator is None or discriminator is None:
            refuse_classes("DCGAN", **kwargs)
        super().__init__(
            shape,
            latent_dim,
            generator=DCGANGenerator(latent_dim, shape, widths, dtype=dtype) if generator is None else generator,
            discriminator=DCGANDiscriminator(shape, widths, dtype=dtype) if discriminator is None else discriminator,
            name=name,
            **kwargs,
        )

    def latent(self, seeds):
        return 2.0 * random.uniform(seeds, (self.latent_dim,)) - 1.0

    def latent_way(self, a, b, steps):
        return straight(a, b, steps)
