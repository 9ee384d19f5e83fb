"""Reads a SavedModel's signatures from its protocol buffers, without TensorFlow's Python."""

import pathlib
import typing


class Tensor(typing.NamedTuple):
    """One input or output of a signature: its name in the graph, TensorFlow's number of its dtype, and its shape.

    Sizes that are not fixed are None; the shape itself is None where not even the rank is known.
    """

    name: str
    dtype: int
    shape: tuple | None


class Signature(typing.NamedTuple):
    """Inputs and outputs of a signature, dicts from the name in requests to ``Tensor``."""

    inputs: dict
    outputs: dict


def read_signatures(meta_graph):
    """The signatures of a serialised ``MetaGraphDef``: dict from name to ``Signature``."""
    signatures = {}
    for number, entry in _fields(meta_graph):
        if number != 5:  # map<string, SignatureDef> signature_def
            continue
        name, definition = _map_entry(entry)
        if name == "__saved_model_init_op":  # what loads the variables: no request calls it
            continue
        tensors = {1: {}, 2: {}}  # map<string, TensorInfo> inputs, outputs
        for part, value in _fields(definition):
            if part in tensors:
                key, info = _map_entry(value)
                tensors[part][key] = _tensor(info)
        signatures[name] = Signature(tensors[1], tensors[2])
    return signatures


def read_saved_model_signatures(version):
    """The signatures of the SavedModel in the folder ``version``: dict from name to ``Signature``."""
    saved_model = (pathlib.Path(version) / "saved_model.pb").read_bytes()
    return next(
        read_signatures(value) for number, value in _fields(saved_model) if number == 2
    )  # meta_graphs, of which kgen writes one


def _tensor(info):
    fields = dict(_fields(info))  # 1 name, 2 dtype, 3 tensor_shape
    shape = []
    for number, value in _fields(fields.get(3, b"")):
        if number == 3 and value:  # unknown_rank
            return Tensor(bytes(fields[1]).decode(), fields[2], None)
        if number == 2:  # Dim, whose field 1 is the size, -1 where it is not fixed
            size = dict(_fields(value)).get(1, 0)
            shape.append(None if size >= 2**63 else size)
    return Tensor(bytes(fields[1]).decode(), fields[2], tuple(shape))


def _map_entry(entry):
    fields = dict(_fields(entry))
    return bytes(fields.get(1, b"")).decode(), fields.get(2, b"")


def _fields(message):
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
