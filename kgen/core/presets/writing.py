"""How a preset is written: to a folder of its own, or into the folder of a run."""

import json
import os
import pathlib

import keras

import kgen
from kgen.core.presets import allowlist, card, tensors
from kgen.core.presets.folder import CARD, CONFIG, FORMAT, METADATA, NAMES, WEIGHTS, sha256
from kgen.core.saving import aside


def write(model, folder, *, data=None, license=None, figures=None, dtype=None, averaged=False, description=None):
    """What ``model.save_to_preset`` does; see there.

    Args:
        model, folder, data, license, figures: as there.
        dtype: None, or "float16": kernels and other tensors of two and more dimensions, where their values are within its range, are
            stored in half precision, with a relative error of 2^-11; they are read into variables of the model's own dtype. Vectors and
            numbers, such as variances and counts, stay as they are.
        averaged: of a network whose average the model keeps, store the average's weights alone: the model that is read has them in
            both places. It samples as this one does; training it on starts from the average.
        description: the text of the card, ``README.md``; by default what the other arguments say.
    """
    folder = pathlib.Path(folder)
    if folder.exists():
        raise FileExistsError(f"{folder} exists, and nothing is overwritten: name another folder, or remove it first.")
    given = {"data": data, "license": license, "figures": _plain(figures)}
    _check(dtype, **given)
    averaged = averaged and bool(tensors.averaged(model))
    config = json.dumps(_without_training(keras.saving.serialize_keras_object(model)), indent=2).encode()
    allowlist.check(
        allowlist.parse(config, "config"), f"{folder}: what {type(model).__name__} is made of cannot be a preset"
    )
    metadata = {
        "format": FORMAT,
        "class": f"{type(model).__module__}.{type(model).__name__}",
        "versions": {"kgen": kgen.__version__, "keras": keras.__version__},
        "backend": keras.config.backend(),
        **given,
        "weights": "averaged" if averaged else "all",
    }
    with aside(folder) as temporary:
        temporary.mkdir()
        (temporary / CONFIG).write_bytes(config)
        tensors.write(model, temporary / WEIGHTS, dtype, averaged)
        text = card.text(folder.name, model, metadata) if description is None else card.described(description, metadata)
        (temporary / CARD).write_text(text, encoding="utf-8")
        _seal(temporary, metadata)


def place(model, folder, **options):
    """Writes a preset's files into a folder that exists, such as a run's, in the place of those that are there.

    Args:
        model, **options: as in ``write``.
        folder: the folder.
    """
    folder = pathlib.Path(folder)
    beside = folder / f".preset.{os.getpid()}"
    try:
        write(model, beside, **{"description": f"# {folder.resolve().name}", **options})
        for (
            name
        ) in NAMES:  # metadata.json last: until then the others are not what the old one says, and no reader takes them
            if name != METADATA:
                os.replace(beside / name, folder / name)
        os.replace(beside / METADATA, folder / METADATA)
    finally:
        for left in beside.glob("*"):
            left.unlink()
        if beside.exists():
            beside.rmdir()


def describe(folder, description, figures=None):
    """Gives a preset another card, and figures if there are any.

    Args:
        folder: the preset's, which is trusted: one's own.
        description: the card's text.
        figures: as in ``write``; None leaves them as they are.
    """
    folder = pathlib.Path(folder)
    metadata = json.loads((folder / METADATA).read_text(encoding="utf-8"))
    if figures is not None:
        metadata["figures"] = _plain(figures)
    with aside(folder / CARD) as temporary:
        temporary.write_text(card.described(description, metadata), encoding="utf-8")
    _seal(folder, metadata)


def _seal(folder, metadata):
    metadata = {**metadata, "files": {n: sha256(folder / n) for n in NAMES if n != METADATA}}
    with aside(folder / METADATA) as temporary:
        temporary.write_text(json.dumps(metadata, indent=2) + "\n", encoding="utf-8")


def _plain(figures):
    """Figures as JSON has them: NumPy's numbers too; a reader refuses what JSON has no word for."""
    if not isinstance(figures, (dict, type(None))):
        raise TypeError(f"figures: expected a dict from a figure's name to its value, received {figures!r}.")
    try:
        return json.loads(json.dumps(figures or {}, default=lambda v: v.item(), allow_nan=False))
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"figures: expected finite numbers and texts: {error}.") from None


def _check(dtype, data, license, figures):
    for name, value in (("data", data), ("license", license)):
        if not isinstance(value, (str, type(None))):
            raise TypeError(f"{name}: expected a text or None, received {value!r}.")
    if dtype not in (None, "float16"):
        raise ValueError(f"dtype: expected None (as the model has them) or 'float16', received {dtype!r}.")


def _without_training(config):
    """A configuration without optimizers: what a preset is compiled with is for whoever trains it on."""
    if isinstance(config, dict):
        return {k: _without_training(v) for k, v in config.items() if k != "compile_config"}
    return [_without_training(v) for v in config] if isinstance(config, (list, tuple)) else config
