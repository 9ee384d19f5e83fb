"""Running a function of rows over many of them, in batches of one size."""

import contextlib
import contextvars

import keras
import numpy as np
from keras import ops

from kgen.core import checks

LARGEST = 256  # rows of one compiled call, unless somebody asks for more
_watcher = contextvars.ContextVar("watcher", default=None)


@contextlib.contextmanager
def watched(function):
    """Inside, ``function(done, count)`` is called after each batch of ``run`` in this thread; where it says so, the rows so far are all."""
    token = _watcher.set(function)
    try:
        yield
    finally:
        _watcher.reset(token)


def run(compiled, arrays, *, batch_size=None, progress=False):
    """Puts the results of all batches together.

    Args:
        compiled: function of tensors that lead with the batch dimension, to a structure of tensors that do too.
        arrays: list of numpy arrays (N, ...), its arguments.
        batch_size: rows per call; by default all of them, at most 256.
        progress: whether to show a progress bar where there are several batches.
    Returns:
        numpy array or structure of them, of N rows; of fewer where a watcher ended it.
    """
    n = len(arrays[0])
    size = min(n, LARGEST) if batch_size is None else min(n, checks.positive_int("batch_size", batch_size))
    count = -(-n // size)
    watcher = _watcher.get()
    bar = keras.utils.Progbar(count, unit_name="batch") if progress and count > 1 and watcher is None else None
    parts = []
    for i in range(count):
        part = [a[i * size : (i + 1) * size] for a in arrays]
        filled = len(part[0])
        if filled < size:  # one size, one compilation; the rows that fill the last batch are dropped
            part = [np.concatenate([p, np.repeat(p[-1:], size - filled, axis=0)]) for p in part]
        out = compiled(*[ops.convert_to_tensor(p) for p in part])
        parts.append(keras.tree.map_structure(lambda t, k=filled: ops.convert_to_numpy(t)[:k], out))
        if bar:
            bar.update(i + 1)
        if watcher is not None and watcher(i + 1, count):
            break
    return keras.tree.map_structure(lambda *p: np.concatenate(p), *parts)
