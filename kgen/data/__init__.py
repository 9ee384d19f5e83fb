"""Datasets as NumPy arrays: named ones, 2-D toy densities, and the user's own files.

Images are float32 (N, H, W, C) in [-1, 1], labels int32 (N,), toy points float32 (N, 2). Importing this package imports
NumPy alone; scikit-learn, Pillow and Keras are imported by the loaders that need them.
"""

from kgen.data.arrays import from_npy, from_npz
from kgen.data.catalogue import TOYS, load, names
from kgen.data.folder import from_folder
from kgen.data.images import from_uint8, to_uint8
from kgen.data.toys import Checkerboard, EightGaussians, GaussianGrid, GaussianMixture, Rings, Spirals, TwoMoons

__all__ = [
    "TOYS",
    "Checkerboard",
    "EightGaussians",
    "GaussianGrid",
    "GaussianMixture",
    "Rings",
    "Spirals",
    "TwoMoons",
    "from_folder",
    "from_npy",
    "from_npz",
    "from_uint8",
    "load",
    "names",
    "to_uint8",
]
