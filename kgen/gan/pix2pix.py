"""Pix2Pix: translation of images, learned from pairs.

G maps an image x to an image y; the discriminator D judges pairs by their patches. With L the adversarial loss of pairs (x, y) and (x, G(x)),
G minimises

    L_G + l1 E|y - G(x)|.

The paper halves the discriminator's objective; without regularisers Adam takes the same steps either way.

Reference:
    Isola et al., Image-to-image translation with conditional adversarial networks, 2017, Eq. 1 to 4, arXiv 1611.07004.
"""

import keras
from keras import ops

from kgen.core import checks
from kgen.gan.adversarial import mean_of_rows
from kgen.gan.paired import PairedGAN
from kgen.networks import PatchDiscriminator, SkipUNet


@keras.saving.register_keras_serializable(package="kgen")
class Pix2Pix(PairedGAN):
    """A U-Net and a discriminator of patches, trained on pairs: ``fit(x, y)``, then ``translate(x)``.

    ``compile()`` trains both by the paper's ``Adam(2e-4, beta_1=0.5)``; the paper takes batches of 1 to 10.

    Args:
        source: shape (H, W, C) of the images x, in [-1, 1].
        target: of the images y; as ``source`` by default.
        generator: network from x to y; ``kgen.networks.SkipUNet`` by default.
        discriminator: network from x and y, (B, H, W, C + C'), to one logit or several; ``kgen.networks.PatchDiscriminator`` by default.
        l1: weight of the distance, lambda in the paper.
        adversarial_loss: as in ``GAN``.
        **kwargs: ``adversarial_weight``, ``regularizers``, ``augmentation``, ``ema`` as in ``PairedGAN``. An augmentation changes x and y alike.
    """

    verb = "translate"

    def __init__(
        self,
        source,
        target=None,
        *,
        generator=None,
        discriminator=None,
        l1=100.0,
        adversarial_loss="non_saturating",
        name="pix2pix",
        **kwargs,
    ):
        source = checks.shape("source", source)
        target = source if target is None else checks.shape("target", target)
        if len(source) == len(target) == 3 and source[:2] != target[:2]:
            raise ValueError(
                f"target: expected images of the size of source, {source[:2]}, received {target}. SRGAN enlarges."
            )
        policy = {"dtype": kwargs.get("dtype")}
        if len(source) == len(target) == 3:
            if generator is None:
                generator = SkipUNet(source, target[-1], name="generator", **policy)
            if discriminator is None:
                discriminator = PatchDiscriminator((*source[:2], source[-1] + target[-1]), **policy)
        super().__init__(
            source, target, generator, discriminator, adversarial_loss=adversarial_loss, name=name, **kwargs
        )
        self.l1 = checks.in_range("l1", l1, 0.0, 1e6)

    def pair(self, batch):
        return ops.cast(batch.x, "float32"), ops.cast(batch.y, "float32")

    def seen(self, x, y):
        return ops.concatenate([x, y], axis=-1)

    def images_of(self, seen):
        channels = self.source[-1]
        return [seen[..., :channels], seen[..., channels:]]

    def distance(self, y, made):
        return self.l1 * mean_of_rows(ops.abs(y - made))

    def check_data(self, x, y=None):
        if y is None:
            raise ValueError(
                "y: Pix2Pix is trained on pairs, fit(x, y), received x alone. CycleGAN takes sets without pairs."
            )
        x, y = checks.data_array("x", x), checks.data_array("y", y)
        checks.images("x", x, self.source)
        checks.images("y", y, self.target)
        checks.count("y", y, len(x))
        return x, {}

    def translate(self, x, *, batch_size=None):
        """Images y of images x.

        Args:
            x: float array (N, H, W, C) in [-1, 1].
            batch_size: images per compiled call; at most 256 by default.
        Returns:
            numpy float32 array (N, H, W, C') in [-1, 1].
        """
        return self.run_images(x, batch_size)

    def get_config(self):
        return {**super().get_config(), "source": list(self.source), "target": list(self.target), "l1": self.l1}
