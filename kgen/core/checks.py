"""Checks of what users pass in: each names the argument, what was expected, what was received, and what to do."""

import difflib

import keras
import numpy as np

from kgen.backend import keras_private

HOW_TO_SCALE = "Convert pixels in 0..255 by x.astype('float32') / 127.5 - 1, or load them by kgen.data, which does it."


def as_array(x):
    """``x`` as a numpy array if it is data in memory (numpy, list, backend tensor), else None (a dataset, a generator)."""
    if x is None:
        return None
    if isinstance(x, (list, tuple)) or keras.ops.is_tensor(x) or hasattr(x, "__array__"):
        return keras.ops.convert_to_numpy(x) if keras.ops.is_tensor(x) else np.asarray(x)
    return None


def texts(x):
    """An array of texts, str or bytes, as one of str; None for an array of anything else."""
    if x.dtype.kind == "O" and x.size and all(isinstance(v, (str, bytes)) for v in x.ravel()):
        return np.array([v.decode() if isinstance(v, bytes) else v for v in x.ravel()]).reshape(x.shape)
    if x.dtype.kind == "S":
        return np.char.decode(x)
    return x if x.dtype.kind == "U" else None


def positive_int(name, value):
    """Raises ValueError unless ``value`` is an integer of at least 1; returns it as an int."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{name}: expected an integer of at least 1, received {value!r}.")
    return int(value)


def shape(name, value):
    """Raises unless ``value`` is the shape of one example: some integers of at least 1; returns it as a tuple."""
    if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
        raise TypeError(f"{name}: expected the shape of one example, such as (2,) or (28, 28, 1), received {value!r}.")
    return tuple(positive_int(name, size) for size in value)


def data_array(name, x):
    """``x`` as a numpy array; raises TypeError for what is not in memory, such as a dataset."""
    array = as_array(x)
    if array is None:
        raise TypeError(
            f"{name}: expected an array of examples (N, ...), received {type(x).__name__}. Pass some of its examples."
        )
    return array


def in_range(name, value, low, high):
    """Raises ValueError unless ``low <= value <= high``; returns it as a float."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not low <= value <= high:
        raise ValueError(f"{name}: expected a number in [{low:g}, {high:g}], received {value!r}.")
    return float(value)


def one_of(name, value, choices):
    """Raises ValueError, with the nearest names, unless ``value`` is one of ``choices``."""
    if value not in choices:
        near = difflib.get_close_matches(str(value), [str(c) for c in choices], n=2)
        hint = f" Did you mean {' or '.join(repr(c) for c in near)}?" if near else ""
        raise ValueError(f"{name}: expected one of {', '.join(repr(c) for c in choices)}, received {value!r}.{hint}")
    return value


def finite(name, x):
    """Raises ValueError if ``x`` holds NaN or infinity, with the number of rows that do."""
    if np.issubdtype(x.dtype, np.floating) and not np.isfinite(x).all():
        rows = ~np.isfinite(x.reshape(len(x), -1)).all(axis=1)
        raise ValueError(
            f"{name}: expected finite numbers, received NaN or infinity in {int(rows.sum())} of {len(x)} rows "
            f"(first: row {int(np.argmax(rows))}). Remove or repair these rows."
        )


def rows(name, x, shape):
    """Checks an array of rows: shape (N, *shape), N >= 1, floats, finite. ``None`` in ``shape`` matches any size."""
    if x.ndim != len(shape) + 1 or any(s is not None and s != g for s, g in zip(shape, x.shape[1:], strict=False)):
        wanted = ", ".join(str(s) if s is not None else "any" for s in shape)
        hint = ""
        if x.shape == tuple(shape):
            hint = " For a single example, add the batch dimension: x[None]."
        elif x.ndim == len(shape) and len(shape) == 3 and shape[-1] == 1:
            hint = " Grey images need a channel axis: x[..., None]."
        elif x.ndim == 4 and len(shape) == 3 and x.shape[1] == shape[-1] and x.shape[-1] != shape[-1]:
            hint = " kgen's images are channels last: np.moveaxis(x, 1, -1)."
        raise ValueError(f"{name}: expected shape (N, {wanted}), received {x.shape}.{hint}")
    if len(x) == 0:
        raise ValueError(f"{name}: expected at least one row, received shape {x.shape}.")
    if not np.issubdtype(x.dtype, np.floating) and x.dtype.name != "bfloat16":
        hint = f" {HOW_TO_SCALE}" if x.dtype == np.uint8 else " Convert it by x.astype('float32')."
        raise ValueError(f"{name}: expected floats, received {x.dtype}.{hint}")
    finite(name, x)


