"""Runs a SavedModel through TensorFlow's C API, TF Serving's own runtime, without Keras and TensorFlow's Python.

    python -m kgen.serving.capi MODEL_DIR SIGNATURE INPUTS.npz OUTPUTS.npz [--no-xla]

It answers for an export what a server would answer: with XLA, or without it as a stock server, which switches XLA off.
"""

import argparse
import ctypes
import functools
import importlib.util
import pathlib

import numpy as np

from kgen.serving.protobuf import DTYPES, STRING, read_signatures

CODES = {
    1: "CANCELLED",
    2: "UNKNOWN",
    3: "INVALID_ARGUMENT",
    4: "DEADLINE_EXCEEDED",
    5: "NOT_FOUND",
    7: "PERMISSION_DENIED",
    8: "RESOURCE_EXHAUSTED",
    9: "FAILED_PRECONDITION",
    11: "OUT_OF_RANGE",
    12: "UNIMPLEMENTED",
    13: "INTERNAL",
    14: "UNAVAILABLE",
}
_STRING_BYTES = 24  # sizeof(TF_TString)
_LIBRARIES = ("libtensorflow_cc.so.2", "libtensorflow.so.2", "libtensorflow_cc.2.dylib", "libtensorflow.2.dylib")


class StatusError(RuntimeError):
    """TensorFlow refused: ``code`` is the name of the status, as a server returns it, such as "INVALID_ARGUMENT"."""

    def __init__(self, code, message):
        super().__init__(f"{code}: {message}")
        self.code = code


