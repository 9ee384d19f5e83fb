"""Presets are written, say what they are, and load as they were: by name, by class, and on another backend."""

import hashlib
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from core.one_loss import Location, OneLoss
from core.presets import corpus
from core.state import differing, state
from core.two_player import TwoPlayer
from keras import ops

import kgen
from kgen.core import loading

BACKEND = keras.config.backend()
OTHER = "tensorflow" if BACKEND != "tensorflow" else "torch"


def vqvae():
    return kgen.vae.VQVAE((8, 8, 1), num_codes=8, code_dim=4)


def latent_diffusion():
    return kgen.hybrid.LatentDiffusion(corpus.vae(), ema=0.9)


MAKERS = {
    "vae": corpus.vae,
    "ddpm": corpus.ddpm,
    "gan": lambda: kgen.gan.DCGAN((8, 8, 1), 3),
    "gan in the plane": lambda: kgen.gan.GAN((2,), 3, ema=0.9),
    "vqvae": vqvae,
    "latent diffusion": latent_diffusion,
    "gpt": corpus.gpt,
    "pixelcnn": lambda: kgen.autoregressive.PixelCNN((4, 4, 1), levels=4),
    "rbm": lambda: kgen.energy.RBM((4,), 3, chains=2),
    "energy": lambda: kgen.energy.EnergyModel((2,)),
    "flow": lambda: kgen.flow.MAF((2,), layers=2, widths=(8,), ema=0.9),
    "several players": lambda: TwoPlayer(dim=4, ema=0.9),
}


def scrambled(model):
    """The model with weights that no initializer gives."""
    for i, v in enumerate(model.weights):
        noise = np.random.default_rng(i).uniform(0.5, 1.0, size=v.shape)
        v.assign(noise.astype(v.dtype) if "float" in v.dtype else ops.convert_to_numpy(v) + 1)
    return model


@pytest.mark.parametrize("name", MAKERS)
def test_a_preset_is_the_model(name, tmp_path):
    if name == "flow" and BACKEND == "torch":
        pytest.skip("flows need TFP")
    model = scrambled(MAKERS[name]())
    model.save_to_preset(tmp_path / "p")
    loaded = kgen.from_preset(tmp_path / "p")
    assert type(loaded) is type(model) and not loaded.compiled
    assert json.dumps(loaded.get_config()) == json.dumps(model.get_config())  # JSON's lists were tuples
    assert [v.dtype for v in loaded.weights] == [v.dtype for v in model.weights]
    assert differing(state(model, "weight"), state(loaded, "weight")) == []


def test_it_samples_alike_and_trains_on(tmp_path):
    model = OneLoss(ema=0.9)
    model.compile("adam")
    x = np.random.default_rng(0).normal(size=(16, 4)).astype("float32")
    model.fit(x, verbose=0)
    model.save_to_preset(tmp_path / "p")
    loaded = OneLoss.from_preset(tmp_path / "p")
    np.testing.assert_array_equal(loaded.sample(3, seed=0), model.sample(3, seed=0))
    loaded.compile("adam")
    before = state(loaded, "weight")
    assert np.isfinite(loaded.fit(x, epochs=2, verbose=0).history["loss"]).all()
    assert len(differing(before, state(loaded, "weight"))) > 5


def test_loading_leaves_keras_as_it_was(tmp_path):
    layer = keras.layers.Layer
    methods = layer.__init__, layer.add_weight, layer.__call__
    corpus.vae().save_to_preset(tmp_path / "p")
    kgen.from_preset(tmp_path / "p")
    (tmp_path / "p" / "README.md").unlink()
    with pytest.raises(ValueError):
        kgen.from_preset(tmp_path / "p")
    assert (layer.__init__, layer.add_weight, layer.__call__) == methods


@pytest.mark.parametrize("policy", ["mixed_float16", "bfloat16"])
def test_other_dtypes(policy, tmp_path):
    model = scrambled(OneLoss(dtype=policy))
    model.save_to_preset(tmp_path / "p")
    loaded = kgen.from_preset(tmp_path / "p")
    assert loaded.network.layers[0].kernel.dtype == ("bfloat16" if policy == "bfloat16" else "float32")
    assert differing(state(model, "weight"), state(loaded, "weight")) == []


