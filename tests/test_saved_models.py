"""What git keeps of trained models: for each a preset of at most 8 MB with its card, figures, pictures and texts; what is committed is tested,
not what training has left in the folder."""

import hashlib
import json
import pathlib
import subprocess

import pytest

import kgen
from kgen.core.presets import NAMES

ROOT = pathlib.Path(__file__).parents[1]
MEGABYTES = 10**6


@pytest.fixture(scope="module")
def committed():
    """Dict from each folder of saved_models that holds a preset to a dict from a file in it to its size."""
    command = ["git", "ls-tree", "-r", "-l", "HEAD", "saved_models"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("no git checkout")
    found = {}
    for line in done.stdout.splitlines():
        (*_, size), path = line.split("\t")[0].split(), line.split("\t")[1]
        if path.count("/") > 1:
            _, folder, file = path.split("/", maxsplit=2)
            found.setdefault(folder, {})[file] = int(size)
    return {folder: files for folder, files in found.items() if "metadata.json" in files}


def content(path):
    """Bytes of a file as it was committed."""
    return subprocess.run(["git", "show", f"HEAD:{path}"], cwd=ROOT, capture_output=True, check=True).stdout


def test_a_preset_its_figures_and_pictures_and_nothing_else(committed):
    for folder, files in committed.items():
        assert {*NAMES, "metrics.json"} <= set(files), folder
        beside = set(files) - {*NAMES, "metrics.json", "facts.json"}
        assert {pathlib.Path(f).suffix for f in beside} <= {".png", ".txt", ".wav"}, f"{folder}: {beside}"
        assert not any("/" in file for file in beside), f"{folder}: {beside}"


def test_they_are_small(committed):
    for folder, files in committed.items():
        assert files["model.safetensors"] <= 8 * MEGABYTES, folder
    total = sum(sum(files.values()) for files in committed.values())
    assert total / len(committed) <= 2 * MEGABYTES  # fifty of them are a hundred


def test_they_are_as_their_metadata_says(committed):
    for folder in committed:
        for name, expected in json.loads(content(f"saved_models/{folder}/metadata.json"))["files"].items():
            received = hashlib.sha256(content(f"saved_models/{folder}/{name}")).hexdigest()
            assert received == expected, f"{folder}/{name}: kgen.load would refuse it"


# A test for each: files with many tests are begun first, and all of these together take the longest of any file.
@pytest.mark.once("a preset's weights are the same on every backend")
@pytest.mark.parametrize("folder", sorted(p.parent.name for p in (ROOT / "saved_models").glob("*/model.safetensors")))
def test_each_of_them_loads(committed, folder, tmp_path):
    if folder not in committed:
        pytest.skip("not committed")
    for name in NAMES:
        if name in committed[folder]:
            (tmp_path / name).write_bytes(content(f"saved_models/{folder}/{name}"))
    assert kgen.load(tmp_path).count_params() > 0


def test_there_are_some(committed):
    assert any((ROOT / "saved_models" / folder / "model.safetensors").exists() for folder in committed)
