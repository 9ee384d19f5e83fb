"""What a hub's Space runs: an app, its requirements, kgen itself, the presets and a card."""

import importlib.metadata
import pathlib
import shutil
import sys

import keras

import kgen
from kgen.core import facts, presets
from kgen.core.saving import aside
from kgen.tools.demo import prepare

APP = '''"""A page of kgen: pip install -r requirements.txt, then python app.py."""

import os
import pathlib

os.environ.setdefault("KERAS_BACKEND", "{backend}")
from kgen.tools import demo

here = pathlib.Path(__file__).parent
page = demo.page(*[here / "presets" / name for name in {names}])
page.launch(server_name=os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"))  # the hub names one, behind its own TLS
'''
# What the page imports. kgen lies beside the app, for the package index has another project of its name.
NEEDED = (
    "keras",
    "numpy",
    "scipy",
    "scikit-learn",
    "pillow",
    "matplotlib",
    "click",
    "safetensors",
    "tokenizers",
    "gradio",
)
CARD = """---
title: {title}
sdk: gradio
sdk_version: {gradio}
python_version: "{python}"
app_file: app.py
---

# {title}

A page to play with {what}, made by `kgen demo --space`. What each model is, its card in `presets/` says.
"""


def requirements():
    """What pip installs for the app: what it runs on here, with the backend that it runs on."""
    versions = {name: importlib.metadata.version(name) for name in (*NEEDED, keras.config.backend())}
    return "".join(
        f"{name}=={version.partition('+')[0]}\n" for name, version in versions.items()
    )  # no index has a build's own +cpu


def write(paths, folder):
    """Writes the folder of a Space, whole or not at all.

    Args:
        paths: what ``kgen.load`` takes.
        folder: where; it must not exist.
    Returns:
        the folder.
    Raises:
        FileExistsError: the folder exists.
        ValueError: two models have one name, or one cannot be a preset.
    """
    prepare()
    import gradio

    from kgen.tools.demo import subject

    folder = pathlib.Path(folder)
    if folder.exists():
        raise FileExistsError(f"--space: {folder} exists. Name another folder, or remove it first.")
    subjects = [subject.of(path) for path in paths]
    names = [s.name for s in subjects]
    if len(set(names)) < len(names):
        raise ValueError(f"--space: expected models of different names, received {', '.join(names)}.")
    with aside(folder) as target:
        for s in subjects:
            into = target / "presets" / s.name
            if not presets.is_address(s.source) and presets.is_preset(path := kgen.core.loading.locate(s.source)):
                into.mkdir(parents=True)
                for name in presets.NAMES:
                    shutil.copyfile(path / name, into / name)
            else:
                s.model.save_to_preset(into)
            if s.facts:
                facts.write(into, s.facts)
        title = ", ".join(names)
        (target / "app.py").write_text(APP.format(backend=keras.config.backend(), names=names), encoding="utf-8")
        (target / "requirements.txt").write_text(requirements(), encoding="utf-8")
        own = pathlib.Path(kgen.__file__).parent
        shutil.copytree(own, target / "kgen", ignore=shutil.ignore_patterns("__pycache__"))
        card = CARD.format(
            title=title,
            gradio=gradio.__version__,
            python="{}.{}".format(*sys.version_info),
            what="models of kgen" if len(names) > 1 else "a model of kgen",
        )
        (target / "README.md").write_text(card, encoding="utf-8")
    return folder
