"""Networks that grow: a level says how much of them is in use."""

import keras
from keras import layers, ops

from kgen.core import checks
from kgen.layers import EqualizedConv2D, EqualizedDense, MinibatchStandardDeviation, PixelNormalization
from kgen.networks.configured import ConfiguredNetwork
from kgen.networks.halving import a_number_or_several, by_size, halvings


def _checked(shape, levels, width):
    levels = halvings(shape, most=8) if levels is None else checks.positive_int("levels", levels)
    if levels < 1 or any(side % 2**levels for side in shape[:2]):
        raise ValueError(
            f"levels: growth to level {levels} doubles the smallest image that often, beyond one of {tuple(shape)}: its sides are to be "
            f"divisible by {2 ** max(levels, 1)}."
        )
    return levels, by_size(width, levels)


def _part(level, low):
    """How much of what grows between levels ``low`` and ``low`` + 1 is there: (B, 1, 1, 1) in [0, 1]."""
    return ops.reshape(ops.clip(level - low, 0.0, 1.0), (-1, 1, 1, 1))


@keras.saving.register_keras_serializable(package="kgen")
class ProgressiveGenerator(ConfiguredNetwork):
    """Draws small images first, and with a growing level larger ones, always as images of the full size.

    Colours are made at each size 2^k times the smallest. At level k those of size k are shown, enlarged; between k and k + 1 a mixture of both,

        (1 - a) up(rgb_k) + a rgb_{k+1},  a = level - k.

    Args:
        latent_dim: length of z, which is normalised to length sqrt(latent_dim).
        shape: (H, W, C).
        width: channels of the smaller images, halved from the third doubling on (in the paper 512, halved from 64 pixels on); or those of each
            size, the smallest first.
        levels: how often the sides double; as often as they can from 4 pixels or fewer by default.
    Call:
        [z, level]: float (B, latent_dim), float (B,) in [0, levels]. Returns float (B, H, W, C).
    Reference:
        Karras et al., Progressive growing of GANs for improved quality, stability, and variation, 2018, Fig. 2 and Table 2, arXiv 1710.10196.
    """

    def __init__(self, latent_dim, shape, width=128, levels=None, name="generator", **kwargs):
        shape = tuple(shape)
        levels, widths = _checked(shape, levels, width)
        z, level = keras.Input((latent_dim,), name="z"), keras.Input((), name="level")
        small = (shape[0] >> levels, shape[1] >> levels, widths[0])
        h = EqualizedDense(small[0] * small[1] * small[2], gain=2**0.5 / 4, name="dense")(PixelNormalization()(z))
        h = PixelNormalization()(ops.leaky_relu(layers.Reshape(small)(h), 0.2))
        image = None
        for k, filters in enumerate(widths):
            h = h if k == 0 else layers.UpSampling2D(name=f"up_{k}")(h)
            for j in range(1 if k == 0 else 2):
                h = PixelNormalization()(EqualizedConv2D(filters, activation="leaky", name=f"conv_{k}_{j}")(h))
            colours = EqualizedConv2D(shape[-1], 1, dtype="float32", name=f"rgb_{k}")(h)
            if image is None:
                image = colours
            else:
                a = _part(level, k - 1.0)
                image = (1.0 - a) * layers.UpSampling2D(dtype="float32", name=f"show_{k}")(image) + a * colours
        super().__init__([z, level], image, name=name, **kwargs)
        self.levels = levels
        self._arguments = {
            "latent_dim": latent_dim,
            "shape": list(shape),
            "width": a_number_or_several(width),
            "levels": levels,
            "name": name,
        }


@keras.saving.register_keras_serializable(package="kgen")
class ProgressiveDiscriminator(ConfiguredNetwork):
    """The mirror of ``ProgressiveGenerator``: at level k it sees the image reduced to size k, between k and k + 1 features of both sizes mixed.

    Args:
        shape, width, levels: as in ``ProgressiveGenerator``.
        group: of ``MinibatchStandardDeviation``, before the last convolution.
    Call:
        [x, level]: float (B, H, W, C), float (B,). Returns float (B, 1).
    """

    def __init__(self, shape, width=128, levels=None, group=4, name="discriminator", **kwargs):
        shape = tuple(shape)
        levels, widths = _checked(shape, levels, width)
        x, level = keras.Input(shape, name="x"), keras.Input((), name="level")
        images = {levels: x}
        for k in reversed(range(levels)):
            images[k] = layers.AveragePooling2D(2, name=f"reduce_{k}")(images[k + 1])

        def features(k):
            return EqualizedConv2D(widths[k], 1, activation="leaky", name=f"features_{k}")(images[k])

        h = features(levels)
        for k in reversed(range(1, levels + 1)):
            h = EqualizedConv2D(widths[k], activation="leaky", name=f"conv_{k}_0")(h)
            h = EqualizedConv2D(widths[k - 1], activation="leaky", name=f"conv_{k}_1")(h)
            a = ops.cast(_part(level, k - 1.0), h.dtype)
            h = a * layers.AveragePooling2D(2, name=f"down_{k}")(h) + (1.0 - a) * features(k - 1)
        h = MinibatchStandardDeviation(group, name="deviation")(h)
        h = EqualizedConv2D(widths[0], activation="leaky", name="conv_0")(h)
        h = EqualizedDense(widths[0], activation="leaky", name="dense")(layers.Flatten()(h))
        super().__init__([x, level], EqualizedDense(1, dtype="float32", name="logit")(h), name=name, **kwargs)
        self.levels = levels
        self._arguments = {
            "shape": list(shape),
            "width": a_number_or_several(width),
            "levels": levels,
            "group": group,
            "name": name,
        }