class Session:
    """A SavedModel, loaded and ready to answer.

    Args:
        path: a version's folder, such as ``saved_models/ddpm_digits/1``.
        xla: False switches XLA off, as a stock TF Serving does, for this process and for good.
    Raises:
        FileNotFoundError: there is no SavedModel, or no TensorFlow.
        RuntimeError: ``xla=True`` after XLA was switched off in this process.
        StatusError: TensorFlow cannot load the model.
    """

    _xla_is_off = False

    def __init__(self, path, *, xla=True):
        path = pathlib.Path(path)
        if not (path / "saved_model.pb").is_file():
            raise FileNotFoundError(f"path: expected a SavedModel's folder, {path / 'saved_model.pb'} does not exist.")
        if xla and Session._xla_is_off:
            raise RuntimeError(
                "XLA was switched off in this process by an earlier Session(xla=False): use a new process."
            )
        self._library = library()
        if not xla:
            Session._xla_is_off = True
            self._library._ZN10tensorflow21DisableXlaCompilationEv()
        self._graph = self._library.TF_NewGraph()
        options, meta_graph = self._library.TF_NewSessionOptions(), self._library.TF_NewBuffer()
        tags = (ctypes.c_char_p * 1)(b"serve")
        try:
            self._session = self._checked(
                self._library.TF_LoadSessionFromSavedModel,
                options,
                None,
                str(path).encode(),
                tags,
                1,
                self._graph,
                meta_graph,
            )
            self._signatures = read_signatures(ctypes.string_at(meta_graph.contents.data, meta_graph.contents.length))
        finally:
            self._library.TF_DeleteSessionOptions(options)
            self._library.TF_DeleteBuffer(meta_graph)

    def signatures(self):
        """Dict from a signature's name to a ``Signature``, whose ``inputs`` and ``outputs`` are dicts of ``Tensor``."""
        return dict(self._signatures)

    def run(self, signature, inputs):
        """Answers one request.

        Args:
            signature: name of a signature.
            inputs: dict from an input's name to an array.
        Returns:
            dict from an output's name to a numpy array; strings come as an object array of bytes.
        Raises:
            ValueError: there is no such signature, or the inputs are not its inputs.
            StatusError: TensorFlow refused the request.
        """
        if signature not in self._signatures:
            raise ValueError(
                f"signature: expected one of {', '.join(sorted(self._signatures))}, received {signature!r}."
            )
        wanted, given = self._signatures[signature].inputs, self._signatures[signature].outputs
        if set(inputs) != set(wanted):
            raise ValueError(f"inputs: signature {signature!r} takes {sorted(wanted)}, received {sorted(inputs)}.")
        arrays = [_array(name, inputs[name], wanted[name]) for name in wanted]
        values = (ctypes.c_void_p * len(arrays))()
        results = (ctypes.c_void_p * len(given))()
        try:
            for i, (name, array) in enumerate(zip(wanted, arrays, strict=True)):
                values[i] = self._tensor(array, wanted[name].dtype)
            self._checked(
                self._library.TF_SessionRun,
                *(self._session, None, self._outputs(wanted), values, len(arrays)),
                *(self._outputs(given), results, len(given), None, 0, None),
            )
            return {name: self._to_numpy(tensor) for name, tensor in zip(given, results, strict=True)}
        finally:
            for tensor in (*values, *results):
                if tensor:
                    self._library.TF_DeleteTensor(tensor)

    def _checked(self, function, *arguments):
        """Calls a function whose last argument is a status; raises StatusError unless it is OK."""
        status = self._library.TF_NewStatus()
        try:
            result = function(*arguments, status)
            code = self._library.TF_GetCode(status)
            if code:
                message = self._library.TF_Message(status).decode(errors="replace")
                raise StatusError(CODES.get(code, str(code)), message)
            return result
        finally:
            self._library.TF_DeleteStatus(status)

    def _outputs(self, tensors):
        """An array of ``TF_Output``: the operations that carry a signature's tensors."""
        outputs = (_Output * len(tensors))()
        for output, tensor in zip(outputs, tensors.values(), strict=True):
            name, index = tensor.name.rsplit(":", 1)
            output.operation, output.index = (
                self._library.TF_GraphOperationByName(self._graph, name.encode()),
                int(index),
            )
        return outputs

    def _tensor(self, array, dtype):
        shape = (ctypes.c_int64 * array.ndim)(*array.shape)
        if dtype == STRING:
            tensor = self._library.TF_AllocateTensor(dtype, shape, array.ndim, _STRING_BYTES * array.size)
            start = self._library.TF_TensorData(tensor)
            for i, text in enumerate(array.flat):
                self._library.TF_StringInit(start + _STRING_BYTES * i)
                self._library.TF_StringAssignView(
                    start + _STRING_BYTES * i, text, len(text)
                )  # the array keeps the bytes
            return tensor
        tensor = self._library.TF_AllocateTensor(dtype, shape, array.ndim, array.nbytes)
        ctypes.memmove(self._library.TF_TensorData(tensor), array.ctypes.data, array.nbytes)
        return tensor

    def _to_numpy(self, tensor):
        shape = [self._library.TF_Dim(tensor, i) for i in range(self._library.TF_NumDims(tensor))]
        dtype, data = self._library.TF_TensorType(tensor), self._library.TF_TensorData(tensor)
        if dtype == STRING:
            starts = [data + _STRING_BYTES * i for i in range(int(np.prod(shape)))]
            strings = np.empty(len(starts), object)
            strings[:] = [
                ctypes.string_at(self._library.TF_StringGetDataPointer(s), self._library.TF_StringGetSize(s))
                for s in starts
            ]
            return strings.reshape(shape)
        if dtype not in DTYPES:
            raise ValueError(f"An output has TensorFlow's dtype number {dtype}, which numpy lacks.")
        size = self._library.TF_TensorByteSize(tensor)
        return np.frombuffer(ctypes.string_at(data, size), DTYPES[dtype]).reshape(shape).copy()

    def close(self):
        """Frees the model."""
        if self._session:
            self._checked(self._library.TF_CloseSession, self._session)
            self._checked(self._library.TF_DeleteSession, self._session)
            self._library.TF_DeleteGraph(self._graph)
            self._session = None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()


def _array(name, value, tensor):
    if tensor.dtype == STRING:
        return as_strings(name, value)
    value = np.asarray(value)
    if tensor.dtype not in DTYPES:
        raise ValueError(f"{name}: inputs of TensorFlow's dtype number {tensor.dtype} are not supported.")
    dtype = np.dtype(DTYPES[tensor.dtype])
    if not np.can_cast(value.dtype, dtype, "same_kind"):
        raise ValueError(f"{name}: expected {dtype}, received {value.dtype}.")
    check_fits(name, value, dtype)
    return np.asarray(value, dtype, order="C")  # ascontiguousarray would make a scalar a row


def as_strings(name, value):
    """Bytes or texts as an object array of bytes, (N,) or, of a single one, (). Raises ValueError for anything else."""
    texts = np.empty((), object) if isinstance(value, (bytes, str)) else np.empty(len(value), object)
    texts[...] = value if texts.ndim == 0 else list(value)
    for i, text in np.ndenumerate(texts):
        if not isinstance(text, (bytes, str)):
            raise ValueError(f"{name}: expected bytes, such as those of a file, received {type(text).__name__}.")
        texts[i] = text.encode() if isinstance(text, str) else text
    return texts


