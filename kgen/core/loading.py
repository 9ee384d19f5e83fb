"""Finding a model by a path, a name or an address, and opening it."""

import difflib
import json
import pathlib
import zipfile
import zlib

import keras

import kgen
from kgen.core import presets
from kgen.core.presets.allowlist import import_kgen
from kgen.core.saving import check_version

# Where trained models are, in a clone of kgen's repository; an installed wheel has none.
SHIPPED = pathlib.Path(kgen.__file__).parent.parent / "saved_models"


def shipped():
    """Dict from the name of each recipe's run that comes with kgen, or was trained in its clone, to the folder."""
    runs = sorted({p.parent for name in ("metadata.json", "model.keras") for p in SHIPPED.glob(f"*/{name}")})
    # The classifiers are what metrics use, and do not sample.
    return {p.name: p for p in runs if not p.name.startswith("classifier_")}


def locate(path):
    """The file or folder that ``path`` names; where there is none, the shipped run of that name.

    Raises:
        FileNotFoundError: there is neither; the message has the nearest names.
    """
    path, names = pathlib.Path(path), shipped()
    if path.exists():
        return path
    if str(path) in names:
        return names[str(path)]
    near = difflib.get_close_matches(str(path), names, n=3)
    hint = f"Did you mean {' or '.join(near)}?" if near else f"Presets: {', '.join(names)}."
    if not names:
        hint = (
            "None came with this installation: trained models are in the folder saved_models/ of kgen's repository (clone it and install "
            f"the clone by pip install -e ., or name a folder in it), or train one: kgen train {path.name}."
        )
    raise FileNotFoundError(f"{path} does not exist, and no preset that comes with kgen has that name. {hint}")


def from_preset(name, of=None):
    """Loads a model that somebody gave away. What is loaded is data: it is checked before anything is made from it.

    Args:
        name: one that comes with kgen, such as "ddpm_digits" (``kgen presets`` lists them); a folder that ``save_to_preset`` wrote; or
            an address: "hf://user/repo@revision", "kaggle://user/model/framework/variation/version", or
            "https://.../preset.zip#sha256=..." of a zip archive of such a folder.
        of: the class that the model must be of; any of kgen's if None.
    Returns:
        the model, ready to sample; ``compile`` it to train it on.
    Raises:
        FileNotFoundError: there is no such name or folder.
        ValueError: the preset is damaged, of another class or kgen version, or holds what a preset may not.
        ImportError: the library that downloads from this address is not installed.
        NotImplementedError: the backend lacks what the model needs, as torch does for flows.
    """
    of = kgen.GenerativeModel if of is None else of
    if presets.is_address(name):
        return presets.read(presets.fetch(str(name)), of, name)
    path = locate(name)
    if path != shipped().get(str(name)) or presets.is_preset(path):
        if path.is_dir() and not presets.is_preset(path):
            raise ValueError(
                f"name: {path} is no preset's folder (metadata.json is not there). kgen.load opens a run's folder."
            )
        return presets.read(path, of, name)
    model = load(path)
    if not isinstance(model, of):
        raise ValueError(f"{name}: expected a preset of {of.__name__}, received one of {type(model).__name__}.")
    return model


def load(path):
    """Opens a model that kgen wrote.

    Args:
        path: a ``.keras`` file, the folder of a run, or what ``kgen.from_preset`` takes: a preset's folder, address or name, such as
            "ddpm_digits". A run's folder is a preset's: the preset in it is read, and its ``model.keras`` where there is none.
    Returns:
        the model. From a ``.keras`` file it is compiled as it was saved: ``fit`` goes on where it stopped.
    Raises:
        FileNotFoundError: there is no such file or name.
        ValueError: the file is not a whole ``.keras`` file, or another kgen version wrote it.
    """
    if presets.is_address(path):
        return from_preset(path)
    path = locate(path)
    if path.is_dir() and presets.is_preset(path):
        return from_preset(path)
    file = path / "model.keras" if path.is_dir() else path
    if not file.exists():
        raise FileNotFoundError(f"{file} does not exist (a run's folder holds model.keras, a preset's metadata.json).")
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
        if isinstance(module, str):
            import_kgen(module)
        config = list(config.values())
    if isinstance(config, list):
        for value in config:
            _import_rooms(value)
