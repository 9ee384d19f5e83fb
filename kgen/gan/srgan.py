"""SRGAN: images enlarged, with details that look right.

G maps a small image to a large one and minimises, phi being features of a frozen network,

    E[(phi(y) - phi(G(x)))^2] + pixel E[(y - G(x))^2] + adversarial_weight L_G.

Reference:
    Ledig et al., Photo-realistic single image super-resolution using a generative adversarial network, 2017, Eq. 3 to 6, arXiv 1609.04802.
"""

import keras
from keras import ops

from kgen.core import checks
from kgen.core.averages import frozen_network
from kgen.gan.adversarial import mean_of_rows
from kgen.gan.networks import run_once
from kgen.gan.paired import PairedGAN
from kgen.networks import SRDiscriminator, SRResNet


@keras.saving.register_keras_serializable(package="kgen")
class SRGAN(PairedGAN):
    """Trained on large images, ``fit(y)``, which it reduces itself, by means over factor x factor pixels; then ``upscale(x)``.

    ``compile()`` trains both players by ``Adam(1e-4)``, as the paper does after the generator was trained by pixels alone.

    Args:
        shape: (H, W, C) of the large images, in [-1, 1].
        factor: by how much each side grows, a power of 2; 4 in the paper.
        generator: network from small images to large ones; ``kgen.networks.SRResNet`` by default.
        discriminator: network from large images to one logit or several; ``kgen.networks.SRDiscriminator`` by default.
        features: a network from large images to features, or a list of them, such as some layers of a classifier, of which a frozen copy is kept:
            ``keras.Model(classifier.input, classifier.get_layer("features").output)``. None: pixels alone.
        content: weight of the squared distance of features, whose mean is taken over each of the outputs.
        pixel: weight of the squared distance of pixels; 0 in the paper's SRGAN, 1 in its SRResNet. By default 1 without features, else 0.1.
        adversarial_weight: 1e-3 in the paper.
        adversarial_loss: as in ``GAN``.
        **kwargs: ``regularizers``, ``augmentation``, ``ema`` as in ``PairedGAN``.
    """

    verb = "upscale"

    def __init__(
        self,
        shape,
        factor=4,
        *,
        generator=None,
        discriminator=None,
        features=None,
        content=1.0,
        pixel=None,
        adversarial_weight=1e-3,
        adversarial_loss="non_saturating",
        name="srgan",
        **kwargs,
    ):
        shape, factor = checks.shape("shape", shape), checks.positive_int("factor", factor)
        if len(shape) != 3 or any(side % factor for side in shape[:2]):
            raise ValueError(f"shape: expected (H, W, C) with sides divisible by factor={factor}, received {shape}.")
        source, policy = (shape[0] // factor, shape[1] // factor, shape[2]), {"dtype": kwargs.get("dtype")}
        if generator is None:
            generator = SRResNet(source, factor, name="generator", **policy)
        discriminator = SRDiscriminator(shape, **policy) if discriminator is None else discriminator
        given = {"adversarial_loss": adversarial_loss, "adversarial_weight": adversarial_weight, "name": name, **kwargs}
        super().__init__(source, shape, generator, discriminator, **given)
        self.shape, self.factor = shape, factor
        if features is not None:
            run_once("features", features, [ops.zeros((1, *shape))])
        self.features = None if features is None else frozen_network(features)
        self.content = checks.in_range("content", content, 0.0, 1e6)
        pixel = (1.0 if features is None else 0.1) if pixel is None else pixel
        self.pixel = checks.in_range("pixel", pixel, 0.0, 1e6)

    def default_optimizer(self):
        """The paper's: Adam(1e-4)."""
        return keras.optimizers.Adam(1e-4)

    def check_data(self, x, y=None):
        if y is not None:
            raise ValueError(
                "y: SRGAN reduces large images itself and has no classes. Train by fit(x), x the large images."
            )
        x = checks.data_array("x", x)
        checks.images("x", x, self.shape)
        return x, {}

    def reduced(self, y):
        """Large images (B, H, W, C) made small, by means over factor x factor pixels."""
        height, width, channels = self.source
        y = ops.reshape(y, (-1, height, self.factor, width, self.factor, channels))
        return ops.mean(y, axis=(2, 4))

    def pair(self, batch):
        y = ops.cast(batch.x, "float32")
        return self.reduced(y), y

    def distance(self, y, made):
        total = self.pixel * mean_of_rows(ops.square(y - made))
        if self.features is None:
            return total
        pairs = zip(*(keras.tree.flatten(self.features(image, training=False)) for image in (y, made)), strict=True)
        return total + self.content * sum(mean_of_rows(ops.square(ops.cast(a - b, "float32"))) for a, b in pairs)

    def upscale(self, x, *, batch_size=None):
        """Large images of small ones.

        Args:
            x: float array (N, H / factor, W / factor, C) in [-1, 1].
            batch_size: images per compiled call; at most 256 by default.
        Returns:
            numpy float32 array (N, H, W, C) in [-1, 1].
        """
        return self.run_images(x, batch_size)

    def get_config(self):
        return {
            **super().get_config(),
            "shape": list(self.shape),
            "factor": self.factor,
            "features": None if self.features is None else keras.saving.serialize_keras_object(self.features),
            "content": self.content,
            "pixel": self.pixel,
        }
