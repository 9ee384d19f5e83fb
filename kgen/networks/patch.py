"""A discriminator of the patches of an image."""

import keras
from keras import layers

from kgen.core import checks
from kgen.networks.configured import ConfiguredNetwork
from kgen.networks.halving import halvings


@keras.saving.register_keras_serializable(package="kgen")
class PatchDiscriminator(ConfiguredNetwork):
    """Judges patches of an image, one logit each (Isola et al. 2017, arXiv 1611.07004; Zhu et al. 2017, arXiv 1703.10593, appendix 7.2).

    4x4 convolutions with leaky ReLU and instance normalisation: n of stride 2 and two of stride 1, which see patches of
    ``receptive_field`` pixels: 16, 34, 70, 142, 286 for n = 1 to 5. With n = 0 convolutions are 1x1, and each pixel is judged by itself.

    Args:
        shape: (H, W, C). Pairs of images are judged as one of C + C' channels.
        width: channels of the first convolution, which double up to eightfold; 64 in the paper, 32 below 128 pixels by default.
        strided: n; by default 3, patches of 70, or as many as halve the sides evenly.
    Call:
        x: float (B, H, W, C). Returns float (B, h, w, 1).
    Reference:
        Isola et al., Image-to-image translation with conditional adversarial networks, 2017, appendix 6.1.2, arXiv 1611.07004.
    """

    def __init__(self, shape, width=None, strided=None, name="discriminator", **kwargs):
        shape = tuple(shape)
        width = checks.positive_int("width", (64 if max(shape[:2]) >= 128 else 32) if width is None else width)
        most = halvings(shape, most=3)
        strided = most if strided is None else int(checks.in_range("strided", strided, 0, 8))
        strides = [2] * strided
        kernel = 4 if strided else 1
        x = keras.Input(shape, name="x")
        h = x
        for i, stride in enumerate([*strides, 1]):
            h = _convolution(width * min(2**i, 8), kernel, strides=stride)(h)
            h = h if i == 0 else layers.GroupNormalization(groups=-1, epsilon=1e-5)(h)
            h = layers.LeakyReLU(negative_slope=0.2)(h)
        if strided == 0:
            h = layers.GroupNormalization(groups=-1, epsilon=1e-5)(_convolution(2 * width, 1)(h))
            h = layers.LeakyReLU(negative_slope=0.2)(h)
        super().__init__(x, _convolution(1, kernel, dtype="float32")(h), name=name, **kwargs)
        self._arguments = {"shape": list(shape), "width": width, "name": name}
        if strided != most:
            self._arguments["strided"] = strided
        self.strided = strided

    @property
    def receptive_field(self):
        """The side of a patch in pixels: 1, or from the output back, 1 -> 4 -> 7, and s -> 2 s + 2 for each stride."""
        side = 7 if self.strided else 1
        for _ in range(self.strided):
            side = 2 * side + 2
        return side


def _convolution(filters, kernel, **kwargs):
    start = keras.initializers.RandomNormal(stddev=0.02)
    return layers.Conv2D(filters, kernel, padding="same", kernel_initializer=start, **kwargs)
