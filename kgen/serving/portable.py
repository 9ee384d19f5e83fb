"""Endpoints as ONNX or LiteRT files, by Keras's own exporters: encoders, decoders, one-step generators, denoisers, energies."""

import importlib.util
import pathlib
import shutil
import tempfile
import warnings

import keras
import numpy as np
from keras import ops

from kgen.core import checks
from kgen.core.saving import aside
from kgen.serving import signatures, warmup

SUFFIXES = {"onnx": ".onnx", "litert": ".tflite"}
_TOLERANCE = 1e-4
_SEEDED = (
    "it draws random numbers from row seeds by operations on bits, which these formats lack. Draw the noise yourself and export what "
    "comes after it, such as decode or denoise; kgen.serving.export serves it whole."
)


def export_portable(model, folder, *, format="onnx"):
    """Writes each endpoint that needs no random numbers as ``folder/<endpoint>.onnx`` or ``folder/<endpoint>.tflite``.

    Each file is run by ONNX Runtime or LiteRT on a few rows before it gets its name, and is there only if it answers as the model does.
    Inputs and outputs have the endpoint's names; how many rows there are is free. Limits on inputs, ``valid``, uint8 and
    PNG are in SavedModels alone.

    Args:
        model: a ``GenerativeModel`` with endpoints, on the TensorFlow backend.
        folder: where the files go; made if it is not there. Files of the same names are replaced.
        format: "onnx" or "litert".
    Returns:
        dict from an endpoint's name to the file's pathlib.Path, or to a text that says why there is none.
    Raises:
        ImportError: ``format="onnx"`` without tf2onnx or ONNX Runtime.
        RuntimeError: the backend is not TensorFlow.
        ValueError: ``format`` is none of these.
    """
    checks.one_of("format", format, list(SUFFIXES))
    if keras.config.backend() != "tensorflow":
        raise RuntimeError(
            f"backend: expected tensorflow, received {keras.config.backend()}. Models load on every backend: "
            f"KERAS_BACKEND=tensorflow kgen export PATH --format {format}, or --backend tensorflow."
        )
    missing = [name for name in ("tf2onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
    if format == "onnx" and missing:
        raise ImportError(f'format: "onnx" needs {" and ".join(missing)}: pip install {" ".join(missing)}.')
    found = {}
    for endpoint in model.endpoints():
        path = pathlib.Path(folder) / f"{endpoint.name}{SUFFIXES[format]}"
        found[endpoint.name] = _SEEDED if "seed" in endpoint.inputs else _export(model, endpoint, path, format)
    return found


def _export(model, endpoint, path, format):
    """The path of the file, or why there is none."""
    rows = {name: warmup.example_rows(spec, name, 3) for name, spec in endpoint.inputs.items()}
    # FutureWarning: Keras looks for an old name in NumPy, once.
    with signatures.quiet(), warnings.catch_warnings(action="ignore", category=FutureWarning):
        wrapped = _Endpoint(model, endpoint)
        expected = wrapped({name: ops.convert_to_tensor(value) for name, value in rows.items()})
        inputs = {n: keras.InputSpec(s.dtype, (None, *s.shape), name=n) for n, s in endpoint.inputs.items()}
        with tempfile.TemporaryDirectory(prefix="kgen-portable-") as folder:
            file = pathlib.Path(folder) / path.name
            try:
                wrapped.export(file, format=format, input_signature=[inputs], verbose=False)
                fault = _difference(expected, _RUN[format](file, rows))
            except Exception as error:  # converters raise what they please, and some write files that no runtime takes
                fault = f"{type(error).__name__}: {' '.join(str(error).split())[:400]}"
            if fault:
                return fault
            with aside(path) as temporary:
                shutil.copyfile(file, temporary)
    return path


class _Endpoint(keras.Model):
    """A function as a model, which is what Keras exports."""

    def __init__(self, model, endpoint):
        super().__init__(name=endpoint.name)
        self.model = model  # whose variables go into the file
        self.endpoint = endpoint

    def call(self, inputs):
        return self.endpoint.function(**inputs)


def _difference(expected, answers):
    for name, value in expected.items():
        value = ops.convert_to_numpy(value).astype("float64")
        if name not in answers or answers[name].shape != value.shape:
            return f"expected an output {name!r} {value.shape}, received { ({n: a.shape for n, a in answers.items()}) }"
        difference = np.max(np.abs(answers[name] - value) / (1 + 0.1 * np.abs(value)))
        if not difference <= _TOLERANCE:  # NaN too
            return f"{name} differs by {difference:.1e} from what the model gives; allowed are {_TOLERANCE:.0e}."
    return ""


def _run_onnx(file, rows):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(file), options)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, rows), strict=True))


def _run_litert(file, rows):
    if importlib.util.find_spec("ai_edge_litert") is not None:
        from ai_edge_litert.interpreter import Interpreter
    else:
        import tensorflow as tf

        Interpreter = tf.lite.Interpreter
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # TensorFlow's own says that it has moved
        interpreter = Interpreter(str(file))
    return interpreter.get_signature_runner()(**rows)


_RUN = {"onnx": _run_onnx, "litert": _run_litert}
