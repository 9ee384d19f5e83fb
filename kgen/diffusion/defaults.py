"""Networks that suit a shape and its conditions, for those who bring none."""

from kgen.networks import MLP, ConvEncoder, ResidualMLP, UNet

ATTENDED = 16  # the largest side at which pixels attend to each other (Nichol & Dhariwal 2021; Dhariwal & Nichol 2021)


def default_network(shape, conditions=(), outputs=1, dtype=None):
    """A U-Net for images (H, W, C), residual dense layers for vectors (D,).

    Args:
        shape: shape of one example.
        conditions: ``Conditions``.
        outputs: channels of the output for each of the example's.
        dtype: the policy of its layers.
    Raises:
        ValueError: other shapes, which need ``network=``.
    """
    if len(shape) == 1:
        return ResidualMLP(shape[0], conditions=conditions, outputs=outputs, dtype=dtype)
    if len(shape) != 3:
        raise ValueError(
            f"image_shape: expected (H, W, C) or (D,), received {tuple(shape)}. Other shapes need network=."
        )
    return default_unet(shape, conditions=conditions, outputs=outputs, dtype=dtype)


def default_unet(image_shape, num_classes=None, conditions=(), outputs=1, dtype=None):
    """A U-Net whose width and depth grow with the image: about 0.5 M parameters at 8x8, 4 M at 28x28, 15 M at 64x64.

    Attention stands at levels of at most 16 pixels a side, and where there is none of these at the last, if that is small enough.

    Args:
        image_shape: (H, W, C).
        num_classes: number of classes, or None; or as a condition.
        conditions: ``Conditions``.
        outputs: channels of the output for each of the image's.
        dtype: the policy of its layers.
    """
    side = max(image_shape[:2])
    if side <= 4:
        channels, blocks = (128,), 2  # maps of few pixels and many channels, such as latents
    elif side <= 12:
        channels, blocks = (32, 64), 1
    elif side <= 32:
        channels, blocks = (64, 128, 128), 1
    else:
        channels, blocks = (64, 128, 128, 256), 2
    while len(channels) > 1 and any(s % 2 ** (len(channels) - 1) for s in image_shape[:2]):
        channels = channels[:-1]
    attention = [level > 0 and side >> level <= ATTENDED for level in range(len(channels))]
    if len(channels) == 1:
        attention = [side <= ATTENDED]
    return UNet(
        image_shape,
        channels=channels,
        blocks=blocks,
        attention=attention,
        num_classes=num_classes,
        conditions=conditions,
        out_channels=outputs * image_shape[-1],
        dtype=dtype,
    )


def default_classifier(shape, num_classes, dtype=None):
    """A network that is told the time: convolutions with strides for images, down to 4 pixels or fewer, dense layers for other shapes.

    Args:
        shape: shape of one example.
        num_classes: length of the output.
        dtype: the policy of its layers.
    """
    channels, sides = [], shape[:2]
    while len(shape) == 3 and max(sides) > 4 and all(s % 2 == 0 for s in sides) and len(channels) < 4:
        channels.append(32 << len(channels))
        sides = [s // 2 for s in sides]
    if channels:
        return ConvEncoder(shape, num_classes, channels, time=True, name="classifier", dtype=dtype)
    return MLP(shape, (num_classes,), time=True, name="classifier", dtype=dtype)