def test_figures_that_no_reader_would_take_are_refused(tmp_path):
    for figures in ({"fd": {"value": 1.0, "standard_error": float("nan")}}, {"fd": object()}):
        with pytest.raises(ValueError, match="figures: expected finite numbers and texts"):
            corpus.vae().save_to_preset(tmp_path / "p", figures=figures)
    assert not (tmp_path / "p").exists()


def test_what_the_folder_says(tmp_path):
    folder = tmp_path / "small"
    figures = {"frechet_distance": {"value": np.float32(12.5), "unit": "", "floor": 8.9}, "bits_per_dim": 3.57}
    corpus.vae().save_to_preset(folder, data="digits: 1,797 images", license='MIT"\ninjected: true', figures=figures)
    assert sorted(p.name for p in folder.iterdir()) == [
        "README.md",
        "config.json",
        "metadata.json",
        "model.safetensors",
    ]
    said = json.loads((folder / "metadata.json").read_text())
    assert said["versions"] == {"kgen": kgen.__version__, "keras": keras.__version__} and said["backend"] == BACKEND
    assert said["class"] == "kgen.vae.vae.VAE" and said["data"] == "digits: 1,797 images"
    assert said["figures"] == {"frechet_distance": {"value": 12.5, "unit": "", "floor": 8.9}, "bits_per_dim": 3.57}
    for name in ("config.json", "model.safetensors", "README.md"):
        assert said["files"][name] == hashlib.sha256((folder / name).read_bytes()).hexdigest()
    # As readable as any file of the user's: safetensors' own way of writing is for the owner alone.
    modes = {p.stat().st_mode & 0o777 for p in folder.iterdir()}
    assert modes == {(folder / "config.json").stat().st_mode & 0o777}
    card = (folder / "README.md").read_text()
    head = card.split("---\n")[1].splitlines()
    assert 'license: "MIT\\"\\ninjected: true"' in head and len(head) == 3
    assert "# small" in card and "| frechet distance | 12.5 |" in card and 'from_preset("small")' in card
    assert "compile_config" not in (folder / "config.json").read_text()


def test_the_class_is_checked_before_anything_is_made(tmp_path, trained):
    corpus.vae().save_to_preset(tmp_path / "p")
    assert type(kgen.vae.VAE.from_preset(tmp_path / "p")) is kgen.vae.VAE
    assert type(kgen.GenerativeModel.from_preset(tmp_path / "p")) is kgen.vae.VAE
    (tmp_path / "p" / "model.safetensors").write_bytes(b"never read")
    corpus.seal(tmp_path / "p")
    with pytest.raises(
        ValueError, match=r"p: expected a preset of DDPM, received one of VAE. kgen.from_preset loads any"
    ):
        kgen.diffusion.DDPM.from_preset(tmp_path / "p")
    with pytest.raises(ValueError, match=r"vae_digits: expected a preset of DDPM, received one of VAE"):
        kgen.diffusion.DDPM.from_preset("vae_digits")


def test_names_and_folders(tmp_path, trained):
    model = kgen.energy.RBM.from_preset("rbm_digits")
    assert differing(state(model, "weight"), state(kgen.load(trained / "rbm_digits"), "weight")) == []
    with pytest.raises(FileNotFoundError, match=r"rbm_digit does not exist, and no preset .* Did you mean rbm_digits"):
        kgen.from_preset("rbm_digit")
    Location(3).save(tmp_path / "m.keras")
    with pytest.raises(ValueError, match=r"is no preset's folder .* kgen.load opens a run's folder"):
        kgen.from_preset(tmp_path)
    with pytest.raises(ValueError, match=r"m.keras: expected a preset's folder"):
        kgen.from_preset(tmp_path / "m.keras")


def test_an_installation_without_trained_models_says_where_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "SHIPPED", tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match=r"saved_models/ of kgen's repository .* kgen train rbm_digits\."):
        kgen.load("rbm_digits")


