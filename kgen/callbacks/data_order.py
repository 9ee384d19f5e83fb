"""The order of the data of a training that may stop and go on: drawn from a seed, the epoch and the attempt, so that it can be drawn again."""

import functools
import math

import keras
import numpy as np

from kgen import backend
from kgen.core import checks


def in_known_order(x, y, batch_size, seed, arguments):
    """The data in an order of its own, or None if that is unknown. Takes what it deals with itself out of fit's ``arguments``."""
    shuffle = bool(arguments.get("shuffle", True))
    if arguments.get("steps_per_epoch") is not None:
        return None
    if isinstance(x, keras.utils.PyDataset):
        return None if x.num_batches is None else _Batches(x, shuffle, seed)
    given = (x, y, arguments.get("sample_weight"))
    arrays = tuple(checks.as_array(a) for a in given)
    if any(a is None and b is not None for a, b in zip(arrays, given, strict=True)):
        return None
    split = arguments.pop("validation_split", 0.0) or 0.0
    if split and arguments.get("validation_data") is None:  # Keras's rule: the last rows, before any are moved
        kept = math.floor(len(arrays[0]) * (1.0 - split))
        arguments["validation_data"] = tuple(a if a is None else a[kept:] for a in arrays)
        arrays = tuple(a if a is None else a[:kept] for a in arrays)
    arguments.pop("sample_weight", None)
    return _Arrays(arrays, 32 if batch_size is None else batch_size, shuffle, seed)


class _Arrays:
    """Rows in an order that is drawn from (seed, epoch, attempt)."""

    def __init__(self, arrays, batch_size, shuffle, seed):
        self.arrays, self.batch_size, self.shuffle, self.seed = arrays, batch_size, shuffle, seed
        self.total = -(-len(arrays[0]) // batch_size)

    def rest(self, epoch, start, attempt):
        """What ``fit`` is given for an epoch from its batch ``start`` on."""
        count = len(self.arrays[0])
        order = _order(count, self.seed, epoch, attempt) if self.shuffle else np.arange(count)
        rows = order[start * self.batch_size :]
        x, y, weight = (a if a is None else a[rows] for a in self.arrays)
        return backend.in_order(x, y, weight, batch_size=self.batch_size)


class _Batches:
    """The same for a PyDataset, whose batches are put in order."""

    def __init__(self, dataset, shuffle, seed):
        self.dataset, self.shuffle, self.seed, self.total = dataset, shuffle, seed, dataset.num_batches

    def rest(self, epoch, start, attempt):
        """What ``fit`` is given for an epoch from its batch ``start`` on."""
        order = _order(self.total, self.seed, epoch, attempt) if self.shuffle else np.arange(self.total)
        return {"x": _Reordered(self.dataset, order[start:], epoch)}


class _Reordered(keras.utils.PyDataset):
    """Some batches of ``dataset``, in an order."""

    def __init__(self, dataset, order, epoch):
        super().__init__()
        self.dataset, self.order, self.epoch = dataset, order, epoch

    def __len__(self):
        return len(self.order)

    def __getitem__(self, i):
        if hasattr(self.dataset, "epoch"):  # as kgen.data.TokenWindows, which draws anew in each
            self.dataset.epoch = self.epoch
        return self.dataset[int(self.order[i])]


@functools.lru_cache(maxsize=4)
def _order(count, seed, epoch, attempt):
    return np.random.default_rng([seed, epoch, attempt]).permutation(count)
