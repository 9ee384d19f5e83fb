import errno
import json
import os
import pathlib

import keras
import numpy as np
import pytest
from core.one_loss import Location, OneLoss
from PIL import Image

import kgen
from kgen.core import Run, pictures, run
from kgen.core.conditions import VectorCondition

FIGURES = {
    "frechet_distance": {"value": np.float32(1.25), "unit": "squared distance", "floor": 0.5, "samples": 1000},
    "nats": {"value": -3.0, "unit": "nats per example"},
}


PRESET = ["README.md", "config.json", "metadata.json", "model.safetensors"]
LEFT = sorted([*PRESET, "metrics.json", "model.keras", "samples.png"])


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
    assert sorted(os.listdir(out)) == LEFT
    assert kgen.load(out / "model.keras").dim == kgen.load(out).dim == kgen.from_preset(out).dim == 2
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["recipe"] == "mean_toys"
    assert metrics["figures"]["frechet_distance"] == {**FIGURES["frechet_distance"], "value": 1.25}
    assert metrics["settings"] == {"seed": 0, "epochs": 2}
    assert set(metrics["versions"]) == {"kgen", "keras", "python", keras.config.backend()}
    assert metrics["versions"]["kgen"] == kgen.__version__
    assert metrics["hardware"]["cores"] == len(os.sched_getaffinity(0)) and metrics["hardware"]["cpu"]
    card = (out / "README.md").read_text()
    assert (
        card.startswith("---\nlibrary_name: keras\n")
        and "# mean_toys" in card
        and "A mean." in card
        and f"keras {keras.__version__}" in card
    )
    assert "| frechet distance | 1.25 | 0.5 | squared distance | 1000 |" in card
    assert "| nats | -3 |  | nats per example |  |" in card


def test_the_card_says_what_samples_are_conditioned_on(tmp_path):
    size = VectorCondition(2, low=0.0, unit="metres", name="size", dropout=0.1)
    model = kgen.diffusion.DDPM((2,), num_classes=["cat", "dog"], conditions=[size], ema=None)
    run = Run(tmp_path / "run")
    run.save_preset(model)
    run.write_card("A model.")
    model.save_to_preset(tmp_path / "preset")
    for folder in ("run", "preset"):
        card = (tmp_path / folder / "README.md").read_text()
        assert "\nSamples are conditioned on:\n\n- `labels` (label): class, one of cat, dog, may be left out\n" in card
        assert "- `size` (vector): 2 numbers, metres, in [0.0, inf], may be left out\n\n" in card


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


def test_names_stand_beside_their_rows(tmp_path):
    images = np.zeros((6, 8, 8, 1), "float32")
    Run(tmp_path).save_picture("rows", images, columns=3, names=["", "of a name"])
    found, bare = np.asarray(Image.open(tmp_path / "rows.png")), pictures.grid(images, 3)
    margin = found.shape[1] - bare.shape[1]
    assert margin > 40 and np.array_equal(found[:, margin:], bare)
    beside = found[:, :margin] < 128
    assert not beside[: len(beside) // 2].any() and beside[len(beside) // 2 :].any()


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
        assert sorted(os.listdir(archived)) == LEFT
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


# The preset in a run's folder.


def scrambled(model):
    for i, v in enumerate(model.weights):
        noise = np.random.default_rng(i).uniform(0.5, 1.0, size=v.shape)
        v.assign(noise.astype(v.dtype) if "float" in v.dtype else keras.ops.convert_to_numpy(v) + 1)
    return model


def test_a_runs_preset_has_the_averages_in_both_places(tmp_path):
    model = scrambled(OneLoss(ema=0.9))
    Run(tmp_path / "run").save_model(model)
    model.save_to_preset(tmp_path / "whole")
    for averaged, again in zip(model.averaged("network").weights, model.network.weights, strict=True):
        assert np.abs(keras.ops.convert_to_numpy(averaged) - keras.ops.convert_to_numpy(again)).max() > 1e-3
    loaded = kgen.load(tmp_path / "run")
    assert not loaded.compiled
    for network in (loaded.network, loaded.averaged("network")):
        for there, here in zip(network.weights, model.averaged("network").weights, strict=True):
            np.testing.assert_array_equal(keras.ops.convert_to_numpy(there), keras.ops.convert_to_numpy(here))
    np.testing.assert_array_equal(loaded.sample(3, seed=0), model.sample(3, seed=0))
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("run", "whole")]
    assert sizes[0] < 0.7 * sizes[1]
    metadata = json.loads((tmp_path / "run" / "metadata.json").read_text())
    assert metadata["weights"] == "averaged"
    loaded.compile("adam")
    assert np.isfinite(loaded.fit(np.ones((8, 4), "float32"), verbose=0).history["loss"]).all()