def count(name, x, n):
    """Raises ValueError unless array ``x`` has ``n`` rows."""
    if n is not None and len(x) != n:
        raise ValueError(f"{name}: expected {n} rows, one for each example, received {len(x)}.")


def images(name, x, shape):
    """Checks images: float (N, *shape), finite, in [-1, 1]."""
    rows(name, x, shape)
    low, high = float(x.min()), float(x.max())
    if low < -1.0001 or high > 1.0001:
        raise ValueError(f"{name}: expected values in [-1, 1], received [{low:g}, {high:g}]. {HOW_TO_SCALE}")


def levels(name, x, count):
    """Raises ValueError unless the values of ``x`` are at ``count`` equally spaced levels from -1 to 1.

    A hundredth of the distance between levels is what rounding may have done to a value.
    """
    half = (count - 1) / 2
    position = (x.astype("float32") + 1) * half
    off = np.abs(position - np.round(position)) > 0.02 if len(x) else np.zeros(0, bool)
    if off.any():
        value = float(x[off][0])
        raise ValueError(
            f"{name}: expected values at {count} equally spaced levels from -1 to 1, received {value:g} among others "
            f"({off.mean():.1%} are between levels). Round them by np.round((x + 1) * {half:g}) / {half:g} - 1, or pass the "
            "levels= that the data has."
        )


def labels(name, y, num_classes, n=None):
    """Checks class labels: integers (N,) in [0, num_classes); returns them as int32."""
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        hint = " One-hot labels become integers by y.argmax(-1)." if y.ndim == 2 else ""
        raise ValueError(f"{name}: expected integer labels of shape (N,), received shape {y.shape}.{hint}")
    if y.dtype.kind not in "biuf":
        raise ValueError(
            f"{name}: expected integers in [0, {num_classes}), received {y.tolist()[0] if len(y) else y.dtype!r}. Classes are asked for by name "
            "where the model was made with their names: num_classes=['cat', 'dog']."
        )
    if n is not None and len(y) != n:
        raise ValueError(f"{name}: expected {n} labels, one per row, received {len(y)}.")
    if not np.issubdtype(y.dtype, np.integer) and not (np.isfinite(y).all() and (y == np.round(y)).all()):
        raise ValueError(f"{name}: expected integers in [0, {num_classes}), received {y.dtype} with fractions or NaN.")
    if len(y) and (y.min() < 0 or y.max() >= num_classes):
        raise ValueError(
            f"{name}: expected integers in [0, {num_classes}), received values from {int(y.min())} to {int(y.max())}."
        )
    return y.astype("int32")


def pairs(a, b, steps):
    """Raises ValueError unless arrays ``a`` and ``b`` hold as many rows of one shape, and ``steps`` between them has room for both ends."""
    if positive_int("steps", steps) < 2:
        raise ValueError(f"steps: expected at least 2, both ends included, received {steps}.")
    if np.shape(a) != np.shape(b):
        raise ValueError(f"a, b: expected as many examples in both, received {len(a)} and {len(b)}.")


def unmixed_rows(name, what, *networks):
    """Raises ValueError where a network mixes the rows of a batch, whose slopes ``what``, a penalty, takes of each example."""
    found = [layer for network in networks for layer in keras_private.flatten_layers(network)]
    norms = [layer.name for layer in found if isinstance(layer, keras.layers.BatchNormalization)]
    if norms:
        raise ValueError(
            f"{name}: {what} is one of each example, and {', '.join(norms)} mixes them; expected a network without "
            "BatchNormalization. LayerNormalization may take its place."
        )
