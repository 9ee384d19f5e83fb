"""Networks that suit an image size, for those who bring none."""

from kgen.networks import UNet


def default_unet(image_shape, num_classes=None):
    """A U-Net whose width and depth grow with the image: about 0.5 M parameters at 8x8, 4 M at 28x28, 14 M at 64x64.

    Args:
        image_shape: (H, W, C).
        num_classes: number of classes, or None.
    """
    side = max(image_shape[:2])
    if side <= 12:
        channels, blocks = (32, 64), 1
    elif side <= 32:
        channels, blocks = (64, 128, 128), 1
    else:
        channels, blocks = (64, 128, 128, 256), 2
    while len(channels) > 1 and any(s % 2 ** (len(channels) - 1) for s in image_shape[:2]):
        channels = channels[:-1]
    attention = [len(channels) == 1] + [False] * (len(channels) - 2) + [True] * (len(channels) > 1)
    return UNet(image_shape, channels=channels, blocks=blocks, attention=attention, num_classes=num_classes)
