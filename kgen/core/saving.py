"""Files that are whole or not there, and that load on every backend."""

import contextlib
import os
import pathlib
import secrets
import shutil

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
        for file in [temporary] if temporary.is_file() else filter(pathlib.Path.is_file, temporary.rglob("*")):
            with open(file, "rb") as f:
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


READ = ("0.1", "0.2")  # whose files are read: this version's, and those whose configurations it still understands


def check_version(version):
    """Raises ValueError if a file was written by a kgen whose files this one does not read: a major and minor version not in ``READ``."""
    if version is not None and ".".join(version.split(".")[:2]) not in READ:
        raise ValueError(
            f"This file was written by kgen {version}; this is kgen {kgen.__version__}, which reads the files of {' and '.join(READ)}. "
            f"Install the version that reads it (kgen=={version}), or train the model again."
        )


def in_todays_words(config):
    """The configuration of a model with its arguments' names of today: what 0.1 called ``image_shape`` is every family's ``shape``."""
    if isinstance(config, dict):
        return {"shape" if k == "image_shape" else k: in_todays_words(v) for k, v in config.items()}
    return [in_todays_words(v) for v in config] if isinstance(config, list) else config
