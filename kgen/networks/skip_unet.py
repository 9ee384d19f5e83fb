"""The U-Net of image translation."""

import keras
from keras import layers

from kgen.core import checks
from kgen.networks.configured import ConfiguredNetwork


def _halvings(shape, most=8):
    """How often both sides can be halved evenly, down to one pixel."""
    return next(n for n in range(most, -1, -1) if all(side % 2**n == 0 for side in shape[:2]))


@keras.saving.register_keras_serializable(package="kgen")
class SkipUNet(ConfiguredNetwork):
    """Maps an image to another of the same size: 4x4 convolutions of stride 2 down to a few pixels and up again, layers of one size joined.

    Normalisation is of each image (InstanceNormalization: with the paper's batches of one, BatchNormalization was that). Dropout stands in the
    first three layers upwards, in training alone: in the paper also afterwards, as the only noise, of which its section 3.1 says that little
    comes of it.

    Args:
        shape: (H, W, C) of the input; sides that can be halved at least once.
        channels: of the output.
        width: channels of the first layer, which double up to eightfold; 64 in the paper, 32 below 128 pixels by default.
        levels: how often the sides are halved; by default as often as they can, up to 8 (the paper's, of 256 pixels).
        dropout: rate; 0.5 in the paper. On several replicas each draws for itself, other numbers than one device draws.
        seed: of dropout.
    Call:
        x: float (B, H, W, C). Returns float (B, H, W, channels) in [-1, 1].
    Reference:
        Isola et al., Image-to-image translation with conditional adversarial networks, 2017, section 3.2 and appendix 6.1.1, arXiv 1611.07004.
    """

    def __init__(self, shape, channels=3, width=None, levels=None, dropout=0.5, seed=0, name="unet", **kwargs):
        shape = tuple(shape)
        width = checks.positive_int("width", (64 if max(shape[:2]) >= 128 else 32) if width is None else width)
        levels = _halvings(shape) if levels is None else checks.positive_int("levels", levels)
        if levels < 1 or any(side % 2**levels for side in shape[:2]):
            raise ValueError(
                f"levels: {levels} of them halve the sides that often, and need them divisible by {2 ** max(levels, 1)}; received {shape}."
            )
        checks.in_range("dropout", dropout, 0.0, 0.99)
        widths = [width * min(2**i, 8) for i in range(levels)]
        start = {"padding": "same", "kernel_initializer": keras.initializers.RandomNormal(stddev=0.02)}
        x = keras.Input(shape, name="x")
        maps, h = [], x
        for i, filters in enumerate(widths):
            h = h if i == 0 else layers.LeakyReLU(negative_slope=0.2)(h)
            h = layers.Conv2D(filters, 4, strides=2, **start, name=f"down_{i}")(h)
            if i > 0 and min(h.shape[1:3]) > 1:  # one pixel less its mean is nothing
                h = layers.GroupNormalization(groups=-1, epsilon=1e-5, name=f"down_norm_{i}")(h)
            maps.append(h)
        for i in reversed(range(levels)):
            h = h if i == levels - 1 else layers.Concatenate(name=f"join_{i}")([h, maps[i]])
            h = layers.ReLU()(h)
            last = {"activation": "tanh", "dtype": "float32"} if i == 0 else {}
            filters = channels if i == 0 else widths[i - 1]
            h = layers.Conv2DTranspose(filters, 4, strides=2, **start, **last, name=f"up_{i}")(h)
            if i > 0:
                h = layers.GroupNormalization(groups=-1, epsilon=1e-5, name=f"up_norm_{i}")(h)
            if i > 0 and levels - i <= 3 and dropout:
                h = layers.Dropout(dropout, seed=seed + i, name=f"dropout_{i}")(h)
        super().__init__(x, h, name=name, **kwargs)
        self._arguments = {
            "shape": list(shape),
            "channels": channels,
            "width": width,
            "levels": levels,
            "dropout": dropout,
            "seed": seed,
            "name": name,
        }
