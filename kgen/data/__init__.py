"""Datasets as NumPy arrays: named ones, 2-D toy densities, and the user's own files.

Images are float32 (N, H, W, C) in [-1, 1], labels int32 (N,), toy points float32 (N, 2). Importing this package imports
NumPy alone; scikit-learn, Pillow and Keras are imported by the loaders that need them.
"""

from kgen.data.arrays import from_npy, from_npz
from kgen.data.binarize import binarize, dynamic_binarization
from kgen.data.catalogue import TOYS, class_names, load, names
from kgen.data.emoji import emoji_captions
from kgen.data.folder import from_folder
from kgen.data.images import at_levels, from_uint8, to_uint8
from kgen.data.sprites import sprites_factors
from kgen.data.text import load_text
from kgen.data.toys import Checkerboard, EightGaussians, GaussianGrid, GaussianMixture, Rings, Spirals, TwoMoons

__all__ = [
    "TOYS",
    "Checkerboard",
    "EightGaussians",
    "GaussianGrid",
    "GaussianMixture",
    "Rings",
    "Spirals",
    "TokenWindows",
    "TwoMoons",
    "Unpaired",
    "at_levels",
    "binarize",
    "class_names",
    "dynamic_binarization",
    "emoji_captions",
    "from_folder",
    "from_npy",
    "from_npz",
    "from_uint8",
    "load",
    "load_text",
    "names",
    "sprites_factors",
    "to_uint8",
]


def __getattr__(name):
    if name == "TokenWindows":  # a Keras dataset
        from kgen.data.windows import TokenWindows

        return TokenWindows
    if name == "Unpaired":  # as well
        from kgen.data.unpaired import Unpaired

        return Unpaired
    raise AttributeError(f"module 'kgen.data' has no attribute {name!r}. It has: {', '.join(__all__)}.")
