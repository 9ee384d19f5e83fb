"""What a batch is: data, what conditions it, weights and row seeds; and a look at the first rows before any work is done."""

import itertools
import typing

import keras
import numpy as np
from keras import ops

from kgen import backend
from kgen.core import checks, random


class Batch(typing.NamedTuple):
    """One batch of a training or evaluation step.

    ``x`` is the data, a tensor or a structure of them; ``y`` what ``fit`` was given beside it, or None; ``weight`` sample weights (B,)
    or None; ``conditions`` the tensors of the model's conditions by name; ``seeds`` row seeds, int32 (B, 2): whatever is random for a
    row is drawn from them by ``kgen.core.random``, so that it is another number in each step, row and replica, and in evaluation the
    same one each time, whatever the batch size. ``strata`` is one number in [0, 1) for each row, float32 (B,), uniform, and in training
    spread evenly over the whole batch: what is to vary over a batch, such as times of diffusion, varies most evenly by it.
    """

    x: typing.Any
    y: typing.Any = None
    weight: typing.Any = None
    conditions: typing.Any = None
    seeds: typing.Any = None
    strata: typing.Any = None


class RowCount(keras.metrics.Metric):
    """How many rows were evaluated since metrics were reset: the place of the next row. It is carried as metrics are, and not logged."""

    def __init__(self, name="rows_seen"):
        super().__init__(name=name, dtype="float32")
        self.count = self.add_variable(shape=(), initializer="zeros", name="count")

    def update_state(self, rows):
        self.count.assign(self.count + ops.cast(rows, self.count.dtype))

    def result(self):
        return ops.convert_to_tensor(self.count)


def unpacked(data):
    """What Keras hands to a step, as ``(x, y, weight)``; sample weights (B, 1) become (B,)."""
    x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
    if weight is not None:
        # Where y is a structure, Keras stands the same weights beside each part of it.
        weight = keras.tree.flatten(weight)[0]
        shape = tuple(weight.shape)
        if len(shape) != 1 and shape[1:] != (1,):
            raise ValueError(f"sample_weight: expected one number per row, shape (B,), received shape {shape}.")
        weight = ops.reshape(weight, (-1,))
    return x, None if is_empty(y) else y, weight


def rows_of(x):
    """The number of rows of a structure of tensors: that of its longest member."""
    sizes = [ops.shape(v)[0] for v in keras.tree.flatten(x)]
    if all(isinstance(size, int) for size in sizes):
        return max(sizes)
    most = sizes[0]
    for size in sizes[1:]:
        most = ops.maximum(most, size)
    return most


def own_rows(rows, count):
    """Of the rows of all replicas, as ``backend.gather`` gives them, the ``count`` that are here."""
    return ops.take(rows, ops.arange(count, dtype="int32") + backend.first_row(count), axis=0)


def training_seeds(generator, rows):
    """``seeds`` and ``strata`` of a training step (see ``Batch``): others in each step and on each replica."""
    base = keras.random.randint((1, 2), 0, 2**31 - 1, dtype="int32", seed=generator)
    first = backend.first_row(rows)
    # Where the strata begin is one number for the whole batch, so that no row's place says anything of its number: every
    # u_i = frac(u + i/B) is uniform (Kingma et al. 2021, appendix I.1).
    start = random.uniform(random.fold_in(base, 0), ())
    count = backend.replica_sum(ops.cast(rows, "float32"))
    places = ops.cast(ops.arange(rows, dtype="int32") + first, "float32")
    strata = start + places / ops.maximum(count, 1.0)
    return random.row_stream(base, first, rows), strata - ops.floor(strata)


def evaluation_seeds(counter, rows):
    """``seeds`` and ``strata`` of an evaluation step, by the place of each row in the data alone; counts the rows."""
    start = backend.replica_sum(ops.convert_to_tensor(counter.count))
    place = ops.cast(start, "int32") + backend.first_row(rows)
    counter.update_state(rows)
    seeds = random.row_stream(ops.zeros((1, 2), dtype="int32"), place, rows)
    return seeds, random.uniform(random.fold_in(seeds, 0x57A7), ())


def beside_weights(x, y, weights):
    """``y``, or an empty array (N, 0) where there is none: Keras drops sample weights that stand beside no ``y``."""
    if isinstance(weights, (dict, tuple)):
        raise ValueError(
            f"sample_weight: expected one array (N,), the weights of the rows, received a {type(weights).__name__}."
        )
    if y is not None or weights is None or checks.as_array(keras.tree.flatten(x)[0]) is None:
        return y
    return np.zeros((len(weights), 0), "float32")


def is_empty(y):
    """Whether ``y`` is what ``beside_weights`` made."""
    shape = getattr(y, "shape", ())
    if getattr(shape, "rank", 0) is None:  # TensorFlow, once it has seen arrays of different ranks
        return False
    return len(shape) == 2 and shape[1] == 0


def in_memory(data):
    """A structure of numpy arrays, if ``data`` is a structure of arrays, tensors and lists; else None."""
    if isinstance(data, dict):
        found = {k: in_memory(v) for k, v in data.items()}
        return None if any(v is None for v in found.values()) else found
    if isinstance(data, tuple):  # a pair of arrays; a list is the rows of one
        found = tuple(in_memory(v) for v in data)
        return None if any(v is None for v in found) else found
    return checks.as_array(data)


def sizes_of_batches(data, batch_size=None):
    """The rows of the first batch and, where it is known and another, of the last: a list, empty where neither can be seen before.

    Args:
        data: what ``fit`` takes.
        batch_size: rows of a batch of arrays; 32 if None.
    """
    held = in_memory(data)
    first = first_rows(data)[0] if held is None else held
    if first is None:
        return []
    rows = min(len(v) for v in keras.tree.flatten(in_memory(first)))
    if not rows:
        return []
    size = rows if held is None else min(batch_size or 32, rows)
    return [size, rows % size] if rows % size else [size]


def first_rows(data, count=1):
    """The first batches (x, y) that hold ``count`` rows, or all there are, of a dataset that can be read again, as arrays.

    (None, None) for generators and iterators.
    """
    if hasattr(data, "__next__"):
        return None, None
    if isinstance(data, keras.utils.PyDataset):
        batches = (data[i] for i in (itertools.count() if data.num_batches is None else range(data.num_batches)))
    elif (hasattr(data, "element_spec") and hasattr(data, "take")) or type(data).__module__.startswith(
        "torch.utils.data"
    ):  # tf.data
        batches = iter(data)
    else:
        return None, None
    found, rows = [], 0
    for batch in batches:
        x, y, _ = keras.utils.unpack_x_y_sample_weight(tuple(batch) if isinstance(batch, list) else batch)
        x, y = in_memory(x), None if y is None else in_memory(y)
        if x is None:
            return None, None
        found.append((x, y))
        rows += min(len(v) for v in keras.tree.flatten(x))
        if rows >= count:
            break
    if not found:
        return None, None
    return tuple(None if column[0] is None else _joined(column) for column in zip(*found, strict=True))


def _joined(parts):
    return keras.tree.map_structure(lambda *p: np.concatenate(p), *parts)


def peeked(data):
    """The first batch (x, y) of a Python generator as arrays, and a generator that gives it again before the others."""
    try:
        first = next(data)
    except StopIteration:
        raise ValueError("x: expected batches, received a generator that is at its end.") from None
    x, y, _ = keras.utils.unpack_x_y_sample_weight(first)

    def again():
        yield first
        yield from data

    return in_memory(x), None if y is None else in_memory(y), again()
