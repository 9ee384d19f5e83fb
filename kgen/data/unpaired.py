"""Two sets of examples without pairs, to train a translation between them on."""

import functools

import keras
import numpy as np

from kgen.core import checks


class Unpaired(keras.utils.PyDataset):
    """Batches ``{"a": ..., "b": ...}`` of two sets of any lengths, each in an order of its own, new in each epoch: what ``fit`` takes.

    An epoch is once through the longer set. The shorter one starts over, in another order, where it ends.

    Args:
        a, b: arrays (N, ...) and (M, ...).
        batch_size: rows of each set in a batch; the last one of an epoch may have fewer.
        seed: int; the orders depend on it and the epoch alone.
    """

    def __init__(self, a, b, *, batch_size=1, seed=0):
        super().__init__()
        self.a, self.b = checks.data_array("a", a), checks.data_array("b", b)
        for name, x in (("a", self.a), ("b", self.b)):
            if x.ndim < 1 or len(x) == 0:
                raise ValueError(f"{name}: expected at least one example, received shape {x.shape}.")
        self.batch_size = checks.positive_int("batch_size", batch_size)
        self.seed, self.epoch = seed, 0

    def __len__(self):
        return -(-max(len(self.a), len(self.b)) // self.batch_size)

    def __getitem__(self, index):
        """One batch: ``({"a": (B, ...), "b": (B, ...)},)``."""
        start = index * self.batch_size
        places = np.arange(start, min(start + self.batch_size, max(len(self.a), len(self.b))))
        return ({"a": self.a[self._rows(places, 0)], "b": self.b[self._rows(places, 1)]},)

    def _rows(self, places, which):
        count = len((self.a, self.b)[which])
        rounds = [_order(count, self.seed, self.epoch, which, k) for k in range(places[-1] // count + 1)]
        return np.array([rounds[p // count][p % count] for p in places])

    def on_epoch_end(self):
        self.epoch += 1


@functools.lru_cache(maxsize=64)
def _order(count, seed, epoch, which, round_):
    return np.random.default_rng([seed, epoch, which, round_]).permutation(count)
