"""Recipes run from the command line on a person's own small data, and leave everything they promise."""

import ast
import json
import pathlib

import keras
import numpy as np
import pytest
from click.testing import CliRunner

import kgen
from kgen.tools import cli

BUNDLE = {"1", "SERVING.md", "docker-compose.yml", "models.config", "monitoring.config"}
PRESET = {"README.md", "config.json", "metadata.json", "model.safetensors"}
FOLDER = pathlib.Path(__file__).parents[2] / "recipes"

# A recipe holds no code of a backend; the models it uses are tested on each.
only_tensorflow = pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="recipes are run on one backend")


@pytest.fixture(scope="module")
def digits_file(tmp_path_factory):
    x, y = kgen.data.load("digits")
    file = tmp_path_factory.mktemp("data") / "few.npz"
    np.savez(file, x=x[:80], y=y[:80])  # 64 to train on, as many as there are samples in the picture: one compilation
    return file


def train(recipe, file, out):
    arguments = [
        "train",
        recipe,
        "--data",
        file,
        "--epochs",
        "1",
        "--batch-size",
        "40",
        "--seed",
        "3",
        "--out",
        out,
        "--debug",
    ]
    return CliRunner().invoke(cli.main, [str(a) for a in arguments], catch_exceptions=False)


@only_tensorflow
def test_vae_recipe_run_twice_overwrites_nothing(digits_file, tmp_path):
    out = tmp_path / "run"
    result = train("vae_digits", digits_file, out)
    assert result.exit_code == 0 and f"Done: {out}" in result.output
    pictures = {"interpolations.png", "samples.png", "standard_normal.png", "training.png", "traversals.png"}
    assert {p.name for p in out.iterdir()} == {*BUNDLE, "metrics.json", "facts.json", "model.keras", *PRESET, *pictures}
    metrics = json.loads((out / "metrics.json").read_text())
    assert (
        metrics["settings"]["seed"] == 3
        and metrics["settings"]["epochs"] == 1
        and not metrics["settings"]["interrupted"]
    )
    assert metrics["versions"]["keras"] == keras.__version__ and metrics["hardware"]["cores"] >= 1
    assert metrics["figures"]["bits_per_dim"]["value"] > 0
    assert "bits per dim" in (out / "README.md").read_text()
    first = (out / "model.keras").read_bytes()
    kgen.Run(out).save_model(
        kgen.load(out)
    )  # what the recipe's next run begins with; its export, 2, is of tests/serving
    assert (out / "archive" / "1" / "model.keras").read_bytes() == first
    assert {"1", "archive", "model.keras"} <= {p.name for p in out.iterdir()}
    assert kgen.load(out).sample(2, seed=0).shape == (2, 8, 8, 1)


@only_tensorflow
def test_ddpm_recipe_on_labelled_data(digits_file, tmp_path, monkeypatch):
    unet = kgen.networks.UNet  # the smallest, whose graphs take a third of the time

    def small(shape, num_classes, **kwargs):
        return unet(shape, channels=(8,), blocks=1, attention=(False,), groups=4, num_classes=num_classes)

    monkeypatch.setattr(kgen.networks, "UNet", small)
    out = tmp_path / "run"
    train("ddpm_digits", digits_file, out)
    pictures = {"denoising.png", "samples.png", "training.png"}
    assert {p.name for p in out.iterdir()} == {*BUNDLE, "metrics.json", "facts.json", "model.keras", *PRESET, *pictures}
    assert kgen.load(out).num_classes == 10


@pytest.mark.parametrize("file", sorted(p for p in FOLDER.glob("*.py") if p.stem != "__init__"), ids=lambda p: p.stem)
def test_recipes_are_named_described_and_use_public_names(file):
    tree = ast.parse(file.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    main = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "main")
    names = [a.arg for a in main.args.args]
    assert names[:5] == ["data", "epochs", "batch_size", "seed", "out"]
    assert ast.literal_eval(main.args.defaults[4]) == f"saved_models/{file.stem}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            assert not node.attr.startswith("_"), f"{file.stem} uses the private name {node.attr}"
        if isinstance(node, ast.ImportFrom):
            assert node.module.split(".")[0] != "kgen", "a recipe writes kgen.<room>.<name> in full"
