"""The user's own arrays: `.npy` and `.npz` files of images. Pickled data is never loaded."""

import os
import zipfile
import zlib

import numpy as np

from kgen.data.images import check_images, check_options, prepare

INT32_MAX = np.iinfo("int32").max


def from_npy(path, *, image_size=None, channels=None):
    """Loads images from a `.npy` file.

    Args:
        path: file holding uint8 in 0..255 or float in [-1, 1], (N, H, W) or (N, H, W, C), C = 1 or 3.
        image_size: (height, width) to resize to (bicubic, antialiased, aspect ratio not kept), or None.
        channels: 1 or 3 to convert to grey or colour, or None.
    Returns:
        (x, None): x float32 (N, H, W, C) in [-1, 1].
    Raises:
        FileNotFoundError: there is no such file.
        TypeError: the array is neither uint8 nor float.
        ValueError: not a readable array of images, or floats outside [-1, 1] or not finite.
    """
    image_size = check_options(image_size, channels)
    images, labels, _ = read_npy(path)
    return prepare(images, image_size, channels), labels


def from_npz(path, *, image_size=None, channels=None):
    """Loads images, and labels where there are any, from a `.npz` file.

    Images are looked for under `x` or `images`, else in the file's only array; labels under `y` or `labels`. The
    layout `x_train`, `y_train`, `x_test`, `y_test` (the latter three optional) is read too, training rows first.

    Args:
        path: file holding uint8 in 0..255 or float in [-1, 1], (N, H, W) or (N, H, W, C), C = 1 or 3;
            labels are non-negative integers (N,) or (N, 1).
        image_size: (height, width) to resize to (bicubic, antialiased, aspect ratio not kept), or None.
        channels: 1 or 3 to convert to grey or colour, or None.
    Returns:
        (x, y): x float32 (N, H, W, C) in [-1, 1], y int32 (N,) or None.
    Raises:
        FileNotFoundError: there is no such file.
        TypeError: images neither uint8 nor float, or labels not integers.
        ValueError: no images under these names, not a readable array of images, floats outside [-1, 1] or not
            finite, or labels that do not match the images.
    """
    image_size = check_options(image_size, channels)
    images, labels, _ = read_npz(path)
    return prepare(images, image_size, channels), labels


def read_npy(path):
    """Returns (images as stored (N, H, W, C), None, None)."""
    # Mapped, so that a header that promises more than the file holds fails before anything is allocated.
    images = _open(path, mmap_mode="r")
    if not isinstance(images, np.ndarray):
        raise ValueError(f"{path} is a .npz archive under the name of a .npy file: rename it.")
    return check_images(images, path), None, None


def read_npz(path):
    """Returns (images as stored (N, H, W, C), labels or None, number of training rows or None)."""
    archive = _open(path)
    if isinstance(archive, np.ndarray):
        raise ValueError(f"{path} is a single .npy array under the name of a .npz file: rename it.")
    with archive:
        keys = list(archive.keys())
        x_key = _one_of(path, keys, ("x", "images"), "images")
        if x_key is None and "x_train" in keys:
            images, labels = _read_pair(path, archive, "x_train", "y_train" if "y_train" in keys else None)
            if "x_test" not in keys:
                return images, labels, None
            test_images, test_labels = _read_pair(path, archive, "x_test", "y_test" if "y_test" in keys else None)
            _check_parts(path, images, labels, test_images, test_labels)
            both = None if labels is None else np.concatenate([labels, test_labels])
            return np.concatenate([images, test_images]), both, len(images)
        if x_key is None and len(keys) == 1:
            x_key = keys[0]
        if x_key is None:
            raise ValueError(
                f"{path}: expected images under 'x', 'images' or 'x_train' (or one array alone) and labels under "
                f"'y' or 'labels', found the keys {sorted(keys)}."
            )
        return *_read_pair(path, archive, x_key, _one_of(path, keys, ("y", "labels"), "labels")), None


def _one_of(path, keys, candidates, what):
    found = [key for key in candidates if key in keys]
    if len(found) > 1:
        raise ValueError(f"{path}: {what} must be under one name, found both {found} among the keys {sorted(keys)}.")
    return found[0] if found else None


def _read_pair(path, archive, x_key, y_key):
    images = check_images(_member(path, archive, x_key), f"{path}, array {x_key!r}")
    if y_key is None:
        return images, None
    return images, check_labels(_member(path, archive, y_key), len(images), f"{path}, array {y_key!r}")


def _check_parts(path, images, labels, test_images, test_labels):
    if images.shape[1:] != test_images.shape[1:] or images.dtype != test_images.dtype:
        raise ValueError(
            f"{path}: x_train and x_test must have images of one shape and dtype, received {images.shape[1:]} "
            f"{images.dtype} and {test_images.shape[1:]} {test_images.dtype}."
        )
    if (labels is None) != (test_labels is None):
        raise ValueError(f"{path}: y_train and y_test must both be there or both be absent.")


def check_labels(labels, count, source):
    """Checks class labels and returns them as int32 (count,)."""
    if labels.dtype.kind not in "iu":
        raise TypeError(f"{source}: labels must be integers, received dtype {labels.dtype}.")
    if labels.shape not in ((count,), (count, 1)):
        raise ValueError(
            f"{source}: labels must have shape ({count},), one for each image, received shape {labels.shape}. "
            "One-hot labels convert with y.argmax(-1)."
        )
    if labels.min() < 0 or labels.max() > INT32_MAX:
        raise ValueError(
            f"{source}: labels must be classes 0, 1, 2 ..., received values in [{labels.min()}, {labels.max()}]."
        )
    return labels.reshape(-1).astype("int32")


def _open(path, mmap_mode=None):
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: there is no such file.")
    return _guard(path, lambda: np.load(path, mmap_mode=mmap_mode, allow_pickle=False))


def _member(path, archive, key):
    array = _guard(f"{path}, array {key!r}", lambda: archive[key])
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{path}, array {key!r}: this member of the archive is not a NumPy array.")
    return array


def _guard(source, read):
    try:
        return read()
    except (ValueError, EOFError, OSError, zlib.error, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{source} cannot be read as a NumPy array of numbers: {error}. The file may be damaged; "
            "pickled (object) arrays are never loaded."
        ) from error
