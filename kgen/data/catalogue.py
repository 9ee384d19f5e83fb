"""`load`: any dataset by its name or its path, whole or split."""

import difflib
import numbers
import os

import numpy as np

from kgen.data import builtin, emoji, sprites, toys
from kgen.data.arrays import read_npy, read_npz
from kgen.data.folder import read_folder
from kgen.data.images import check_options, prepare

IMAGES = {"digits": builtin.digits, "fashion_mnist": builtin.fashion_mnist, "sprites": sprites.sprites}
TOYS = {
    "eight_gaussians": toys.EightGaussians,
    "gaussian_grid": toys.GaussianGrid,
    "checkerboard": toys.Checkerboard,
    "moons": toys.TwoMoons,
    "spirals": toys.Spirals,
    "rings": toys.Rings,
}
TOY_POINTS = 10_000
CLASSES = {
    "digits": tuple("0123456789"),
    "fashion_mnist": builtin.FASHION,
    "sprites": sprites.SHAPES,
    **dict.fromkeys(emoji.FONTS, emoji.GROUPS),
}


def names():
    """Returns the names that `load` knows, images first."""
    return [*IMAGES, *emoji.FONTS, *TOYS]


def class_names(name, y=None):
    """What the labels of a dataset stand for: ``DDPM(shape, num_classes=class_names("fashion_mnist"))`` draws ``labels="sneaker"``.

    Args:
        name: a dataset of labelled images, one of ``names()``.
        y: labels (N,), by which classes of any other name are numbered: "0", "1" ...
    Returns:
        tuple of str: label k is the k-th.
    Raises:
        ValueError: another name, and no labels.
    """
    if name not in CLASSES and y is not None:
        return tuple(str(k) for k in range(int(np.max(y)) + 1))
    if name not in CLASSES:
        raise ValueError(f"name: expected a dataset with classes, one of {', '.join(CLASSES)}; received {name!r}.")
    return CLASSES[name]


def load(name, *, split=None, seed=0, test_fraction=0.2, image_size=None, channels=None, skip_corrupt=False):
    """Loads a dataset by name, or the user's own from a path.

    A split is made by one permutation that depends on `seed` and the number of rows alone: the first
    `round(test_fraction * N)` of it are the test rows, the rest are the training rows. Datasets that come with a split
    of their own keep it, whatever `seed` and `test_fraction` say: `fashion_mnist` (60,000 and 10,000 rows), `emoji` and
    `emoji_outline` (every tenth by a hash of its code point; both split alike) and `.npz` files with `x_train` and `x_test`.

    Args:
        name: one of `names()`, or a path to a `.npy` file, a `.npz` file or a folder of images. A name comes before a
            path; write "./digits" for a folder that is called digits.
        split: None for everything in its stored order, "train" or "test".
        seed: int from 0 to 2**32 - 1, of the split and, for a toy density, of its 10,000 points.
        test_fraction: float in (0, 1).
        image_size: (height, width), or one integer for both, to resize images to (bicubic, antialiased, aspect ratio not
            kept), or None. Emoji are drawn at 32, 64 or 128 pixels, at 32 where None.
        channels: 1 or 3 to convert images to grey or colour, or None.
        skip_corrupt: whether unreadable files in a folder are left out with a warning.
    Returns:
        (x, y): x float32 (N, H, W, C) in [-1, 1], for a toy density (N, 2) of any range; y int32 (N,) or None.
    Raises:
        TypeError: `name` is neither a name nor a path, or an array of the wrong dtype.
        ValueError: an unknown name, a wrong option, or a file whose content is not as the loader expects.
        FileNotFoundError: the dataset is known but not installed; the message has the command that installs it.
    """
    if not isinstance(name, (str, os.PathLike)):
        raise TypeError(f"name must be the name of a dataset or a path, received {type(name).__name__}.")
    seed = check_split(split, seed, test_fraction)
    image_size = check_options(image_size, channels)
    if name in TOYS:
        if image_size is not None or channels is not None:
            raise ValueError(f"image_size and channels apply to images; {name!r} is a density of points in the plane.")
        x, y, n_train = TOYS[name]().sample(TOY_POINTS, seed), None, None
    elif name in IMAGES:
        x, y, n_train = IMAGES[name]()
    elif name in emoji.FONTS:
        x, y, n_train = emoji.pictures(name, image_size)
    else:
        x, y, n_train = _read_path(name, image_size, channels, skip_corrupt)
    if split is not None:
        rows = rows_of(len(x), split, seed, test_fraction, n_train)
        x, y = x[rows], None if y is None else y[rows]
    return (x if name in TOYS else prepare(x, image_size, channels)), y


def check_split(split, seed, test_fraction):
    """Checks what a split is made of and returns `seed` as an int."""
    if split not in (None, "train", "test"):
        raise ValueError(f'split must be None, "train" or "test", received {split!r}.')
    if not isinstance(test_fraction, numbers.Real) or not 0 < test_fraction < 1:
        raise ValueError(f"test_fraction must lie between 0 and 1, both excluded, received {test_fraction!r}.")
    return toys.check_integer("seed", seed, 0, 2**32 - 1)


def rows_of(count, split, seed, test_fraction, n_train=None):
    """The row numbers of a split; `n_train` is given where the dataset has a split of its own."""
    if n_train is not None:
        return slice(n_train) if split == "train" else slice(n_train, None)
    n_test = round(test_fraction * count)
    if not 0 < n_test < count:
        raise ValueError(
            f"test_fraction={test_fraction} of {count} rows leaves {count - n_test} for training and {n_test} for "
            "testing; both need at least one."
        )
    # RandomState's numbers are frozen, so a split is the same under every NumPy. The second word of the seed keeps the
    # permutation independent of a toy's points, which are drawn from the same seed.
    order = np.random.RandomState([seed, 1]).permutation(count)
    return order[:n_test] if split == "test" else order[n_test:]


def _read_path(path, image_size, channels, skip_corrupt):
    path = os.path.expanduser(path)
    if os.path.isdir(path):
        return read_folder(path, image_size, channels, skip_corrupt)
    if os.path.isfile(path):
        suffix = os.path.splitext(path)[1].lower()
        if suffix == ".npy":
            return read_npy(path)
        if suffix == ".npz":
            return read_npz(path)
        raise ValueError(f"{path} is a file of an unknown kind: expected .npy, .npz or a folder of images.")
    near = difflib.get_close_matches(os.fspath(path), names(), n=3)
    hint = f" Did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
    raise ValueError(
        f"There is no dataset {os.fspath(path)!r}, and no file or folder of that path either.{hint} "
        f"Known datasets: {', '.join(names())}."
    )