def check_fits(name, value, dtype):
    """Raises ValueError for integers that ``dtype`` does not hold: numpy would wrap them around, 2**32 to 0."""
    if value.size and np.issubdtype(value.dtype, np.integer) and np.issubdtype(dtype, np.integer):
        limits, least, most = np.iinfo(dtype), int(value.min()), int(value.max())
        if least < limits.min or most > limits.max:
            raise ValueError(
                f"{name}: expected {dtype}, from {limits.min} to {limits.max}, received values from {least} to {most}."
            )


class _Output(ctypes.Structure):
    _fields_ = [("operation", ctypes.c_void_p), ("index", ctypes.c_int)]


class _Buffer(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("length", ctypes.c_size_t), ("deallocator", ctypes.c_void_p)]


@functools.cache
def library():
    """TensorFlow's C library, from the installed wheel.

    Raises:
        FileNotFoundError: TensorFlow is not installed, or its wheel holds no C library.
    """
    spec = importlib.util.find_spec("tensorflow")  # looks, and does not import
    folders = [pathlib.Path(p) for p in spec.submodule_search_locations] if spec else []
    files = [folder / name for folder in folders for name in _LIBRARIES if (folder / name).is_file()]
    if not files:
        raise FileNotFoundError(
            f"No {' or '.join(_LIBRARIES[:2])} in {folders or 'any tensorflow package'}: pip install tensorflow."
        )
    loaded = ctypes.CDLL(str(files[0]))
    pointer, integer, size = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
    text, buffer = ctypes.c_char_p, ctypes.POINTER(_Buffer)
    for name, result, arguments in (
        ("TF_NewGraph", pointer, []),
        ("TF_NewStatus", pointer, []),
        ("TF_NewSessionOptions", pointer, []),
        ("TF_NewBuffer", buffer, []),
        ("TF_DeleteGraph", None, [pointer]),
        ("TF_DeleteStatus", None, [pointer]),
        ("TF_DeleteSessionOptions", None, [pointer]),
        ("TF_DeleteBuffer", None, [buffer]),
        ("TF_DeleteTensor", None, [pointer]),
        ("TF_GetCode", integer, [pointer]),
        ("TF_Message", text, [pointer]),
        ("TF_LoadSessionFromSavedModel", pointer, [pointer, pointer, text, pointer, integer, pointer, buffer, pointer]),
        ("TF_GraphOperationByName", pointer, [pointer, text]),
        (
            "TF_SessionRun",
            None,
            [*[pointer] * 4, integer, pointer, pointer, integer, pointer, integer, pointer, pointer],
        ),
        ("TF_CloseSession", None, [pointer, pointer]),
        ("TF_DeleteSession", None, [pointer, pointer]),
        ("TF_AllocateTensor", pointer, [integer, pointer, integer, size]),
        ("TF_TensorData", pointer, [pointer]),
        ("TF_TensorByteSize", size, [pointer]),
        ("TF_TensorType", integer, [pointer]),
        ("TF_NumDims", integer, [pointer]),
        ("TF_Dim", ctypes.c_int64, [pointer, integer]),
        ("TF_StringGetDataPointer", pointer, [pointer]),
        ("TF_StringGetSize", size, [pointer]),
        ("TF_StringInit", None, [pointer]),
        ("TF_StringAssignView", None, [pointer, text, size]),
        ("_ZN10tensorflow21DisableXlaCompilationEv", None, []),  # tensorflow::DisableXlaCompilation()
    ):
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    return loaded


def main(arguments=None):
    """The program: reads inputs, answers one request, writes outputs."""
    parser = argparse.ArgumentParser(
        prog="python -m kgen.serving.capi", description="Runs a SavedModel through TensorFlow's C API."
    )
    parser.add_argument("model_dir", help="a version's folder")
    parser.add_argument("signature")
    parser.add_argument("inputs", help=".npz file with one array for each input")
    parser.add_argument("outputs", help=".npz file to write; strings become numpy bytes")
    parser.add_argument("--no-xla", action="store_true", help="switch XLA off, as a stock TF Serving does")
    options = parser.parse_args(arguments)
    with Session(options.model_dir, xla=not options.no_xla) as session, np.load(options.inputs) as inputs:
        outputs = session.run(options.signature, dict(inputs))
    np.savez(options.outputs, **{n: a.astype(np.bytes_) if a.dtype == object else a for n, a in outputs.items()})


if __name__ == "__main__":
    main()
