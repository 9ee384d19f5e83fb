"""Warm-up requests: what a server answers to itself before it takes a new version into service, so that no user waits for a first run.

TF Serving reads them from ``assets.extra/tf_serving_warmup_requests``: a TFRecord file of ``PredictionLog`` messages. A request that
fails makes the version unloadable. The messages are few and small, and are written here, so that an export needs no package but TensorFlow.
"""

import functools
import pathlib
import struct
import zlib

import numpy as np

from kgen.serving.protobuf import DTYPES, bytes_field, fields, map_entry, number_field, read_tensor

FILE = pathlib.Path("assets.extra") / "tf_serving_warmup_requests"
MAX_RECORDS = 1000  # TF Serving refuses a version with more
_NUMBERS = {np.dtype(dtype): code for code, dtype in DTYPES.items()}


def example_rows(spec, name, n):
    """Rows that an endpoint accepts, of many kinds, for its input ``name``: numpy (n, *shape)."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))  # inputs of one shape are to differ
    if name == "seed":
        from kgen.core import random

        return random.row_seeds(0, n)
    if spec.dtype == "bool":
        return rng.integers(0, 2, (n, *spec.shape)).astype("bool")
    if "int" in spec.dtype:
        low = min(0, 0 if spec.high is None else spec.high - 1) if spec.low is None else spec.low
        high = low + 8 if spec.high is None else spec.high
        return rng.integers(low, high, (n, *spec.shape), endpoint=True).astype(spec.dtype)
    low = min(-1.0, 0.0 if spec.high is None else spec.high - 1.0) if spec.low is None else spec.low
    high = max(1.0, low + 1.0) if spec.high is None else spec.high
    high = min(high, max(low, 0.0) + 3.0)  # guidance may go to 100: far beyond what anyone asks for
    return rng.uniform(low, high, (n, *spec.shape)).astype(spec.dtype)


def write(version, requests):
    """Writes warm-up requests into a version's folder.

    Args:
        version: the folder.
        requests: list of ``(signature, inputs)``, inputs a dict from a name to a numpy array.
    Raises:
        ValueError: there are more requests than TF Serving reads.
    """
    if len(requests) > MAX_RECORDS:
        raise ValueError(
            f"batch_sizes: expected at most {MAX_RECORDS} warm-up requests, one for each endpoint and batch size, "
            f"received {len(requests)}. Export with fewer batch sizes."
        )
    file = pathlib.Path(version) / FILE
    file.parent.mkdir()
    with open(file, "wb") as f:
        for signature, inputs in requests:
            record = _prediction_log(signature, inputs)
            size = struct.pack("<Q", len(record))
            f.write(size + _masked_crc(size) + record + _masked_crc(record))


def read(version):
    """The warm-up requests in a version's folder: list of ``(signature, inputs)`` as ``write`` takes them; [] if there is no file.

    Raises:
        ValueError: the file is damaged: a server would not load the version.
    """
    file = pathlib.Path(version) / FILE
    data, at, requests = file.read_bytes() if file.exists() else b"", 0, []
    while at < len(data):
        size = data[at : at + 8]
        end = at + 12 + int.from_bytes(size, "little")
        record = data[at + 12 : end]
        if data[at + 8 : at + 12] != _masked_crc(size) or data[end : end + 4] != _masked_crc(record):
            raise ValueError(
                f"{file} is damaged: record {len(requests)} has another checksum than was written with it."
            )
        requests.append(_request(record))
        at = end + 4
    return requests


def _prediction_log(signature, inputs):
    """``PredictionLog`` (predict_log = 6) of ``PredictLog`` (request = 1) of ``PredictRequest`` (model_spec = 1, inputs = 2)."""
    model_spec = bytes_field(3, signature.encode())  # no model's name: the server has its own for the version
    request = bytes_field(1, model_spec)
    for name, array in inputs.items():
        entry = bytes_field(1, name.encode()) + bytes_field(2, _tensor_proto(array))
        request += bytes_field(2, entry)
    return bytes_field(6, bytes_field(1, request))


def _tensor_proto(array):
    """``TensorProto``: dtype = 1, tensor_shape = 2 (dim = 2 (size = 1)), tensor_content = 4."""
    shape = b"".join(bytes_field(2, number_field(1, size)) for size in array.shape)
    content = bytes_field(4, np.ascontiguousarray(array).tobytes())
    return number_field(1, _NUMBERS[array.dtype]) + bytes_field(2, shape) + content


def _request(record):
    request = dict(fields(dict(fields(record))[6]))[1]
    signature, inputs = "", {}
    for part, value in fields(request):
        if part == 1:
            signature = bytes(dict(fields(value))[3]).decode()
        if part == 2:
            name, tensor = map_entry(value)
            inputs[name] = read_tensor(tensor)
    return signature, inputs


@functools.cache
def _crc_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


def _masked_crc(data):
    """CRC-32C, masked as the TFRecord format has it."""
    table, crc = _crc_table(), 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)