def test_half_precision_of_kernels_alone(tmp_path):
    model = scrambled(OneLoss(dim=4))
    model.network.layers[0].kernel.assign(np.full((4, 8), 1e5, "float32"))  # beyond float16: kept as it is
    Run(tmp_path).save_preset(model, dtype="float16")
    loaded = kgen.load(tmp_path)
    assert [v.dtype for v in loaded.weights] == [v.dtype for v in model.weights]
    worst = []
    for there, here in zip(loaded.weights, model.weights, strict=True):
        there, here = keras.ops.convert_to_numpy(there), keras.ops.convert_to_numpy(here)
        if here.ndim < 2 or here.max() > 65504:
            np.testing.assert_array_equal(there, here)
        else:
            np.testing.assert_allclose(there, here, rtol=2.0**-11)
            worst.append(np.abs(there - here).max())
    assert worst and max(worst) > 0
    with pytest.raises(ValueError, match="dtype: expected None .* or 'float16', received 'int8'"):
        Run(tmp_path / "other").save_preset(model, dtype="int8")


def test_the_card_is_sealed_with_the_preset(tmp_path):
    run = leave_a_run(tmp_path)
    assert kgen.from_preset(tmp_path).dim == 2
    run.write_card("Another text.")
    assert "Another text." in (tmp_path / "README.md").read_text() and kgen.from_preset(tmp_path).dim == 2
    (tmp_path / "README.md").write_text("changed by hand")
    with pytest.raises(ValueError, match=r"README.md: expected SHA-256"):
        kgen.from_preset(tmp_path)


def test_what_else_a_run_leaves_may_stand_beside_its_preset(tmp_path):
    leave_a_run(tmp_path).save_text("samples", "one")
    for name in ("1", "12", "archive", "checkpoints"):
        (tmp_path / name).mkdir()
    for name in ("SERVING.md", "docker-compose.yml", "models.config", "monitoring.config", "beat.wav", "training.png"):
        (tmp_path / name).write_text("")
    assert kgen.from_preset(tmp_path).dim == 2
    for name in ("payload.py", ".hidden", "model.weights.h5", "01", "a.png.exe"):
        (tmp_path / name).write_text("")
        with pytest.raises(ValueError, match=f"expected a preset's files alone .* received '{name}' too"):
            kgen.from_preset(tmp_path)
        (tmp_path / name).unlink()


def test_a_model_that_nobody_else_could_load_leaves_model_keras_alone(tmp_path):
    class Own(Location):
        """Registered nowhere."""

    with pytest.warns(RuntimeWarning, match="no preset was written: .*class_name='Own'"):
        Run(tmp_path).save_model(Own(2))
    assert os.listdir(tmp_path) == ["model.keras"]


def test_an_old_run_becomes_a_preset(tmp_path):
    model = scrambled(OneLoss(ema=0.9))
    model.compile("adam")
    model.save(tmp_path / "model.keras")
    (tmp_path / "model_card.md").write_text("# old\n\nWhat it is.\n")
    (tmp_path / "README.md").write_text("how to start a server")
    (tmp_path / "1").mkdir()
    size = run.to_preset(tmp_path, dtype="float16")
    assert size == (tmp_path / "model.safetensors").stat().st_size
    assert sorted(os.listdir(tmp_path)) == sorted(["1", "model.keras", *PRESET])
    assert "# old\n\nWhat it is." in (tmp_path / "README.md").read_text()
    np.testing.assert_allclose(kgen.load(tmp_path).sample(3, seed=0), model.sample(3, seed=0), atol=1e-2)
    run.to_preset(tmp_path)  # again, exactly; the card stays
    np.testing.assert_array_equal(kgen.load(tmp_path).sample(3, seed=0), model.sample(3, seed=0))
    assert "What it is." in (tmp_path / "README.md").read_text()
