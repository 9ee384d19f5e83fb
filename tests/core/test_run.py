import errno
import json
import os
import pathlib

import keras
import numpy as np
import pytest
from core.one_loss import Location
from PIL import Image

import kgen
from kgen.core import Run, pictures

FIGURES = {
    "frechet_distance": {"value": np.float32(1.25), "unit": "squared distance", "floor": 0.5, "samples": 1000},
    "nats": {"value": -3.0, "unit": "nats per example"},
}


def leave_a_run(out, value=1.25):
    run = Run(out)
    run.save_model(Location(2))
    run.save_samples(np.linspace(-1.0, 1.0, 4 * 8 * 8).reshape(4, 8, 8, 1))
    run.save_metrics({**FIGURES, "value": {"value": value, "unit": ""}}, seed=0, epochs=2)
    run.write_card("A mean.")
    return run


def test_a_run_leaves_what_it_says(tmp_path):
    out = tmp_path / "mean_toys"
    leave_a_run(out)
    assert sorted(os.listdir(out)) == ["metrics.json", "model.keras", "model_card.md", "samples.png"]
    assert kgen.load(out).dim == 2
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["recipe"] == "mean_toys"
    assert metrics["figures"]["frechet_distance"] == {**FIGURES["frechet_distance"], "value": 1.25}
    assert metrics["settings"] == {"seed": 0, "epochs": 2}
    assert set(metrics["versions"]) == {"kgen", "keras", "python", keras.config.backend()}
    assert metrics["versions"]["kgen"] == kgen.__version__
    assert metrics["hardware"]["cores"] == os.cpu_count() and metrics["hardware"]["cpu"]
    card = (out / "model_card.md").read_text()
    assert "# mean_toys" in card and "A mean." in card and f"keras {keras.__version__}" in card
    assert "| frechet distance | 1.25 | 0.5 | squared distance | 1000 |" in card
    assert "| nats | -3 |  | nats per example |  |" in card


def test_pictures_and_text_beside_the_samples(tmp_path):
    points = np.random.default_rng(0).normal(size=(500, 2))
    for _ in range(2):
        run = Run(tmp_path)
        run.save_picture("reconstructions", np.zeros((6, 8, 8, 3)), columns=3)
        run.save_density("samples", {"data": points, "model": lambda x: -np.square(x).sum(axis=1)})
        run.save_text("samples", "one\ntwo")
    names = ["reconstructions.png", "samples.png", "samples.txt"]
    assert (
        sorted(os.listdir(tmp_path)) == ["archive", *names] and sorted(os.listdir(tmp_path / "archive" / "1")) == names
    )
    assert (tmp_path / "samples.txt").read_text() == "one\ntwo"
    with Image.open(tmp_path / "reconstructions.png") as picture:
        assert picture.size == (3 * 33 - 1, 2 * 33 - 1)


def test_a_density_is_drawn_where_it_is_dense(tmp_path):
    far = {"density": lambda x: np.where((x[:, 0] > 0) & (x[:, 1] > 0), 0.0, -np.inf)}  # the upper right quarter
    pictures.save_density(far, tmp_path / "d.png", extent=(-1, 1, -1, 1))
    with Image.open(tmp_path / "d.png") as picture:
        pixels = np.asarray(picture.convert("RGB"), "float32")
    bright = np.argwhere((pixels[..., 0] > 200) & (pixels[..., 2] < 100))  # viridis's yellow
    height, width = pixels.shape[:2]
    assert len(bright) > 0.1 * height * width and bright[:, 0].max() < 0.6 * height and bright[:, 1].min() > 0.4 * width


def test_densities_say_what_they_need(tmp_path):
    with pytest.raises(ValueError, match="extent: expected .*no panel has points"):
        pictures.save_density({"density": lambda x: x[:, 0]}, tmp_path / "d.png")
    with pytest.raises(
        ValueError, match=r"panels\['data'\]: expected points \(N, 2\) or a function, received shape \(3, 3\)"
    ):
        pictures.save_density({"data": np.zeros((3, 3))}, tmp_path / "d.png")
    assert os.listdir(tmp_path) == []


def test_an_earlier_run_is_kept_whole(tmp_path):
    for value in (1.0, 2.0, 3.0):
        leave_a_run(tmp_path, value)
    (tmp_path / "mine.txt").write_text("not a file of a run")
    assert json.loads((tmp_path / "metrics.json").read_text())["figures"]["value"]["value"] == 3.0
    for n, value in (("1", 1.0), ("2", 2.0)):
        archived = tmp_path / "archive" / n
        assert sorted(os.listdir(archived)) == ["metrics.json", "model.keras", "model_card.md", "samples.png"]
        assert json.loads((archived / "metrics.json").read_text())["figures"]["value"]["value"] == value
        assert kgen.load(archived).dim == 2
    Run(tmp_path)  # alone, it moves nothing
    assert (tmp_path / "metrics.json").exists() and (tmp_path / "mine.txt").exists()


def test_the_archive_bears_the_number_of_the_exports_that_belong_to_it(tmp_path):
    leave_a_run(tmp_path)
    for version in ("1", "2", "3"):
        (tmp_path / version).mkdir()
    leave_a_run(tmp_path)
    assert os.listdir(tmp_path / "archive") == ["3"]


def test_files_that_are_written_twice_by_one_run_replace_each_other(tmp_path):
    run = leave_a_run(tmp_path)
    run.save_metrics({}, seed=1)
    assert json.loads((tmp_path / "metrics.json").read_text())["settings"] == {"seed": 1}
    assert not (tmp_path / "archive").exists()


def test_a_full_disk_leaves_no_half_written_file(tmp_path, monkeypatch):
    run = leave_a_run(tmp_path)
    old = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}

    def full(self, text, **options):
        with open(self, "w") as f:
            f.write(text[: len(text) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pathlib.Path, "write_text", full)
    for write in (lambda: run.save_metrics({}), lambda: run.write_card("New.")):
        with pytest.raises(
            OSError, match=r"could not be written \(No space left on device\); nothing was changed there"
        ):
            write()
    model = Location(2)

    def fails(store):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(model, "save_own_variables", fails)
    with pytest.raises(OSError, match=r"[^.]model.keras could not be written \(No space left on device\)") as e:
        run.save_model(model)
    assert e.value.errno == errno.ENOSPC
    assert {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)} == old


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(NotADirectoryError, match="out: expected a folder, .*out is a file"):
        Run(tmp_path / "out")


def test_curves_of_training(tmp_path):
    history = {
        "loss": [3.0, 2.0, 1.5],
        "val_loss": [3.1, 2.5, 2.4],
        "kl_loss": [0.1, 0.2, 0.3],
        "faults": [{"epoch": 1}],
    }
    pictures.save_curves(history, tmp_path / "c.png")
    two = Image.open(tmp_path / "c.png").size
    pictures.save_curves({"loss": [1.0, 0.5]}, tmp_path / "c.png")
    one = Image.open(tmp_path / "c.png").size
    assert two == (2 * one[0], one[1])  # a panel for the loss and its validation, one for the KL
    with pytest.raises(ValueError, match="history: expected lists of numbers by name, received .'faults'."):
        pictures.save_curves({"faults": [{}]}, tmp_path / "d.png")
    assert not (tmp_path / "d.png").exists()
