"""The page's own folder, private and gone at the end, and what is written to it and read from it: pictures, arrays, texts."""

import atexit
import functools
import pathlib
import shutil
import tempfile
import time

import numpy as np

from kgen.core import pictures

BYTES, SIDE = 20 * 2**20, 4096  # of an upload
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
SHOWN = 128  # pixels that the shorter side of a picture is shown with, at least
KEPT = 3600  # seconds that results are kept


@functools.cache
def folder():
    """The folder: one of each process, for its user alone, removed when Python ends."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="kgen-demo-")).resolve()
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def results():
    """A new folder for one result; those of an hour ago are removed."""
    (folder() / "results").mkdir(exist_ok=True)
    for old in (folder() / "results").iterdir():
        if time.time() - old.stat().st_mtime > KEPT:
            shutil.rmtree(old, ignore_errors=True)
    return pathlib.Path(tempfile.mkdtemp(dir=folder() / "results"))


def check(path):
    """Raises ValueError unless a file is a picture that may be decoded, by its size and its header alone.

    Returns:
        the picture, opened and not yet decoded.
    """
    from PIL import Image, UnidentifiedImageError

    size = pathlib.Path(path).stat().st_size if isinstance(path, (str, pathlib.Path)) else path.getbuffer().nbytes
    if size > BYTES:
        raise ValueError(f"picture: expected at most {BYTES // 2**20} MB, received {size / 2**20:.1f}.")
    try:
        image = Image.open(path, formats=FORMATS)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        if isinstance(error, Image.DecompressionBombError):
            raise ValueError(f"picture: expected at most {SIDE} pixels a side, received far more.") from None
        raise ValueError(f"picture: expected one of {', '.join(FORMATS)}, received another file.") from None
    if max(image.size) > SIDE:
        raise ValueError(f"picture: expected at most {SIDE} pixels a side, received {image.width} x {image.height}.")
    return image


def _decoded(image):
    """The picture, its pixels read; ValueError where they cannot be."""
    try:
        image.load()
    except (OSError, SyntaxError, EOFError) as error:
        raise ValueError(
            f"picture: expected a whole file, received one that ends early or is damaged: {error}."
        ) from None
    return image


def read_picture(path, shape, levels=None):
    """An uploaded picture as the model takes it: float32 (H, W, C) in [-1, 1], resized by averages where it has another size.

    Args:
        path: the file.
        shape: (H, W, C), C = 1, 3 or 4.
        levels: number of values that a pixel can have, or None.
    """
    from PIL import Image, ImageOps

    import kgen

    modes = {1: "L", 3: "RGB", 4: "RGBA"}
    if len(shape) != 3 or shape[-1] not in modes:
        raise ValueError(f"picture: expected a model of pictures of 1, 3 or 4 channels, this one takes {tuple(shape)}.")
    image = ImageOps.exif_transpose(_decoded(check(path)))
    if image.mode.startswith("I"):  # 16 bits, which Pillow would cut off at white
        image = Image.fromarray((np.asarray(image, "float64") / 257.0).round().clip(0, 255).astype("uint8"))
    if "A" in image.getbands() and shape[-1] < 4:  # what is transparent is shown on white
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    image = image.convert(modes[shape[-1]])
    if image.size != shape[1::-1]:
        image = image.resize(shape[1::-1], Image.Resampling.BOX)
    x = np.asarray(image, "float32").reshape(shape) / 127.5 - 1.0
    return x if levels is None else kgen.data.at_levels(x, levels)


def read_mask(layers, shape):
    """What was painted over, from the painted layers of an editor: bool (H, W), true where most of a pixel is painted."""
    from PIL import Image

    hidden = np.zeros(shape, bool)
    for layer in layers:
        alpha = _decoded(check(layer)).convert("RGBA").getchannel("A").resize(shape[::-1], Image.Resampling.BOX)
        hidden |= np.asarray(alpha) > 127
    return hidden


def write_pictures(images, into, stem="picture"):
    """Each image (N, H, W, C) in [-1, 1] as a PNG file, enlarged by whole pixels; returns their paths."""
    from PIL import Image

    pixels = pictures.to_uint8(images)
    factor = max(1, -(-SHOWN // min(pixels.shape[1:3])))
    paths = []
    for i, image in enumerate(pixels):
        image = image[..., 0] if image.shape[-1] == 1 else image
        paths.append(str(into / f"{stem}_{i}.png"))
        Image.fromarray(image.repeat(factor, 0).repeat(factor, 1)).save(paths[-1])
    return paths
