"""Making a model whose weights are known to be in a file, so that its configuration cannot ask for more than that file holds."""

import collections
import contextlib
import math
import threading

import keras
import numpy as np
from keras import ops

from kgen.core.presets.allowlist import LARGEST_EXAMPLE
from kgen.core.presets.tensors import kept

# A model may make a part again to keep a copy of its own, as LatentDiffusion does; the first one is freed.
COPIES = 2
_patching = threading.Lock()


@contextlib.contextmanager
def only_what_is_in(tensors, times=1):
    """Inside, this thread makes layers for the weights of a file alone.

    - A weight whose shape and dtype are not those of a tensor in the file is refused before it is allocated; so are more of that kind
      than the file has.
    - Weights start as zeros: they are read from the file next, and no initializer runs (an orthogonal one takes cubic time).
    - A model runs its networks once to see whether their shapes fit. Here that run is symbolic: it says as much, and no size of image
      costs memory.

    Args:
        tensors: dict from a name to (shape, dtype), from the file's header.
        times: how many weights may be made from one tensor.
    Raises:
        ValueError: as above.
    """
    layer, thread = keras.layers.Layer, threading.get_ident()
    left = {kind: COPIES * times * count for kind, count in collections.Counter(tensors.values()).items()}
    others = (
        ["float16"] if times == 1 else ["float16", "float32"]
    )  # stored in half precision, or as the average is kept
    layers_left = 100 + 4 * times * len(tensors)
    depth = 0

    def metered_init(self, *args, **kwargs):
        nonlocal layers_left
        if threading.get_ident() == thread:
            layers_left -= 1
            if layers_left < 0:
                raise ValueError(f"the configuration makes too many layers for the file's {len(tensors)} weights")
        init(self, *args, **kwargs)

    def metered_add_weight(self, shape=None, initializer=None, dtype=None, **kwargs):
        if threading.get_ident() == thread:
            shape = tuple(shape or ())
            kind = shape, kept(keras.backend.standardize_dtype(dtype or self.variable_dtype))
            if left.get(kind, 0) <= 0 and kind[1].startswith("float"):
                kind = shape, next((d for d in others if left.get((shape, d), 0) > 0), kind[1])
            left[kind] = left.get(kind, 0) - 1
            if left[kind] < 0:
                there = "fewer" if kind in tensors.values() else "none"
                what = f"{self.name}/{kwargs.get('name')} of shape {shape}, {kind[1]}"
                raise ValueError(f"the configuration makes a weight {what}: the file has {there}")
            initializer = "zeros"
        return add_weight(self, shape=shape, initializer=initializer, dtype=dtype, **kwargs)

    def symbolic_call(self, *args, **kwargs):
        nonlocal depth
        flat = keras.tree.flatten((args, kwargs))
        if threading.get_ident() != thread or depth:
            return call(self, *args, **kwargs)
        depth += 1
        try:
            if any(isinstance(v, keras.KerasTensor) for v in flat):  # what it calls within is symbolic too
                return call(self, *args, **kwargs)
            args, kwargs = keras.tree.map_structure(_symbol, (args, kwargs))
            return keras.tree.map_structure(_zeros, call(self, *args, **kwargs))
        finally:
            depth -= 1

    with _patching:  # Keras has no hook for what layers make; the three methods are its public ones
        init, add_weight, call = layer.__init__, layer.add_weight, layer.__call__
        layer.__init__, layer.add_weight, layer.__call__ = metered_init, metered_add_weight, symbolic_call
        try:
            yield
        finally:
            layer.__init__, layer.add_weight, layer.__call__ = init, add_weight, call


def _symbol(value):
    is_array = ops.is_tensor(value) or isinstance(value, np.ndarray)
    return keras.KerasTensor(value.shape, keras.backend.standardize_dtype(value.dtype)) if is_array else value


def _zeros(value):
    if not isinstance(value, keras.KerasTensor):
        return value
    if math.prod(value.shape) > LARGEST_EXAMPLE:
        raise ValueError(f"a network returns shape {value.shape[1:]}: expected at most {LARGEST_EXAMPLE} values")
    return ops.zeros(value.shape, dtype=value.dtype)
