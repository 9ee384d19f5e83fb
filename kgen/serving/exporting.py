"""Exports a model as the next version of a TF Serving base path, from any backend."""

import builtins
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import zipfile

import keras

from kgen.core import checks
from kgen.core.saving import aside
from kgen.serving import picture_inputs
from kgen.serving.bundle import BATCH_SIZES

_FRESH_PROCESS = {
    "KERAS_BACKEND": "tensorflow",
    "CUDA_VISIBLE_DEVICES": "-1",  # tracing needs no accelerator, and this process may hold all of its memory
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


def export(model, base, *, endpoints=None, default=None, batch_sizes=BATCH_SIZES):
    """Writes ``model`` as ``base/<n>/``, a bundle that TF Serving answers from, where n follows the largest version there.

    Every endpoint becomes two signatures: ``<name>``, which runs on a stock TF Serving, and ``<name>_xla``, which is
    compiled by XLA and runs on a server started with ``--xla_cpu_compilation_enabled`` or
    ``--xla_gpu_compilation_enabled``. The signature ``serving_default`` is the default endpoint without XLA. All read
    one set of variables: those that the endpoints use, so that neither optimizer state nor, where the model keeps an
    average, the weights in training are in the files.

    An output ``images`` (N, H, W, C) in [-1, 1] comes with ``images_uint8`` and, for 1, 3 or 4 channels, ``png_bytes``
    (N,): one PNG file per row. (An endpoint with several image outputs calls them ``<output>_png_bytes``.)

    An endpoint that takes pictures is also ``<name>_uint8``, with ``<input>_uint8`` in place of each, and ``<name>_png``, with
    ``<input>_png_bytes`` (N,), a file of the input's height and width per row; both run without XLA.

    A server that batches answers several clients at once, so that a row with a value outside of its input's specification (out of
    range, NaN, infinite) does not fail the others: every signature has the outputs ``valid`` (N,), bool, and ``error`` (N,), texts.
    Where ``valid`` is false, ``error`` names the input, what is expected and what was received, and the row's other outputs
    are NaN for floats, 0 for integers and pixels, and empty texts for PNG files. What cannot be batched gets the status INVALID_ARGUMENT: other
    shapes, inputs with differing numbers of rows, no rows, and more rows than the largest batch size. A PNG file of another size, one that
    is cut off and what is none at all are marked too; one that is broken inside fails the request.

    In the version stand also warm-up requests for the signatures that a stock server runs, ``batching_params.pbtxt``, and
    ``manifest.json``: fingerprint, endpoints with shapes and units, the figures of ``base/metrics.json``, versions. Beside the
    versions come ``models.config``, ``monitoring.config``, ``docker-compose.yml`` and a ``SERVING.md`` with the commands that start
    a server and ask it; of these, one that was edited, or that kgen did not write, is left as it is.

    The version appears whole or not at all. On JAX and torch the work is done by a fresh process on TensorFlow.

    Args:
        model: a ``GenerativeModel`` with endpoints.
        base: the folder of versions, which is TF Serving's ``--model_base_path``; made if it is not there.
        endpoints: names of the endpoints to export, of ``model.endpoints()`` and ``model.further_endpoints()``; the former if None.
        default: name of the endpoint that ``serving_default`` is; the first if None.
        batch_sizes: the numbers of rows to which a server pads what it answers together, each warmed up; a request may have no
            more rows than the largest.
    Returns:
        pathlib.Path of the version written.
    Raises:
        TypeError: ``model`` has no ``endpoints`` method, or an endpoint does not return a dict.
        ValueError: there are no endpoints, or not these, ``default`` is none of them, ``batch_sizes`` are not integers of at least 1, an
            output lacks the batch dimension or is called ``valid`` or ``error``, or the fresh process cannot load the model's classes.
        NotADirectoryError: ``base`` is a file.
        OSError: the disk is full or not writable; nothing was changed.
    """
    base = pathlib.Path(base)
    default = _check(model, base, endpoints, default)
    batch_sizes = sorted({checks.positive_int("batch_sizes", size) for size in batch_sizes})
    if not batch_sizes:
        raise ValueError(f"batch_sizes: expected integers of at least 1, such as {BATCH_SIZES}, received none.")
    if keras.config.backend() == "tensorflow":
        return _export(model, base, endpoints, default, batch_sizes)
    return _export_in_fresh_process(model, base, endpoints, default, batch_sizes)


def offered(model):
    """Dict from a name to the endpoint, of all that a model can be asked to export."""
    return {e.name: e for e in [*model.endpoints(), *getattr(model, "further_endpoints", list)()]}


def chosen(model, names=None):
    """The endpoints of a model by their names; those that it offers unasked if None. Raises ValueError where there is no such endpoint."""
    if names is None:
        return model.endpoints()
    found = offered(model)
    return [found[checks.one_of("endpoints", name, list(found))] for name in names]


def next_version(base):
    """One more than the largest version in a base path, 1 for a new one. Versions are named by whole numbers."""
    names = [p.name for p in base.iterdir()] if base.exists() else []
    return max([int(n) for n in names if n.isascii() and n.isdecimal()], default=0) + 1


def _check(model, base, endpoints, default):
    if not callable(getattr(model, "endpoints", None)):
        hint = " A plain Keras model exports itself: model.export(path)." if isinstance(model, keras.Model) else ""
        raise TypeError(f"model: expected a kgen model with endpoints(), received {type(model).__name__}.{hint}")
    names = [e.name for e in chosen(model, endpoints)]
    if not names:
        raise ValueError(
            f"{type(model).__name__} has no endpoints, so there is nothing to serve: let its endpoints() return some."
        )
    signatures = ["serving_default", *names, *(f"{n}_xla" for n in names)]
    signatures += [f"{e.name}_{form}" for e in chosen(model, endpoints) for form in picture_inputs.forms_of(e)]
    if len(set(signatures)) < len(signatures):
        raise ValueError(
            f"{type(model).__name__}: expected endpoints that give different signatures, received {signatures}."
        )
    if base.exists() and not base.is_dir():
        raise NotADirectoryError(f"base: expected a folder, {base} is a file.")
    return names[0] if default is None else checks.one_of("default", default, names)


def _export(model, base, endpoints, default, batch_sizes):
    from kgen.serving import bundle, deployment, signatures

    # Every endpoint is traced before anything is written: most errors leave not even the base folder.
    endpoints = chosen(model, endpoints)
    variables, functions, outputs = signatures.trace(endpoints, default, batch_sizes[-1])
    path = base / str(next_version(base))
    with aside(path) as temporary:
        signatures.save(variables, functions, temporary)
        manifest = bundle.write(temporary, model, endpoints, outputs, default, batch_sizes, base)
    deployment.write(base, manifest)
    return path


# Where another backend trained: the model goes to a file, and a fresh process on TensorFlow exports it.


def _export_in_fresh_process(model, base, endpoints, default, batch_sizes):
    with tempfile.TemporaryDirectory(prefix="kgen-export-") as folder:
        file = pathlib.Path(folder) / "model.keras"
        model.save(file)
        modules = _modules(model, file)
        env = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}  # JAX's XLA knows flags that stop TensorFlow's
        env |= _FRESH_PROCESS | {"PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path)}
        command = [sys.executable, "-m", "kgen.serving.export_process", str(file), str(base), default]
        command += [",".join(map(str, batch_sizes)), ",".join(e.name for e in chosen(model, endpoints))]
        command += [f"{name}={path}" for name, path in modules.items()]
        child = subprocess.run(
            command, env=env, capture_output=True, text=True, encoding="utf-8", errors="replace", check=False
        )
    return _result(child)


def _modules(model, file):
    """Modules of the classes in the model's file, name to path, for the fresh process to import.

    Raises:
        ValueError: a class is the script's own, in ``__main__``.
    """
    found = {}

    def visit(config):
        if isinstance(config, dict):
            module, name = config.get("module"), config.get("class_name")
            if "module" in config and name is not None:
                found.setdefault(module or "__main__", set()).add(name)  # Keras writes null for __main__
            config = list(config.values())
        if isinstance(config, list):
            for value in config:
                visit(value)

    with zipfile.ZipFile(file) as archive:
        config = json.loads(archive.read("config.json"))
    config.pop("compile_config", None)  # losses and optimizers are not exported
    visit(config)
    if "__main__" in found:
        raise ValueError(
            f"{', '.join(sorted(found['__main__']))}: expected classes that can be imported, received some of the "
            f"script itself. On the {keras.config.backend()} backend a fresh TensorFlow process exports the model, and "
            "it cannot import a script. Put the class in a module of its own, decorated with "
            "@keras.saving.register_keras_serializable(package=...), and import it from there; or export on "
            "KERAS_BACKEND=tensorflow."
        )
    known = {"builtins", "keras", "numpy"}
    loaded = {n: sys.modules[n] for n in found if n in sys.modules and n.split(".")[0] not in known}
    return {n: getattr(m, "__file__", None) or "" for n, m in loaded.items()}


def _result(child):
    """The path that the fresh process wrote, or the exception that stopped it."""
    try:
        result = json.loads(child.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        raise RuntimeError(
            f"The process that exports on TensorFlow ended with status {child.returncode} and no result. "
            f"Its last words:\n{child.stderr[-2000:]}"
        ) from None
    if "path" in result:
        return pathlib.Path(result["path"])
    kind = getattr(builtins, result["error"], None)
    if kind in (TypeError, ValueError, NotImplementedError):
        raise kind(result["message"])
    if isinstance(kind, type) and issubclass(kind, OSError):
        raise kind(*([result["errno"]] if result["errno"] else []), result["message"])
    raise RuntimeError(
        f"The process that exports on TensorFlow failed. {result['error']}: {result['message']}\n{child.stderr[-2000:]}"
    )


def import_module(name, file):
    """Imports a module by its name, or from ``file`` where that name is not on the path."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        if not file:
            raise
    spec = importlib.util.spec_from_file_location(name, file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
