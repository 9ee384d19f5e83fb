"""Named image datasets that are installed on the machine or downloaded by Keras."""

import gzip
import os
import zlib
from pathlib import Path

import numpy as np

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
INSTALL = "apt-get install dataset-fashion-mnist"
PARTS = {"train": 60_000, "t10k": 10_000}
FASHION = (
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)


def digits():
    """Loads scikit-learn's handwritten digits.

    Returns:
        (images, labels, None): float32 (1797, 8, 8, 1) in [-1, 1], from 17 levels; int32 (1797,), 0 to 9.
    Reference:
        Alpaydin & Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998.
    """
    from sklearn.datasets import load_digits

    data = load_digits()
    images = (data.images / 8 - 1).astype("float32")
    return images[..., None], data.target.astype("int32"), None


def fashion_mnist():
    """Loads Fashion-MNIST from the first place that has it.

    The places are the folder that the environment variable KGEN_DATA names, the Debian package's folder (both with the
    four idx files), then Keras's cache and download.

    Returns:
        (images, labels, 60000): uint8 (70000, 28, 28, 1), training rows first; int32 (70000,), 0 to 9.
    Raises:
        FileNotFoundError: none of the places has it.
        ValueError: a file is damaged.
    Reference:
        Xiao, Rasul & Vollgraf, Fashion-MNIST, 2017, arXiv 1708.07747.
    """
    folders = [Path(os.environ["KGEN_DATA"])] if os.environ.get("KGEN_DATA") else []
    folders.append(DEBIAN_FOLDER)
    for folder in folders:
        if all(file.is_file() for part in PARTS for file in _idx_files(folder, part)):
            parts = [_read_part(folder, part) for part in PARTS]
            break
    else:
        parts = _from_keras(folders)
    images = np.concatenate([images for images, _ in parts])[..., None]
    labels = np.concatenate([labels for _, labels in parts]).astype("int32")
    return images, labels, PARTS["train"]


def _idx_files(folder, part):
    return folder / f"{part}-images-idx3-ubyte.gz", folder / f"{part}-labels-idx1-ubyte.gz"


def _read_part(folder, part):
    images, labels = _idx_files(folder, part)
    return read_idx(images, (PARTS[part], 28, 28)), read_idx(labels, (PARTS[part],))


def read_idx(file, shape):
    """Reads a gzipped idx file of unsigned bytes.

    The header is big-endian: two zero bytes, 8 for unsigned byte, the rank, then one uint32 for each dimension.

    Args:
        file: path.
        shape: the expected shape.
    Returns:
        uint8 array of that shape.
    Raises:
        ValueError: the file is damaged or holds another shape.
    """
    header = bytes([0, 0, 8, len(shape)]) + np.array(shape, ">u4").tobytes()
    length = len(header) + int(np.prod(shape))
    try:
        with gzip.open(file) as stream:
            content = stream.read(length + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{file} is damaged ({error}); install it again: {INSTALL} --reinstall") from error
    if len(content) != length or not content.startswith(header):
        raise ValueError(
            f"{file} must be an idx file of unsigned bytes of shape {shape}, {length} bytes when unpacked; received "
            f"{'at least ' if len(content) > length else ''}{len(content)} bytes that begin with {content[:16].hex()}. "
            f"Install it again: {INSTALL} --reinstall"
        )
    return np.frombuffer(content, "uint8", offset=len(header)).reshape(shape)


def _from_keras(folders):
    try:
        from keras.datasets import fashion_mnist as keras_fashion_mnist

        return keras_fashion_mnist.load_data()
    except Exception as error:  # Keras raises a bare Exception where it cannot download
        looked = ", ".join(str(folder) for folder in folders)
        raise FileNotFoundError(
            f"fashion_mnist is not installed (looked in {looked}) and Keras could not download it ({error}). "
            f"Install it with: {INSTALL}"
        ) from error
