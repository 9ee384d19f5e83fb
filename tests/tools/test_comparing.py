"""Families compared: the folder, going on after an interruption, the recommendation, wrong arguments."""

import json
import time

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from kgen.gan import ProgressiveGAN
from kgen.networks import LadderDecoder, LadderEncoder
from kgen.tools import cli
from kgen.tools import comparing as compare
from kgen.vae import VQVAE2

# What comparing does is Python's, around fit, sample, encode and log_prob, which the contract tests of every family hold on every backend.
ONCE = pytest.mark.once("comparing goes through fit and sample, which the contract holds on every backend")


@ONCE
def test_points_and_going_on_after_an_interruption(tmp_path, monkeypatch):
    said = []
    options = {"minutes": 0.005, "families": ["gan", "vae"], "seeds": 2, "out": tmp_path, "say": said.append}
    with monkeypatch.context() as patch:
        patch.setattr("kgen.vae.entry.entry", None)
        with pytest.raises(TypeError):
            compare.run("gaussian_grid", **options)
    report = compare.run("gaussian_grid", **options)
    there, trained = (
        [f"{n}, seed {i}: {w}" for i in (0, 1)] for n, w in (("gan", "there"), ("vae", "training for 0.005 min"))
    )
    assert said[-4:] == [*there, *trained]
    assert list(report["families"]) == ["gan", "vae"]
    for result in report["families"].values():
        figures = result["figures"]
        assert {"samples_per_second", "sliced_wasserstein", "coverage", "modes", "near_a_mode"} <= set(figures)
        assert figures["modes"]["floor"] == 25 and figures["sliced_wasserstein"]["floor"] < 0.5
        assert figures["sliced_wasserstein"]["deviation"] >= 0 and result["steps"] > 0 and result["parameters"] > 100
    assert json.loads((tmp_path / "compare.json").read_text()) == report
    text = (tmp_path / "compare.md").read_text()
    assert "| vae |" in text and report["recommendation"] in text and "Units: " in text
    assert Image.open(tmp_path / "compare.png").size[0] > 600
    with pytest.raises(ValueError, match="out: .* holds a comparison with other settings"):
        compare.run("moons", **options)


@ONCE
def test_images_by_the_command(tmp_path):
    out = tmp_path / "out"
    arguments = [
        "--data",
        "digits",
        "--minutes",
        "0.005",
        "--families",
        "vae",
        "--systems",
        " beta-tcvae,",
        "--seeds",
        "1",
        "--out",
        str(out),
    ]
    done = CliRunner().invoke(cli.main, ["compare", *arguments])
    assert done.exit_code == 0, done.output
    assert "For samples: " in done.output
    report = json.loads((out / "compare.json").read_text())
    assert list(report["families"]) == ["vae", "BetaTCVAE"] and "| BetaTCVAE | " in (out / "compare.md").read_text()
    figures = report["families"]["BetaTCVAE"]["figures"]
    assert figures["frechet_distance"]["value"] > figures["frechet_distance"]["floor"] > 0
    assert "deviation" not in figures["recall"] and report["settings"]["seeds"] == 1
    assert Image.open(out / "compare.png").size[0] > 300


