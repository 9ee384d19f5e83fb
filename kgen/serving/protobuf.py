"""Protocol buffers without TensorFlow's Python: reads a SavedModel's signatures, writes small messages."""

import pathlib
import typing

import numpy as np

STRING = 7
DTYPES = {
    1: np.float32,
    2: np.float64,
    3: np.int32,
    4: np.uint8,
    5: np.int16,
    6: np.int8,
    9: np.int64,
    10: np.bool_,
    17: np.uint16,
    19: np.float16,
    22: np.uint32,
    23: np.uint64,
}


class Tensor(typing.NamedTuple):
    """One input or output of a signature: its name in the graph, TensorFlow's number of its dtype, and its shape.

    Sizes that are not fixed are None; the shape itself is None where not even the rank is known.
    """

    name: str
    dtype: int
    shape: tuple | None


class Signature(typing.NamedTuple):
    """Inputs and outputs of a signature, dicts from the name in requests to ``Tensor``; ``defaults`` are one-row arrays for inputs."""

    inputs: dict
    outputs: dict
    defaults: dict


def read_signatures(meta_graph):
    """The signatures of a serialised ``MetaGraphDef``: dict from name to ``Signature``."""
    signatures = {}
    for number, entry in fields(meta_graph):
        if number != 5:  # map<string, SignatureDef> signature_def
            continue
        name, definition = map_entry(entry)
        if name == "__saved_model_init_op":  # what loads the variables: no request calls it
            continue
        signatures[name] = read_signature(definition)
    return signatures


def read_signature(definition):
    """The ``Signature`` of a serialised ``SignatureDef``."""
    tensors = {1: {}, 2: {}, 4: {}}  # map<string, TensorInfo> inputs, outputs; map<string, TensorProto> defaults
    for part, value in fields(definition):
        if part in tensors:
            key, info = map_entry(value)
            tensors[part][key] = read_tensor(info) if part == 4 else _tensor(info)
    return Signature(tensors[1], tensors[2], tensors[4])


def read_saved_model_signatures(version):
    """The signatures of the SavedModel in the folder ``version``: dict from name to ``Signature``."""
    saved_model = (pathlib.Path(version) / "saved_model.pb").read_bytes()
    return next(
        read_signatures(value) for number, value in fields(saved_model) if number == 2
    )  # meta_graphs, of which kgen writes one


def _tensor(info):
    parts = dict(fields(info))  # 1 name, 2 dtype, 3 tensor_shape
    shape = []
    for number, value in fields(parts.get(3, b"")):
        if number == 3 and value:  # unknown_rank
            return Tensor(bytes(parts[1]).decode(), parts[2], None)
        if number == 2:  # Dim, whose field 1 is the size, -1 where it is not fixed
            size = dict(fields(value)).get(1, 0)
            shape.append(None if size >= 2**63 else size)
    return Tensor(bytes(parts[1]).decode(), parts[2], tuple(shape))


def read_tensor(proto):
    """The array of a serialised ``TensorProto``: its bytes, or float_val or int_val, in which TensorFlow writes single numbers."""
    parts = dict(fields(proto))
    shape = [dict(fields(dim)).get(1, 0) for number, dim in fields(parts.get(2, b"")) if number == 2]
    dtype = DTYPES[parts[1]]
    if 7 in parts:
        values, at = [], 0
        while at < len(parts[7]):
            value, at = _varint(parts[7], at)
            values.append(value - 2**64 if value >= 2**63 else value)
        return np.array(values, dtype).reshape(shape)
    return np.frombuffer(parts.get(4, parts.get(5, b"")), dtype).reshape(shape)


def map_entry(entry):
    """(key, value) of a map's entry with a text as its key."""
    parts = dict(fields(entry))
    return bytes(parts.get(1, b"")).decode(), parts.get(2, b"")


def fields(message):
    """Yields (field number, value) of a message: an int for numbers, a memoryview for what has a length."""
    message = memoryview(message)
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(message, at)
        elif kind == 2:
            size, at = _varint(message, at)
            value, at = message[at : at + size], at + size
        elif kind in (1, 5):  # fixed-width numbers, of which none is read
            value, at = None, at + (8 if kind == 1 else 4)
        else:
            raise ValueError(f"The SavedModel is damaged: expected a protocol buffer, received wire type {kind}.")
        yield key >> 3, value


def _varint(message, at):
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def number_field(field, value):
    """A field with a number that is not negative, as it stands in a message."""
    return _to_varint(field << 3) + _to_varint(value)


def bytes_field(field, value):
    """A field with bytes, a text in UTF-8 or a message, as it stands in a message."""
    return _to_varint(field << 3 | 2) + _to_varint(len(value)) + value


def _to_varint(value):
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])
