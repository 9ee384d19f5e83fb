"""What every image loader shares: the range [-1, 1], checks on arrays, resizing and channel conversion."""

import operator
import warnings

import numpy as np

LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, the weights of Pillow's own conversion to grey


def to_uint8(x):
    """Converts images in [-1, 1] to 8 bits: round((x + 1) * 127.5).

    Values outside [-1, 1], which a model's samples may have, are clipped.

    Args:
        x: float array of any shape, in [-1, 1].
    Returns:
        uint8 array of the same shape.
    Raises:
        TypeError: `x` is not of a floating dtype.
        ValueError: `x` has NaN or infinite values.
    """
    x = np.asarray(x)
    if x.dtype.kind != "f":
        raise TypeError(f"to_uint8: x must be a float array in [-1, 1], received dtype {x.dtype}.")
    bad = x.size - np.count_nonzero(np.isfinite(x))
    if bad:
        raise ValueError(f"to_uint8: x must be finite, received {bad} NaN or infinite values of {x.size}.")
    return np.rint((np.clip(x.astype("float32"), -1, 1) + 1) * 127.5).astype("uint8")


def from_uint8(x):
    """Converts 8-bit images to float32 in [-1, 1]: x / 127.5 - 1.

    Args:
        x: uint8 array of any shape.
    Returns:
        float32 array of the same shape; `to_uint8` gives `x` back exactly.
    Raises:
        TypeError: `x` is not uint8.
    """
    x = np.asarray(x)
    if x.dtype != np.uint8:
        raise TypeError(f"from_uint8: x must be a uint8 array, received dtype {x.dtype}.")
    x = x.astype("float32")
    x /= 127.5
    x -= 1
    return x


def check_options(image_size, channels):
    """Checks the two options of every image loader and returns `image_size` as a tuple of ints or None."""
    if channels not in (None, 1, 3):
        raise ValueError(f"channels must be 1 (grey), 3 (colour) or None (as stored), received {channels!r}.")
    if image_size is None:
        return None
    try:
        height, width = (operator.index(side) for side in (image_size if np.ndim(image_size) else (image_size,) * 2))
    except (TypeError, ValueError):
        height = width = 0
    if height < 1 or width < 1:
        raise ValueError(
            f"image_size must be (height, width), two positive integers such as (28, 28), or one for both, received {image_size!r}."
        )
    return height, width


def check_images(images, source):
    """Checks an array of images as the user stored it.

    Args:
        images: uint8 array, or float array in [-1, 1]; (N, H, W) or (N, H, W, C), C = 1 or 3.
        source: where it came from, for the messages.
    Returns:
        The array as (N, H, W, C), its dtype unchanged.
    Raises:
        TypeError: neither uint8 nor float.
        ValueError: wrong rank, no images, channels not last, values not finite or outside [-1, 1].
    """
    if images.dtype != np.uint8 and images.dtype.kind != "f":
        raise TypeError(
            f"{source}: images must be uint8 in 0..255 or float in [-1, 1], received dtype {images.dtype}. "
            "Integers in 0..255 convert with x.astype('uint8'), booleans with x.astype('uint8') * 255."
        )
    if images.ndim not in (3, 4) or 0 in images.shape:
        raise ValueError(
            f"{source}: images must have shape (N, H, W) or (N, H, W, C) and none of them zero, "
            f"received shape {images.shape}."
        )
    if images.ndim == 3:
        if images.shape[-1] in (1, 3):
            raise ValueError(
                f"{source}: shape {images.shape} reads as {images.shape[0]} images {images.shape[-1]} pixels wide and "
                "looks like one image. Add the leading dimension with x[None], or the channel with x[..., None]."
            )
        images = images[..., None]
    if images.shape[-1] not in (1, 3):
        hint = "Keep colour alone with x[..., :3]." if images.shape[-1] == 4 else "The layout is (N, H, W, C)."
        if images.shape[1] in (1, 3):
            hint = "This looks like channels first: convert with np.moveaxis(x, 1, -1)."
        raise ValueError(f"{source}: images must have 1 or 3 channels last, received shape {images.shape}. {hint}")
    _check_range(images, source)
    return images


def _check_range(images, source):
    low, high = float(images.min()), float(images.max())  # NaN wins in both
    if images.dtype == np.uint8:
        if high == 1:
            warnings.warn(
                f"{source}: uint8 images are read as 0..255, but the values lie in [0, 1], which is black. "
                "Multiply them by 255.",
                stacklevel=5,
            )
        return
    if not (np.isfinite(low) and np.isfinite(high)):
        bad = images.size - np.count_nonzero(np.isfinite(images))
        raise ValueError(f"{source}: images must be finite, received {bad} NaN or infinite values of {images.size}.")
    if low < -1 or high > 1:
        raise ValueError(
            f"{source}: float images must lie in [-1, 1], received values in [{low:g}, {high:g}]. "
            "Values in 0..255 convert with x / 127.5 - 1."
        )
    if low >= 0:
        warnings.warn(
            f"{source}: float images are read as [-1, 1], but the values lie in [{low:g}, {high:g}] and look like "
            "[0, 1]. If so, rescale them with 2 * x - 1.",
            stacklevel=5,
        )


def to_channels(images, channels):
    """Repeats grey to colour or weighs colour to grey (BT.601): (..., C) -> (..., channels), dtype unchanged."""
    if channels is None or images.shape[-1] == channels:
        return images
    if channels == 3:
        return np.repeat(images, 3, axis=-1)
    grey = (images @ LUMA)[..., None]
    return np.rint(grey).astype("uint8") if images.dtype == np.uint8 else grey.astype("float32")


def resize(images, image_size):
    """Resizes by Pillow's bicubic filter, which averages over all source pixels when it shrinks (antialiasing).

    The aspect ratio is not kept. 8-bit images stay 8-bit, so that their values stay on the 256 levels.

    Args:
        images: (N, H, W, C), uint8 or float in [-1, 1].
        image_size: (height, width), or None for no change.
    Returns:
        (N, height, width, C), uint8 or float32 in [-1, 1].
    """
    if image_size is None or images.shape[1:3] == image_size:
        return images
    from PIL import Image

    height, width = image_size
    if images.dtype != np.uint8:
        images = images.astype("float32")
    out = np.empty((len(images), height, width, images.shape[-1]), images.dtype)
    for i, k in np.ndindex(len(images), images.shape[-1]):
        plane = Image.fromarray(np.ascontiguousarray(images[i, :, :, k]))
        out[i, :, :, k] = np.asarray(plane.resize((width, height), Image.Resampling.BICUBIC))
    return out if out.dtype == np.uint8 else np.clip(out, -1, 1)  # a cubic filter overshoots at edges


def prepare(images, image_size, channels):
    """The last step of every image loader: size, channels, then float32 in [-1, 1].

    Args:
        images: (N, H, W, C), uint8 or float in [-1, 1].
        image_size: (height, width) or None.
        channels: 1, 3 or None.
    Returns:
        float32 (N, height, width, channels) in [-1, 1].
    """
    images = to_channels(resize(images, image_size), channels)
    return from_uint8(images) if images.dtype == np.uint8 else np.array(images, "float32")


def at_levels(x, levels=256):
    """Images in [-1, 1] with each value at the nearest of ``levels`` equally spaced ones, as resizing or floats of one's own may not have them.

    Args:
        x: float array.
        levels: number of values: 256 for bytes.
    Returns:
        float32 array like ``x``.
    """
    half = (levels - 1) / 2
    return (np.round((np.asarray(x, "float64") + 1) * half) / half - 1).astype("float32")