def test_rows_in_random_order_and_on_the_levels(tmp_path):
    y = np.repeat(np.arange(4, dtype="int32"), 50)  # sorted by class
    x = np.random.default_rng(0).uniform(-1, 1, (200, 4, 4, 1)).astype("float32") * 0.1 + y[:, None, None, None] / 4
    np.savez(tmp_path / "own.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    data = compare.read(tmp_path / "own.npz")
    for images, labels in ((data.x, data.y), (data.x_test, data.y_test)):
        assert set(labels[:40].tolist()) == {0, 1, 2, 3} and images.dtype == np.float32
        levels = (images.astype("float64") + 1) * 127.5
        np.testing.assert_allclose(levels, np.round(levels), atol=1e-4)
        np.testing.assert_allclose(images.mean((1, 2, 3)), labels / 4, atol=0.1)  # labels went with their rows
    again = compare.read(tmp_path / "own.npz")
    np.testing.assert_array_equal(again.x, data.x)


@pytest.mark.once("the contract makes and compiles each family on every backend")
def test_each_family_is_made_for_images_and_points():
    x, points = np.zeros((4, 8, 8, 3), "float32"), np.eye(4, 2, dtype="float32")
    flows = [] if keras.config.backend() == "torch" else ["flow"]
    for rows, pixels in ((x, ["autoregressive"]), (points, [])):
        data = compare.Data("own", rows, None, rows, None)
        assert compare.comparable(data) == ["diffusion", "vae", "gan", *flows, *pixels, "energy"]
        for name in compare.comparable(data):
            model, optimizer = compare.entries()[name].entry(data)
            model.compile(optimizer)
    assert compare._Pixels().features(x).shape == (4, 48)


def test_systems_have_the_data_s_classes_where_they_take_them():
    x = np.zeros((4, 8, 8, 1), "float32")
    data = compare.Data("own", x, np.arange(4), x, np.arange(4))
    assert compare.make("acgan", data).num_classes == 4 and not getattr(
        compare.make("SNGAN", data), "num_classes", None
    )
    assert {"stylegan2", "hierarchicalvae", "flowmatching"} <= set(compare.systems())


def one(name, data, out, monkeypatch):
    """What ``_one`` finds in its two first steps."""
    monkeypatch.setattr(compare, "measure", lambda model, data, seed: ({}, np.zeros((1, *data.shape), "float32")))
    return compare._one(name, data, 0, 1e-7, 4, out, lambda line: None)


FEW = {"moons": (2,), "digits": (8, 8, 1)}
FEW = {n: np.round(np.random.default_rng(0).uniform(-1, 1, (8, *s)) * 8).astype("float32") / 8 for n, s in FEW.items()}


# Each class that has a ``fit``, an ``encode`` or classes of its own, of those that ``make`` takes.
@ONCE
@pytest.mark.parametrize(
    ("data", "name"),
    [
        *(
            ("moons", n)
            for n in ("infogan", "wgan", "vaegan", "factorvae", "rbm", "wae", "flowmatching", "energymodel", "acgan")
        ),
        *(("digits", n) for n in ("conditionalvae", "vqvae2")),
    ],
)
def test_a_system_is_trained_and_described(data, name, tmp_path, monkeypatch):
    classes = name in ("acgan", "conditionalvae")
    x, y = FEW[data], np.arange(8, dtype="int32") % 3 if classes else None
    if name == "vqvae2":  # whose networks are the widest of those here, and would take as long as all others
        shapes = ((2, 2, 2), (4, 4, 2))
        encoder = LadderEncoder((8, 8, 1), shapes, [4, 4, 4], 1)
        decoder = LadderDecoder(shapes, (8, 8, 1), [4, 4, 4], 1, False)
        monkeypatch.setattr(compare, "make", lambda *_: VQVAE2((8, 8, 1), 8, 2, encoder=encoder, decoder=decoder))
    found = one(name, compare.Data(data, x, y, x, y), tmp_path, monkeypatch)
    assert found["steps"] >= 1 and found["conditions"] == ("class" if classes else "none")
    assert (found["latent_space"] == "none") == (name in ("wgan", "flowmatching", "energymodel", "acgan"))


@ONCE
def test_a_system_that_grows_is_grown_at_the_end(tmp_path, monkeypatch):
    made = []

    def small(system, data):
        made.append(ProgressiveGAN(data.shape, 4, width=4))
        return made[-1]

    monkeypatch.setattr(compare, "make", small)
    fitted = []
    monkeypatch.setattr(compare, "_fit", lambda model, data, size, limit: fitted.append(model) or fit(model, limit))

    def fit(model, limit):
        limit.steps, limit.start = 31, time.perf_counter() - limit.seconds
        history = keras.callbacks.History()
        history.epoch = [0]
        return history

    data = compare.Data("digits", FEW["digits"], None, FEW["digits"], None)
    monkeypatch.setattr(compare, "measure", lambda model, data, seed: ({}, np.zeros((1, *data.shape), "float32")))
    compare._one("ProgressiveGAN", data, 0, 1.0, 4, tmp_path, lambda line: None)
    trial, trained = fitted  # 30 steps in a tenth of the minute
    assert trial is made[0] and trial.stage_steps == 1000 and trained.stage_steps in (99, 100)  # of 3 stages
    assert float(keras.ops.convert_to_numpy(trained.level_at(300))) == trained.levels == 1


def figures(distance, speed, deviation=0.0, **more):
    found = {"frechet_distance": {"value": distance, "floor": 1.0, "unit": "", "deviation": deviation}}
    found |= {"samples_per_second": {"value": speed, "unit": "1/s"}}
    found |= {k: {"value": v, "unit": ""} for k, v in more.items()}
    return {"figures": found, "latent_space": "none", "conditions": "none"}


def test_the_recommendation_says_why():
    results = {"slow": figures(2.0, 10, 0.1, bits_per_dim=3.0), "fast": figures(9.0, 1000), "near": figures(2.05, 5)}
    text = compare.recommend(results)
    assert "For samples: slow, whose Fréchet distance of 2 is the lowest (floor 1)" in text
    assert "near may be as good" in text and "fast samples 100 times as fast" in text
    assert "likelihoods (compression, anomalies): slow" in text
    results["broken"] = figures(float("nan"), 1)
    assert "For samples: slow" in compare.recommend(results)


@ONCE
def test_wrong_arguments(tmp_path):
    for options, message in (
        ({"families": ["gans"]}, "families: .*gan"),
        (
            {"data": "moons", "families": ["autoregressive"]},
            "families: autoregressive cannot be compared on data of shape",
        ),
        ({"seeds": 0}, "seeds: expected an integer of at least 1"),
        (
            {"systems": ["stylegan3"]},
            "systems: expected names of kgen's models, received 'stylegan3'. Near it: stylegan2",
        ),
        ({"systems": ["autoencoder"]}, "systems: Autoencoder samples nothing by itself"),
        ({"systems": ["prior_refit"]}, "systems: PriorRefit is not made of data of shape .* alone: .*'prior'"),
        ({"systems": [" super_resolution"]}, "systems: SuperResolution needs low to sample"),
        (
            {"systems": ["pixelcnn"]},
            "systems: PixelCNN does not take these data as they are: x: expected values at 256",
        ),
        ({"systems": ["GaussianMixture"]}, "systems: GaussianMixture is not trained by steps, which minutes could end"),
    ):
        with pytest.raises(ValueError, match=message):
            compare.run(**{"data": "digits", "out": tmp_path / "x", **options})
    assert not (tmp_path / "x").exists()


def test_a_model_that_diverges_does_not_stop_the_others():
    class Diverged:
        shape, likelihood, num_classes = (2,), "implicit", None

        def sample(self, n, **kwargs):
            raise ArithmeticError("3 of 5 chains diverged")

    data = compare.read("moons")
    figures, samples = compare.measure(Diverged(), data, 0)
    assert np.isnan(figures["coverage"]["value"]) and not samples.any()
    good = {
        "figures": {"coverage": {"value": 0.5, "floor": 0.9, "unit": "share"}, "sliced": {"value": 1.0}},
        "steps": 3,
    }
    both = compare._together([{"figures": figures, "steps": 1}, good])
    assert both["figures"]["coverage"]["unit"] == "share" and np.isnan(both["figures"]["coverage"]["value"])
