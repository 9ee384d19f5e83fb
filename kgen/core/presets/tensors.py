"""Weights in a file of the safetensors format: a JSON header and plain numbers.

Not HDF5: a file of that format may hold links to other files, compressed and virtual data of any size, and it is parsed by C code that
was not written for files from strangers. A safetensors file of N bytes holds N bytes of numbers, wherever it comes from.
"""

import pathlib

import numpy as np
import safetensors
import safetensors.numpy
from keras import ops

from kgen.backend import keras_private

LONGEST_HEADER = 2**22
DTYPES = {
    "BOOL": "bool",
    "F16": "float16",
    "F32": "float32",
    "F64": "float64",
    "I8": "int8",
    "I16": "int16",
    "I32": "int32",
    "I64": "int64",
    "U8": "uint8",
    "U16": "uint16",
    "U32": "uint32",
    "U64": "uint64",
}


def weights(model):
    """Dict from a name, the same on every backend, to each of the model's variables.

    Optimizers and seeds are not among them: a preset is to be used, or to be trained on anew.
    """
    return {f"{i:04d}.{v.name}": v for i, v in enumerate(model.weights)}


def averaged(model):
    """Dict from the name of each variable that the average "ema" follows, in the model and in models within it, to the average's name."""
    names = {id(v): name for name, v in weights(model).items()}
    found = {}
    for part in keras_private.flatten_layers(model):
        for network in getattr(getattr(part, "averages", None), "networks", {}).get("ema", ()):
            for source, target in zip(getattr(part, network).weights, part.averaged(network).weights, strict=True):
                if id(source) in names and id(target) in names:
                    found[names[id(source)]] = names[id(target)]
    return found


def kept(dtype):
    """The dtype in which a variable is kept: NumPy, which reads the file, lacks bfloat16."""
    return "float32" if dtype == "bfloat16" else dtype


def write(model, path, dtype=None, average=False):
    """Writes the model's weights; ``dtype`` and ``average`` as ``dtype`` and ``averaged`` of ``writing.write``."""
    left_out = averaged(model) if average else {}
    arrays = {n: ops.convert_to_numpy(v).astype(kept(v.dtype)) for n, v in weights(model).items() if n not in left_out}
    if dtype is not None:
        arrays = {name: _halved(array) for name, array in arrays.items()}
    arrays = {name: np.ascontiguousarray(a).reshape(a.shape) for name, a in arrays.items()}
    pathlib.Path(path).write_bytes(safetensors.numpy.save(arrays))  # save_file's is for its owner alone to read


def _halved(array):
    if array.ndim < 2 or array.dtype.kind != "f":
        return array
    with np.errstate(over="ignore"):
        half = array.astype("float16")
    return half if np.array_equal(np.isfinite(half), np.isfinite(array)) else array


def header(path, where):
    """What a file says that it holds, without reading any of it: dict from a name to (shape, dtype).

    Raises:
        ValueError: it is not a whole file of that format.
    """
    with open(path, "rb") as f:
        length = int.from_bytes(f.read(8), "little")
    if length > LONGEST_HEADER:
        raise ValueError(f"{where}: expected a header of at most {LONGEST_HEADER} bytes, received {length}.")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            found = {}
            for name in file.keys():  # noqa: SIM118 (not a dict)
                tensor = file.get_slice(name)
                if tensor.get_dtype() not in DTYPES:
                    raise ValueError(
                        f"{where}: {name}: expected one of {', '.join(DTYPES)}, received {tensor.get_dtype()}."
                    )
                found[name] = tuple(tensor.get_shape()), DTYPES[tensor.get_dtype()]
            return found
    except (safetensors.SafetensorError, OSError) as error:
        raise ValueError(f"{where}: expected a whole safetensors file, received one that fails: {error}.") from None


def read(model, path, where, average=False):
    """Puts the weights of a file into a model, one after the other; with ``average`` those of an average into its network too.

    Raises:
        ValueError: names, shapes or dtypes differ from the model's; nothing was put there.
    """
    variables, there = weights(model), header(path, where)
    source = averaged(model) if average else {}
    here = {name: (tuple(v.shape), kept(v.dtype)) for name, v in variables.items() if name not in source}
    for name, (shape, dtype) in here.items():  # half precision stands for any float
        if dtype.startswith("float") and there.get(name) == (shape, "float16"):
            here[name] = there[name]
    if here != there:
        name = next(n for n in [*here, *there] if here.get(n) != there.get(n))
        raise ValueError(
            f"{where}: {name}: the configuration makes {here.get(name, 'nothing')}, the file holds {there.get(name, 'nothing')}."
        )
    with safetensors.safe_open(path, framework="numpy") as file:
        for name, variable in variables.items():
            variable.assign(ops.cast(file.get_tensor(source.get(name, name)), variable.dtype))
