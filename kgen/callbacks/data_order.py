"""The order of the data of a training that may stop and go on: drawn from a seed, the epoch and the attempt, so that it can be drawn again."""

import functools
import math

import keras
import numpy as np

from kgen import backend
from kgen.core import checks, inputs


def in_known_order(x, y, batch_size, seed, arguments):
    """The data in an order of its own, or None if that is unknown. Takes what it deals with itself out of fit's ``arguments``."""
    shuffle = bool(arguments.get("shuffle", True))
    if arguments.get("steps_per_epoch") is not None:
        return None
    if isinstance(x, keras.utils.PyDataset):
        return None if x.num_batches is None else _Batches(x, shuffle, seed)
    weight = arguments.get("sample_weight")
    given = (x, y, weight)
    # Each an array, a structure of them, or None.
    parts = inputs.in_memory(x), inputs.in_memory(y), checks.as_array(weight)
    if any(a is None and b is not None for a, b in zip(parts, given, strict=True)):
        return None
    lengths = sorted({len(a) for a in keras.tree.flatten(parts) if a is not None})
    if len(lengths) > 1:
        raise ValueError(f"x, y, sample_weight: expected as many rows in every array, received {lengths}.")
    split = arguments.pop("validation_split", 0.0) or 0.0
    if split and arguments.get("validation_data") is None:  # Keras's rule: the last rows, before any are moved
        kept = math.floor(lengths[0] * (1.0 - split))
        arguments["validation_data"] = _taken(parts, slice(kept, None))
        parts = _taken(parts, slice(kept))
    arguments.pop("sample_weight", None)
    return _Arrays(parts, 32 if batch_size is None else batch_size, shuffle, seed)


def _taken(parts, rows):
    """``rows`` of every array of a structure; where there is None there is none."""
    return keras.tree.map_structure(lambda a: None if a is None else a[rows], parts)


class _Arrays:
    """Rows in an order that is drawn from (seed, epoch, attempt).

    Args:
        parts: ``(x, y, weight)``, each an array, a structure of arrays, or None.
    """

    def __init__(self, parts, batch_size, shuffle, seed):
        self.parts, self.batch_size, self.shuffle, self.seed = parts, batch_size, shuffle, seed
        self.count = len(keras.tree.flatten(parts)[0])
        self.total = -(-self.count // batch_size)

    def rest(self, epoch, start, attempt):
        """What ``fit`` is given for an epoch from its batch ``start`` on."""
        order = _order(self.count, self.seed, epoch, attempt) if self.shuffle else np.arange(self.count)
        x, y, weight = _taken(self.parts, order[start * self.batch_size :])
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
