"""Files that are whole or not there, and that load on every backend."""

import contextlib
import difflib
import importlib
import json
import os
import pathlib
import secrets
import shutil
import zipfile
import zlib

import keras

import kgen


@contextlib.contextmanager
def aside(path):
    """Yields a path beside ``path`` to write to, and renames it to ``path`` at the end: a file or a folder appears whole or not at all.

    Raises:
        OSError: the disk is full or not writable; what was written aside is removed.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays: Keras and Pillow choose their format by it.
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}{path.suffix}")
    try:
        yield temporary
        if temporary.is_file():
            with open(temporary, "rb") as f:
                os.fsync(f.fileno())
        os.replace(temporary, path)
    except OSError as error:
        reason = getattr(error, "reason", None) or error.strerror or str(error)
        failure = OSError(error.errno, f"{path} could not be written ({reason}); nothing was changed there")
        failure.reason = reason  # for a call of this function around this one
        raise failure from error
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def save_model(model, filepath, save, overwrite=True, zipped=None, **kwargs):
    """Writes ``filepath`` through ``save``, Keras's own ``model.save``, aside and then renamed."""
    filepath = pathlib.Path(filepath)
    if filepath.suffix != ".keras" or zipped is False:
        raise ValueError(f"filepath: expected a path that ends in '.keras', received {str(filepath)!r}.")
    if filepath.exists() and not overwrite:
        raise FileExistsError(f"{filepath} exists; pass overwrite=True to replace it.")
    with aside(filepath) as temporary:
        save(temporary, **kwargs)


def portable_compile_config(config):
    """A compile configuration that every backend can read: Keras on torch names optimizers by classes that only torch has."""
    if isinstance(config, dict):
        config = {k: portable_compile_config(v) for k, v in config.items()}
        if "backend.torch.optimizers" in str(config.get("module", "")):
            config["module"] = "keras.optimizers"
            config["registered_name"] = None
        return config
    if isinstance(config, (list, tuple)):
        return [portable_compile_config(v) for v in config]
    return config


def deserialize(value):
    """An object from its Keras configuration; plain values as they are."""
    return keras.saving.deserialize_keras_object(value) if isinstance(value, dict) and "class_name" in value else value


def check_version(version):
    """Raises ValueError if a file was written by a kgen whose files this one does not read: another major or minor version."""
    if version is not None and version.split(".")[:2] != kgen.__version__.split(".")[:2]:
        raise ValueError(
            f"This file was written by kgen {version}; this is kgen {kgen.__version__}, which does not read its files. "
            f"Install the version that does (kgen=={version}), or train the model again."
        )


def pretrained():
    """Dict from the name of each recipe's run that comes with kgen to its folder."""
    base = pathlib.Path(kgen.__file__).parent.parent / "saved_models"
    return {p.parent.name: p.parent for p in sorted(base.glob("*/model.keras"))}


def locate(path):
    """The file or folder that ``path`` names; where there is none, the pretrained run of that name.

    Raises:
        FileNotFoundError: there is neither; the message has the nearest names.
    """
    path, names = pathlib.Path(path), pretrained()
    if path.exists():
        return path
    if str(path) in names:
        return names[str(path)]
    near = difflib.get_close_matches(str(path), names, n=3)
    hint = f"Did you mean {' or '.join(near)}?" if near else f"Pretrained: {', '.join(names) or 'none here'}."
    raise FileNotFoundError(f"{path} does not exist, and no pretrained model has that name. {hint}")


def load(path):
    """Opens a model that kgen wrote.

    Args:
        path: a ``.keras`` file, the folder of a run, which holds ``model.keras``, or the name of a pretrained recipe, such as
            "ddpm_digits" (``kgen pretrained`` lists them).
    Returns:
        the model, compiled as it was saved: ``fit`` goes on where it stopped.
    Raises:
        FileNotFoundError: there is no such file or name.
        ValueError: the file is not a whole ``.keras`` file, or another kgen version wrote it.
    """
    path = locate(path)
    file = path / "model.keras" if path.is_dir() else path
    if not file.exists():
        raise FileNotFoundError(f"{file} does not exist (a run's folder holds model.keras).")
    damaged = f"{file} is not a .keras file, or it is damaged"
    if not zipfile.is_zipfile(file):
        raise ValueError(f"{damaged}: expected a zip archive.")
    try:
        with zipfile.ZipFile(file) as archive:
            config = json.loads(archive.read("config.json"))
        check_version(config["config"].get("kgen_version"))
        _import_rooms(config)
        return keras.saving.load_model(file)
    except (zipfile.BadZipFile, zlib.error, KeyError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{damaged}: {error}.") from error


def _import_rooms(config):
    """Imports the kgen modules that a configuration names: Keras finds a registered class only once its module is loaded."""
    if isinstance(config, dict):
        module = config.get("module")
        if isinstance(module, str) and module.startswith("kgen."):
            importlib.import_module(module)
        config = list(config.values())
    if isinstance(config, list):
        for value in config:
            _import_rooms(value)
