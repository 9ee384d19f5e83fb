"""Networks of StyleGAN2: a mapping of latents, a synthesis in styles, and a discriminator."""

import keras
from keras import layers, ops

from kgen.core import checks
from kgen.layers import (
    EqualizedConv2D,
    EqualizedDense,
    MinibatchStandardDeviation,
    ModulatedConv2D,
    PixelNoise,
    PixelNormalization,
)
from kgen.layers.equalized import leaky
from kgen.layers.place import PlaceBias
from kgen.networks.configured import ConfiguredNetwork
from kgen.networks.halving import a_number_or_several, by_size, halvings


def _sizes(shape, width):
    levels = halvings(shape, most=8)
    return levels, by_size(width, levels)


@keras.saving.register_keras_serializable(package="kgen")
class StyleMapping(ConfiguredNetwork):
    """Maps z, normalised, to the latent w of styles by dense layers that learn slowly.

    Args:
        latent_dim: length of z and of w; 512 in the paper.
        depth: number of layers; 8 in the paper.
    Call:
        z: float (B, latent_dim). Returns float (B, latent_dim).
    """

    def __init__(self, latent_dim, depth=8, name="mapping", **kwargs):
        z = keras.Input((latent_dim,), name="z")
        h = PixelNormalization()(z)
        for i in range(checks.positive_int("depth", depth)):
            h = EqualizedDense(latent_dim, rate=0.01, activation="leaky", name=f"dense_{i}")(h)
        super().__init__(z, h, name=name, **kwargs)
        self._arguments = {"latent_dim": latent_dim, "depth": depth, "name": name}


@keras.saving.register_keras_serializable(package="kgen")
class StyleSynthesis(ConfiguredNetwork):
    """From learned constants, by convolutions each in a style of its own, to an image: the sum of the colours of every size, enlarged.

    Images are enlarged bilinearly (the paper's filter is 1 3 3 1, which is bilinear too).

    Args:
        latent_dim: length of w.
        shape: (H, W, C).
        width: channels of the smaller images, halved from the third doubling on, 512 in the paper; or those of each size, the smallest first.
    Call:
        [ws, seeds]: float (B, layers, latent_dim), one w for each layer (``self.depth`` of them), and row seeds int32 (B, 2), of the noise.
        Returns float (B, H, W, C).
    Reference:
        Karras et al., Analyzing and improving the image quality of StyleGAN, 2020, Fig. 2 and 7, arXiv 1912.04958.
    """

    def __init__(self, latent_dim, shape, width=128, name="synthesis", **kwargs):
        shape = tuple(shape)
        levels, widths = _sizes(shape, width)
        depth = 2 * levels + 2
        ws, seeds = keras.Input((depth, latent_dim), name="ws"), keras.Input((2,), dtype="int32", name="seeds")
        small = (shape[0] >> levels, shape[1] >> levels, widths[0])
        h = ops.zeros_like(ops.reshape(ws[:, 0, :1], (-1, 1, 1, 1))) * ops.ones((1, *small))
        h, image, used = PlaceBias(start="normal", name="constants")(h), None, 0
        for k, filters in enumerate(widths):
            h = h if k == 0 else layers.UpSampling2D(interpolation="bilinear", name=f"up_{k}")(h)
            for j in range(1 if k == 0 else 2):
                h = ModulatedConv2D(filters, name=f"conv_{k}_{j}")([h, ws[:, used]])
                h = PixelNoise(used, name=f"noise_{k}_{j}")([h, seeds])
                h = leaky(PlainBias(name=f"bias_{k}_{j}")(h))
                used += 1
            colours = ModulatedConv2D(shape[-1], 1, demodulate=False, dtype="float32", name=f"rgb_{k}")(
                [h, ws[:, used]]
            )
            colours = PlainBias(dtype="float32", name=f"rgb_bias_{k}")(colours)
            if image is not None:
                enlarged = layers.UpSampling2D(interpolation="bilinear", dtype="float32", name=f"show_{k}")(image)
            image = colours if image is None else enlarged + colours
        super().__init__([ws, seeds], image, name=name, **kwargs)
        self.depth = depth
        self._arguments = {
            "latent_dim": latent_dim,
            "shape": list(shape),
            "width": a_number_or_several(width),
            "name": name,
        }


@keras.saving.register_keras_serializable(package="kgen")
class PlainBias(layers.Layer):
    """Adds a number to each channel."""

    def build(self, input_shape):
        self.bias = self.add_weight(shape=(input_shape[-1],), initializer="zeros", name="bias")

    def call(self, x):
        return x + self.bias


@keras.saving.register_keras_serializable(package="kgen")
class StyleGenerator(ConfiguredNetwork):
    """``StyleMapping`` and ``StyleSynthesis``, one after the other, with the same w in every layer.

    Args:
        latent_dim, shape, width: as in these.
        depth: layers of the mapping.
    Call:
        [z, seeds]: float (B, latent_dim), int32 (B, 2). Returns float (B, H, W, C).
    """

    def __init__(self, latent_dim, shape, width=128, depth=8, name="generator", **kwargs):
        mapping = StyleMapping(latent_dim, depth)
        synthesis = StyleSynthesis(latent_dim, shape, width)
        z, seeds = keras.Input((latent_dim,), name="z"), keras.Input((2,), dtype="int32", name="seeds")
        ws = layers.RepeatVector(synthesis.depth, name="same")(mapping(z))
        super().__init__([z, seeds], synthesis([ws, seeds]), name=name, **kwargs)
        self._arguments = {
            "latent_dim": latent_dim,
            "shape": list(shape),
            "width": a_number_or_several(width),
            "depth": depth,
            "name": name,
        }

    @property
    def mapping(self):
        return self.get_layer("mapping")

    @property
    def synthesis(self):
        return self.get_layer("synthesis")


@keras.saving.register_keras_serializable(package="kgen")
class StyleDiscriminator(ConfiguredNetwork):
    """Residual blocks that halve the image, the deviation of a group, a dense layer and the logit.

    Args:
        shape, width: as in ``StyleSynthesis``.
        group: of ``MinibatchStandardDeviation``.
    Call:
        x: float (B, H, W, C). Returns float (B, 1).
    """

    def __init__(self, shape, width=128, group=4, name="discriminator", **kwargs):
        shape = tuple(shape)
        levels, widths = _sizes(shape, width)
        x = keras.Input(shape, name="x")
        h = EqualizedConv2D(widths[-1], size=1, activation="leaky", name="colours")(x)
        for k in reversed(range(1, levels + 1)):
            inner = EqualizedConv2D(widths[k], activation="leaky", name=f"conv_{k}_0")(h)
            inner = EqualizedConv2D(widths[k - 1], activation="leaky", name=f"conv_{k}_1")(inner)
            inner = layers.AveragePooling2D(2, name=f"down_{k}")(inner)
            skip = EqualizedConv2D(widths[k - 1], size=1, name=f"skip_{k}")(layers.AveragePooling2D(2)(h))
            h = (inner + skip) * 0.5**0.5
        h = MinibatchStandardDeviation(group, name="deviation")(h)
        h = EqualizedConv2D(widths[0], activation="leaky", name="conv_0")(h)
        h = EqualizedDense(widths[0], activation="leaky", name="dense")(layers.Flatten()(h))
        super().__init__(x, EqualizedDense(1, dtype="float32", name="logit")(h), name=name, **kwargs)
        self._arguments = {"shape": list(shape), "width": a_number_or_several(width), "group": group, "name": name}
