"""The user's own folder of image files."""

import os
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

from kgen.data.images import check_options, prepare, resize, to_channels

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP")  # what Pillow may try, so that no other parser meets these bytes
SPLIT_NAMES = {"train", "test", "val", "valid", "validation"}


def from_folder(path, *, image_size=None, channels=None, skip_corrupt=False):
    """Loads a folder of png, jpg, jpeg, bmp, gif and webp images, recursively.

    Immediate subfolders are classes, labelled in sorted order as by `keras.utils.image_dataset_from_directory`; images
    that all lie directly in the folder have no labels. Hidden files and folders are passed over. EXIF orientation is
    applied, transparency is laid over white, 16-bit grey is rounded to 8 bits, and of an animation the first frame is
    taken.

    Args:
        path: the folder.
        image_size: (height, width) to resize to (bicubic, antialiased, aspect ratio not kept). None keeps the images'
            own size, which must then be the same for all.
        channels: 1 (grey) or 3 (colour). None takes 1 if every image is grey, else 3.
        skip_corrupt: whether images that cannot be read are left out with a warning.
    Returns:
        (x, y): x float32 (N, H, W, C) in [-1, 1] in the sorted order of the paths, y int32 (N,) or None.
    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: no images; images that cannot be read; different sizes without `image_size`; images both beside
            and inside subfolders; subfolders that are splits and not classes.
    """
    image_size = check_options(image_size, channels)
    images, labels, _ = read_folder(path, image_size, channels, skip_corrupt)
    return prepare(images, image_size, channels), labels


def read_folder(path, image_size, channels, skip_corrupt):
    """Returns (uint8 images (N, H, W, C), labels or None, None), resized and converted where asked."""
    root = Path(path)
    if not root.is_dir():
        raise FileNotFoundError(f"{path}: there is no such folder.")
    files, labels = _index(root)
    images, kept, corrupt, sizes = [], [], [], Counter()
    for i, file in enumerate(files):
        try:
            image = _decode(file)
        except MemoryError:
            raise
        except Exception as error:  # on damaged bytes Pillow's decoders raise anything from OSError to struct.error
            corrupt.append(f"{file.relative_to(root)} ({error})")
            continue
        sizes[image.shape[:2]] += 1
        kept.append(i)
        if image_size is None and len(sizes) > 1:
            images.clear()  # an error is certain: go on counting, keep nothing
        else:
            images.append(to_channels(resize(image[None], image_size)[0], channels))
    _report_corrupt(root, corrupt, len(files), skip_corrupt)
    if not kept:
        raise ValueError(f"{path}: none of the {len(files)} images can be read.")
    if image_size is None and len(sizes) > 1:
        (height, width), count = sizes.most_common(1)[0]
        raise ValueError(
            f"{path}: the images have {len(sizes)} different sizes, so image_size=(height, width) is needed, --image-size of a "
            f"command. The most common size has {count} of {len(kept)} images: try image_size=({height}, {width})."
        )
    depth = max(image.shape[-1] for image in images)
    images = np.stack([to_channels(image, depth) for image in images])
    return images, None if labels is None else labels[kept], None


def _index(root):
    """Lists the images under `root` in sorted order: (paths, int32 labels or None)."""
    classes = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    inside = [_images_under(root / name) for name in classes]
    beside = sorted(entry for entry in root.iterdir() if entry.is_file() and _is_image(entry.name))
    count = sum(map(len, inside))
    if not count and not beside:
        raise ValueError(f"{root}: no images found; looked for {', '.join(EXTENSIONS)} in it and in its subfolders.")
    if not count:
        return beside, None
    if beside:
        raise ValueError(
            f"{root}: {len(beside)} images lie directly in the folder and {count} in subfolders. Subfolders are "
            "classes: put every image into one, or all of them directly in the folder."
        )
    if len(classes) > 1 and SPLIT_NAMES.issuperset(name.lower() for name in classes):
        raise ValueError(
            f"{root}: the subfolders {classes} look like splits, and subfolders are read as classes. "
            f"Load one of them, such as {root / classes[0]}."
        )
    labels = np.repeat(np.arange(len(classes), dtype="int32"), [len(files) for files in inside])
    return [file for files in inside for file in files], labels


def _images_under(folder):
    files = []
    for place, subfolders, names in os.walk(folder, onerror=_raise):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        files += [Path(place, name) for name in names if _is_image(name)]
    return sorted(files)


def _is_image(name):
    return name.lower().endswith(EXTENSIONS) and not name.startswith(".")


def _raise(error):  # os.walk passes over folders it may not read unless it is told otherwise
    raise error


def _decode(file):
    """Reads one file: uint8 (H, W, 1) if it is grey, else (H, W, 3)."""
    from PIL import Image, ImageOps

    with Image.open(file, formats=FORMATS) as opened:
        opened.load()
        image = ImageOps.exif_transpose(opened)
    if image.mode.startswith("I"):  # 16-bit grey; Pillow's own conversion would clip everything above 255 to white
        return np.rint(np.clip(np.asarray(image), 0, 65535) / 257).astype("uint8")[..., None]
    grey = image.mode in ("1", "L", "LA", "La")
    palette = image.mode in ("P", "PA")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    pixels = np.asarray(image.convert("L" if grey else "RGB"))
    if grey:
        return pixels[..., None]
    if palette and (pixels == pixels[..., :1]).all():  # a palette of greys is a grey image
        return pixels[..., :1]
    return pixels


def _report_corrupt(root, corrupt, total, skip_corrupt):
    if not corrupt:
        return
    listed = "; ".join(corrupt[:5]) + ("; ..." if len(corrupt) > 5 else "")
    found = f"{root}: {len(corrupt)} of {total} images cannot be read: {listed}"
    if not skip_corrupt:
        raise ValueError(f"{found}. Repair or remove them. In Python, skip_corrupt=True leaves them out.")
    warnings.warn(f"{found}. They are left out.", stacklevel=4)
