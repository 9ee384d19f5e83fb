"""A preset's folder: what is in it, and how it is read without trusting it. ``writing`` writes it."""

import hashlib
import pathlib
import re
import stat

import keras

import kgen
from kgen.core.presets import allowlist, building, tensors
from kgen.core.saving import check_version

CONFIG, WEIGHTS, METADATA, CARD = NAMES = ("config.json", "model.safetensors", "metadata.json", "README.md")
LARGEST = {CONFIG: 2**23, WEIGHTS: 2**34, METADATA: 2**20, CARD: 2**20}  # bytes
FORMAT = 2
# What a training run leaves beside its preset. None of it is opened here.
BESIDE = re.compile(
    r"model\.keras|metrics\.json|facts\.json|model_card\.md|[A-Za-z0-9][A-Za-z0-9_-]*\.(png|txt|wav)|[1-9][0-9]*|archive|checkpoints"
    r"|SERVING\.md|docker-compose\.yml|models\.config|monitoring\.config"
)
# What metadata.json holds. Whoever writes by hand a folder that another kgen is to read writes these.
SCHEMA = {
    "format": int,
    "class": str,
    "versions": dict,
    "backend": str,
    "data": (str, type(None)),
    "license": (str, type(None)),
    "figures": dict,
    "weights": str,
    "files": dict,
}
# "weights" says which are in the file: all of the model's, or, of a network whose average the model keeps, the average's alone, which both
# are given. Format 1, kgen 0.1's, had "all" and did not say so.
WEIGHTS_KEPT = ("all", "averaged")


def is_preset(path):
    """Whether a folder says that it is a preset."""
    return (pathlib.Path(path) / METADATA).exists()


def read(source, of, where):
    """Makes the model that a preset describes.

    Everything is checked in this order: the files' names, kinds and sizes; the SHA-256 of each; the configuration, against the list
    of what it may name; each weight's shape, against the header of the file, before it is allocated. Then the weights are read.

    Args:
        source: a folder, or a dict from each of ``NAMES`` to a file, as ``remote.fetch`` gives.
        of: the class that the model must be of.
        where: what the preset was called, for the errors.
    Returns:
        the model, not compiled.
    Raises:
        ValueError: something is not as a preset is; the message says what.
        NotImplementedError: the backend lacks what the model needs.
    """
    files = source if isinstance(source, dict) else _files(pathlib.Path(source))
    for name, path in files.items():
        if path.stat().st_size > LARGEST[name]:
            raise ValueError(f"{where}/{name}: expected at most {LARGEST[name]} bytes, received {path.stat().st_size}.")
    metadata = _metadata(files[METADATA].read_bytes(), f"{where}/{METADATA}")
    config = files[CONFIG].read_bytes()  # once, so that what is parsed is what was checked
    for name, expected in metadata["files"].items():
        received = hashlib.sha256(config).hexdigest() if name == CONFIG else sha256(files[name])
        if received != expected:
            raise ValueError(
                f"{where}/{name}: expected SHA-256 {expected}, received {received}: the file was changed or damaged. "
                "Get the preset again."
            )
    config = allowlist.parse(config, f"{where}/{CONFIG}")
    found = allowlist.check(config, f"{where}/{CONFIG}")
    if found is None or not issubclass(found, of):
        raise ValueError(
            f"{where}: expected a preset of {of.__name__}, received one of {config['class_name']}. "
            "kgen.from_preset loads any of kgen's models."
        )
    header = tensors.header(files[WEIGHTS], f"{where}/{WEIGHTS}")
    averaged = metadata["weights"] == "averaged"
    model = _build(config, header, f"{where}/{CONFIG}", averaged)
    tensors.read(model, files[WEIGHTS], f"{where}/{WEIGHTS}", averaged)
    return model


def _files(folder):
    """The files of a folder by name: all of a preset's, plain files; beside them there may be what a run leaves, and nothing else."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: expected a preset's folder.")
    found = {p.name: p for p in folder.iterdir() if p.name in NAMES or not BESIDE.fullmatch(p.name)}
    unknown, missing = sorted(set(found) - set(NAMES)), [n for n in NAMES if n not in found]
    if unknown or missing:
        what = f"received {unknown[0][:80]!r} too" if unknown else f"{missing[0]} is not there"
        raise ValueError(f"{folder}: expected a preset's files alone ({', '.join(NAMES)}), {what}.")
    for name, path in found.items():
        if not stat.S_ISREG(path.lstat().st_mode):
            raise ValueError(f"{folder}/{name}: expected a plain file, received a link, a folder or a device.")
    return found


def _metadata(text, where):
    metadata = allowlist.parse(text, where)
    versions = metadata.get("versions")
    if isinstance(versions, dict) and isinstance(versions.get("kgen"), str):
        check_version(versions["kgen"])  # first: another version may have other fields
    if metadata.get("format") == 1:
        metadata = {**metadata, "format": FORMAT, "weights": "all"}
    for key, kind in SCHEMA.items():
        if key not in metadata or not isinstance(metadata[key], kind):
            raise ValueError(
                f"{where}: {key}: expected as kgen {kgen.__version__} writes it, received {metadata.get(key)!r:.80}."
            )
    plain = set(versions) == {"kgen", "keras"} and all(isinstance(v, str) for v in versions.values())
    if metadata["format"] != FORMAT or set(metadata) != set(SCHEMA) or not plain:
        raise ValueError(
            f"{where}: expected format {FORMAT} with {', '.join(SCHEMA)}, received {sorted(metadata)!r:.200}."
        )
    if metadata["weights"] not in WEIGHTS_KEPT:
        raise ValueError(
            f"{where}: weights: expected one of {', '.join(WEIGHTS_KEPT)}, received {metadata['weights']!r:.80}."
        )
    files = metadata["files"]
    if set(files) != set(NAMES) - {METADATA} or not all(isinstance(v, str) for v in files.values()):
        raise ValueError(f"{where}: files: expected the SHA-256 of each other file, received {files!r:.200}.")
    return metadata


def _build(config, header, where, averaged):
    try:
        with building.only_what_is_in(header, times=2 if averaged else 1):
            return keras.saving.deserialize_keras_object(config, safe_mode=True)
    except (KeyboardInterrupt, SystemExit):
        raise
    # Whatever fails in here fails on values that a stranger chose, and a panic of Rust's (of the tokenizers) is no Exception.
    except BaseException as error:
        if isinstance(error, NotImplementedError):  # a flow on torch: not the preset's fault
            raise
        while "could not be deserialized properly" in str(error) and error.__context__:
            error = error.__context__  # Keras's wrapper, which shows the whole configuration
        reason = " ".join(str(error).split())[:500] or type(error).__name__
        raise ValueError(f"{where}: the model could not be made: {reason}") from error


def sha256(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
