"""Pictures of samples: a grid of images in one PNG."""

import math

import numpy as np

from kgen.core.saving import aside


def to_uint8(images):
    """Images in [-1, 1] to pixels 0..255, as numpy uint8; values outside are clipped."""
    return np.clip(np.round((np.asarray(images, "float32") + 1.0) * 127.5), 0, 255).astype("uint8")


def grid(images, columns=None, gap=1, min_side=32):
    """Arranges images in rows and columns.

    Args:
        images: float array (N, H, W, C) in [-1, 1], C = 1 or 3.
        columns: images in a row; by default about as many as rows.
        gap: pixels between images.
        min_side: small images are enlarged by a whole factor until their shorter side has at least this many pixels.
    Returns:
        uint8 array (rows, columns[, 3]): one picture, as Pillow takes it.
    """
    pixels = to_uint8(images)
    n, height, width, channels = pixels.shape
    factor = max(1, -(-min_side // min(height, width)))
    pixels = pixels.repeat(factor, axis=1).repeat(factor, axis=2)
    height, width = height * factor + gap, width * factor + gap
    columns = columns or math.ceil(math.sqrt(n))
    sheet = np.full((-(-n // columns) * height - gap, columns * width - gap, channels), 255, "uint8")
    for i, image in enumerate(pixels):
        top, left = (i // columns) * height, (i % columns) * width
        sheet[top : top + height - gap, left : left + width - gap] = image
    return sheet[..., 0] if channels == 1 else sheet


def save_grid(images, path, columns=None):
    """Writes a grid of images (see ``grid``) to a PNG file."""
    from PIL import Image

    with aside(path) as temporary:
        Image.fromarray(grid(images, columns)).save(temporary)
