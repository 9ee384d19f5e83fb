"""Networks of super-resolution: one that enlarges images, and one that judges them."""

import keras
from keras import layers

from kgen.core import checks
from kgen.layers import SubPixel
from kgen.networks.configured import ConfiguredNetwork
from kgen.networks.halving import halvings


@keras.saving.register_keras_serializable(package="kgen")
class SRResNet(ConfiguredNetwork):
    """Residual blocks on the small image, then a sub-pixel convolution for each doubling.

    Without the paper's BatchNorm: a network that enlarges is better without (Wang et al. 2018, ESRGAN, section 3.1, arXiv 1809.00219), and two
    replicas are then one. The last convolution's output is added to the image enlarged by nearest neighbours, and starts at zero.

    Args:
        shape: (h, w, C) of the small image.
        factor: a power of 2.
        width: channels; 64 in the paper.
        blocks: residual blocks; 16 in the paper.
    Call:
        x: float (B, h, w, C) in [-1, 1]. Returns float (B, factor h, factor w, C).
    Reference:
        Ledig et al., Photo-realistic single image super-resolution using a generative adversarial network, 2017, Fig. 4, arXiv 1609.04802.
    """

    def __init__(self, shape, factor=2, width=64, blocks=16, name="sr_resnet", **kwargs):
        shape, factor = tuple(shape), checks.positive_int("factor", factor)
        width, blocks = checks.positive_int("width", width), checks.positive_int("blocks", blocks)
        if factor < 2 or factor & (factor - 1):
            raise ValueError(f"factor: expected a power of 2 of at least 2, received {factor}.")
        x = keras.Input(shape, name="x")
        h = first = _prelu(layers.Conv2D(width, 9, padding="same", name="conv_in")(x))
        for i in range(blocks):
            inner = _prelu(layers.Conv2D(width, 3, padding="same", name=f"block_{i}_1")(h))
            h = layers.Add()([h, layers.Conv2D(width, 3, padding="same", name=f"block_{i}_2")(inner)])
        h = layers.Add()([first, layers.Conv2D(width, 3, padding="same", name="conv_middle")(h)])
        for i in range(factor.bit_length() - 1):
            h = layers.Conv2D(4 * width, 3, padding="same", name=f"up_{i}")(h)
            h = _prelu(SubPixel(2, name=f"spread_{i}")(h))
        out = layers.Conv2D(shape[-1], 9, padding="same", kernel_initializer="zeros", dtype="float32", name="conv_out")
        enlarged = layers.UpSampling2D(factor, dtype="float32", name="enlarged")(x)
        super().__init__(x, layers.Add(dtype="float32")([enlarged, out(h)]), name=name, **kwargs)
        self._arguments = {"shape": list(shape), "factor": factor, "width": width, "blocks": blocks, "name": name}


def _prelu(h):
    return layers.PReLU(alpha_initializer=keras.initializers.Constant(0.25), shared_axes=[1, 2])(h)


@keras.saving.register_keras_serializable(package="kgen")
class SRDiscriminator(ConfiguredNetwork):
    """Pairs of 3x3 convolutions, the second of stride 2, whose channels double up to eightfold; a dense layer and the logit.

    Without BatchNorm, as ``SRResNet``.

    Args:
        shape: (H, W, C).
        width: channels of the first pair; 64 in the paper.
        dense: width of the dense layer; 1024 in the paper.
    Call:
        x: float (B, H, W, C). Returns float (B, 1).
    """

    def __init__(self, shape, width=64, dense=1024, name="discriminator", **kwargs):
        shape = tuple(shape)
        x = keras.Input(shape, name="x")
        h = x
        for i in range(max(halvings(shape, most=4), 1)):
            for j, stride in enumerate((1, 2)):
                h = layers.Conv2D(width * 2**i, 3, strides=stride, padding="same", name=f"conv_{i}_{j}")(h)
                h = layers.LeakyReLU(negative_slope=0.2)(h)
        h = layers.LeakyReLU(negative_slope=0.2)(layers.Dense(dense, name="dense")(layers.Flatten()(h)))
        super().__init__(x, layers.Dense(1, dtype="float32", name="logit")(h), name=name, **kwargs)
        self._arguments = {"shape": list(shape), "width": width, "dense": dense, "name": name}