def test_a_preset_of_kgen_0_1_loads(tmp_path):
    """Format 1 said nothing of which weights are in the file: all of them."""
    model = scrambled(OneLoss(ema=0.9))
    model.save_to_preset(tmp_path / "p")
    metadata = json.loads((tmp_path / "p" / "metadata.json").read_text())
    assert metadata.pop("weights") == "all"
    metadata |= {"format": 1, "versions": {"kgen": "0.1.0", "keras": "3.15.1"}}
    (tmp_path / "p" / "metadata.json").write_text(json.dumps(metadata))
    assert differing(state(model, "weight"), state(kgen.from_preset(tmp_path / "p"), "weight")) == []
    for wrong in ("half", 3):
        (tmp_path / "p" / "metadata.json").write_text(json.dumps({**metadata, "format": 2, "weights": wrong}))
        with pytest.raises(ValueError, match="weights: expected"):
            kgen.from_preset(tmp_path / "p")


def test_load_opens_whatever_kgen_wrote(tmp_path, trained):
    model = scrambled(Location(3))
    model.save(tmp_path / "m.keras")
    model.save_to_preset(tmp_path / "preset")
    kgen.Run(tmp_path / "run").save_model(model)
    for path in (tmp_path / "m.keras", tmp_path / "preset", tmp_path / "run", str(tmp_path / "preset")):
        kinds = () if path == tmp_path / "m.keras" else ("weight",)  # a preset holds no seed
        assert differing(state(model, *kinds), state(kgen.load(path), *kinds)) == []
    assert type(kgen.load("rbm_digits")) is kgen.energy.RBM


# Whole or not at all, and only what may be in it.


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    from kgen.core.presets import tensors

    def fail(model, path, *options):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(tensors, "write", fail)
    with pytest.raises(KeyboardInterrupt):
        Location().save_to_preset(tmp_path / "p")
    assert os.listdir(tmp_path) == []


def test_nothing_is_overwritten(tmp_path):
    Location().save_to_preset(tmp_path / "new" / "p")
    before = (tmp_path / "new" / "p" / "metadata.json").read_bytes()
    with pytest.raises(FileExistsError, match=r"p exists, and nothing is overwritten: name another folder"):
        Location(2).save_to_preset(tmp_path / "new" / "p")
    assert (tmp_path / "new" / "p" / "metadata.json").read_bytes() == before


def test_what_could_not_be_loaded_is_not_written(tmp_path):
    encoder, decoder = corpus.networks()
    encoder.add(keras.layers.Lambda(lambda x: 2 * x))
    model = kgen.vae.VAE((4, 4, 1), 2, encoder=encoder, decoder=decoder)
    with pytest.raises(ValueError, match=r"what VAE is made of cannot be a preset: .*refused .*class_name='Lambda'"):
        model.save_to_preset(tmp_path / "p")

    class Own(Location):
        """Registered nowhere."""

    with pytest.raises(ValueError, match=r"class_name='Own'.* registered by @keras.saving.register_keras_serializable"):
        Own().save_to_preset(tmp_path / "p")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"license": 3}, "license: expected a text or None, received 3"),
        ({"data": ["digits"]}, "data: expected a text or None"),
        ({"figures": [1.0]}, "figures: expected a dict from a figure's name to its value"),
    ],
    ids=str,
)
def test_wrong_arguments(given, message, tmp_path):
    with pytest.raises(TypeError, match=message):
        Location().save_to_preset(tmp_path / "p", **given)
    assert os.listdir(tmp_path) == []


ELSEWHERE = """
import sys
import numpy as np, kgen
model = kgen.from_preset(sys.argv[1])
np.savez(sys.argv[2], *model.get_weights(), sample=model.sample(4, seed=0))
"""


@pytest.mark.across(OTHER)
def test_a_preset_loads_on_another_backend(tmp_path):
    model = corpus.vae()
    model.save_to_preset(tmp_path / "p")
    environment = {**os.environ, "KERAS_BACKEND": OTHER, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", ELSEWHERE, tmp_path / "p", tmp_path / "there.npz"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    there = np.load(tmp_path / "there.npz")
    np.testing.assert_allclose(there["sample"], model.sample(4, seed=0), atol=1e-5)
    for i, value in enumerate(model.get_weights()):
        np.testing.assert_array_equal(there[f"arr_{i}"], value)
