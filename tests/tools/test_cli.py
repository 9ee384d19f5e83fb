"""The command line: what it prints, writes and refuses."""

import json
import os
import subprocess
import sys
import types

import click
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import kgen
from kgen.core.conditions import ImageCondition, SequenceCondition, VectorCondition
from kgen.diffusion import DDPM, DDIMSampler
from kgen.tools import cli, command
from kgen.tools.sample import conditions_of


def run(*arguments):
    return CliRunner().invoke(cli.main, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A small class-conditional model of digits in a run's folder."""
    from kgen.networks import UNet

    network = UNet((8, 8, 1), channels=(8,), blocks=1, attention=(False,), num_classes=10)
    folder = tmp_path_factory.mktemp("runs") / "ddpm_small"
    kgen.Run(folder).save_model(DDPM((8, 8, 1), network=network, num_classes=10, sampler=DDIMSampler(2)))
    return folder


def test_help_and_recipes():
    for words in ([], ["train"], ["sample"], ["evaluate"], ["export"], ["recipes"], ["presets"]):
        result = run(*words, "--help")
        assert result.exit_code == 0 and "kgen" in result.output
    listed = run("recipes").output
    for name in (
        "ddpm_digits",
        "vae_digits",
        "ddpm_fashion_mnist",
        "vae_fashion_mnist",
        "classifier_digits",
        "classifier_fashion_mnist",
    ):
        line = next(line for line in listed.splitlines() if line.startswith(name + " "))
        assert len(line) > len(name) + 10  # a description stands beside it


def test_recipes_that_are_not_installed_say_how_to_install_them(monkeypatch):
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: None)
    for words in (["recipes"], ["train", "ddpm_digits"]):
        result = run(*words)
        assert result.exit_code == 2 and "kgen.recipes cannot be imported" in result.stderr
        assert result.stderr.strip().endswith("run: pip install -e .") and len(result.stderr.splitlines()) == 1

    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    # Python keeps a module that another test has imported as the package's attribute.
    monkeypatch.delattr(kgen, "recipes", raising=False)
    monkeypatch.setattr(kgen.importlib, "import_module", missing)
    with pytest.raises(ImportError, match=r"kgen.recipes cannot be imported.* run: pip install -e \."):
        _ = kgen.recipes


@pytest.mark.parametrize("given", [None, "0"])
def test_onednn_is_on_unless_the_user_has_said_otherwise(given):
    code = (
        "import os, kgen.tools.cli\n"
        "try: kgen.tools.cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(os.environ['TF_ENABLE_ONEDNN_OPTS'])"
    )
    environment = {k: v for k, v in os.environ.items() if k != "TF_ENABLE_ONEDNN_OPTS"}
    environment |= {} if given is None else {"TF_ENABLE_ONEDNN_OPTS": given}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == (given or "1")


def test_help_loads_no_framework():
    code = (
        "import sys, kgen.tools.cli\n"
        "try: kgen.tools.cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('keras', 'tensorflow', 'jax', 'torch', 'numpy') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "[]"


def test_sample(saved, tmp_path):
    out = tmp_path / "grid.png"
    result = run(
        "sample", saved, "-n", 4, "--seed", 0, "--labels", "7", "--guidance", "2", "--steps", "3", "--out", out
    )
    assert result.exit_code == 0, result.output
    assert Image.open(out).size == (65, 65)  # 2 x 2 images of 8 x 8, enlarged to 32, a pixel between them
    array = tmp_path / "samples.npy"
    run("sample", saved / "model.keras", "-n", 3, "--seed", 0, "--labels", "1,2,3", "--out", array)
    np.testing.assert_allclose(np.load(array), kgen.load(saved).sample(3, seed=0, labels=[1, 2, 3]), atol=1e-6)


def test_presets_go_by_name(tmp_path, trained):
    result = run("presets")
    assert result.exit_code == 0
    lines = {line.split()[0]: line.split()[1:] for line in result.output.splitlines()}
    assert set(lines) == {"rbm_digits", "vae_digits"} and all(len(words) > 2 for words in lines.values())
    out = tmp_path / "out.npy"
    assert run("sample", "vae_digits", "-n", 3, "--seed", 0, "--out", out).exit_code == 0
    np.testing.assert_allclose(np.load(out), kgen.load(trained / "vae_digits").sample(3, seed=0), atol=1e-5)


def test_a_presets_folder_is_a_path(tmp_path):
    kgen.gan.GAN((2,), 3).save_to_preset(tmp_path / "p")
    assert run("sample", tmp_path / "p", "-n", 5, "--out", tmp_path / "points.npy").exit_code == 0
    assert np.load(tmp_path / "points.npy").shape == (5, 2)
    result = run("export", "hf://user/model@main")
    assert result.exit_code == 2 and "--out: name the folder to export to" in result.stderr


@pytest.mark.once("what the command prints and writes is Python's; test_sample draws by it on every backend")
def test_sample_draws_points_and_prints_texts(tmp_path, monkeypatch):
    points, texts = tmp_path / "points", tmp_path / "texts"
    kgen.Run(points).save_model(kgen.gan.GAN((2,), 3))
    result = run("sample", points, "--seed", 0, "--out", tmp_path / "points.png")
    assert result.exit_code == 0 and "1000 samples" in result.output
    assert Image.open(tmp_path / "points.png").size[0] > 200
    encoder, decoder = kgen.networks.MLP((2,), (4,), (8,)), kgen.networks.MLP((2,), (2,), (8,))
    for model in (DDPM((2,), sampler=DDIMSampler(2)), kgen.vae.VAE((2,), 2, encoder=encoder, decoder=decoder)):
        kgen.Run(tmp_path / model.name).save_model(model)
        result = run("sample", tmp_path / model.name, "--seed", 0, "--out", tmp_path / f"{model.name}.png")
        assert result.exit_code == 0 and "1000 samples" in result.output, result.output
    tokenizer = kgen.autoregressive.ByteTokenizer()
    kgen.Run(texts).save_model(kgen.autoregressive.GPT(tokenizer=tokenizer, context=16, layers=1, heads=1, width=8))
    for arguments, start in (((), ""), (("--prompt", "ab"), "ab")):
        result = run("sample", texts, "--seed", 0, "--max-new-tokens", 4, *arguments)
        assert result.exit_code == 0 and result.output.startswith(start) and len(result.output) > len(start)
    # A model of captions has a tokenizer too, and draws pictures.
    size = tokenizer.vocabulary_size
    text = SequenceCondition(4, size + 1, padding=size, tokenizer=tokenizer, dropout=0.1)
    network = kgen.networks.UNet((4, 4, 1), (8,), 1, (False,), groups=4, conditions=[text])
    captioned = kgen.diffusion.CaptionedDiffusion((4, 4, 1), tokenizer, 4, network=network, sampler=DDIMSampler(1))
    kgen.Run(tmp_path / "captioned").save_model(captioned)
    monkeypatch.chdir(tmp_path)
    result = run("sample", tmp_path / "captioned", "--condition", "text=on")
    assert result.exit_code == 0 and "16 samples: samples.png" in result.output, result.output
    result = run("sample", points, "--prompt", "ab")
    assert result.exit_code == 2 and "GAN does not continue text" in result.stderr


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("vector=abc", "--condition vector: expected 2 numbers, such as 0.5,1, received 'abc'"),
        ("text=1,x", "--condition text: expected 3 tokens, integers such as 3,1,2, received '1,x'"),
        ("low=nowhere.png", "--condition low: expected the file of a picture, received 'nowhere.png'"),
        (
            "colour=1",
            "--condition: expected NAME=VALUE, NAME one of this model's: vector (vector), text (sequence), low (image)",
        ),
    ],
)
def test_a_condition_that_cannot_be_read_is_named(given, message):
    model = types.SimpleNamespace(
        conditions=[VectorCondition(2), SequenceCondition(3, 7), ImageCondition((2, 2, 1), name="low")]
    )
    assert conditions_of(model, ["vector=0.5,1", "text=1,2,3"]) == {"vector": [0.5, 1.0], "text": [1, 2, 3]}
    with pytest.raises(click.UsageError) as refused:
        conditions_of(model, [given])
    assert message in refused.value.message


def test_a_condition_of_ones_own_says_how_it_is_read():
    class Angle(VectorCondition):
        def read(self, text):
            turn = np.radians(float(text))
            return [np.cos(turn), np.sin(turn)]

    model = types.SimpleNamespace(conditions=[Angle(2, name="angle")])
    np.testing.assert_allclose(conditions_of(model, ["angle=90"])["angle"], [0.0, 1.0], atol=1e-9)
    with pytest.raises(click.UsageError, match="--condition angle: could not convert string to float: 'left'"):
        conditions_of(model, ["angle=left"])


@pytest.mark.once("figures are computed in NumPy")
def test_evaluate_prints_each_figure_beside_its_floor(saved):
    result = run("evaluate", saved, "--data", "digits", "-n", 60)
    assert result.exit_code == 0, result.output
    report = json.loads(result.output[result.output.index("{") :])
    assert {"value", "floor", "samples"} <= set(report["frechet_distance"])
    assert report["frechet_distance"]["samples"] == 60
    assert report["frechet_distance"]["value"] > report["frechet_distance"]["floor"]  # the model is untrained


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "ddpm_digit"], "there is no recipe 'ddpm_digit'. Did you mean ddpm_digits"),
        (["train"], "Missing argument 'RECIPE'"),
        (["train", "ddpm_digits", "--epochs", "0"], "0 is not in the range x>=1"),
        (
            ["train", "ddpm_digits", "--backend", "mxnet"],
            "--backend: expected one of tensorflow, jax, torch, received 'mxnet'",
        ),
        (["train", "vae_digits", "--data", "diggits"], "Did you mean"),
        (["sample", "hf://user/model"], "name: expected 'hf://user/repo@revision'"),
        (["sample", "nowhere"], "nowhere does not exist, and no preset that comes with kgen has that name. Presets: "),
        (["sample", "vae_digit"], "and no preset that comes with kgen has that name. Did you mean vae_digits"),
        (["sample", "{saved}", "--out", "x.gif"], "--out: expected a path that ends in .png or .npy, received 'x.gif'"),
        (["sample", "{saved}", "--out", "{saved}/model.keras"], "expected a path that ends in .png or .npy"),
        (
            ["sample", "{saved}", "--labels", "seven", "--out", "{tmp}/x.png"],
            "--labels: expected integers such as 7 or 0,1,2,3, received 'seven'",
        ),
        (["sample", "{saved}", "--labels", "10", "--out", "{tmp}/x.png"], r"labels: expected integers in [0, 10)"),
        (["sample", "{saved}", "-n", "0", "--out", "{tmp}/x.png"], "0 is not in the range x>=1"),
        (["evaluate", "{saved}"], "Missing option '--data'"),
        (["evaluate", "{saved}", "--data", "nothing"], "nothing"),
        (["export", "{saved}/nothing.keras"], "does not exist"),
        (
            ["export", "{saved}", "--endpoints", "paint"],
            "endpoints: expected one of 'sample', 'denoise', 'interpolate', 'translate', 'inpaint', received 'paint'",
        ),
        (["export", "{saved}", "--endpoints", "sample", "--format", "onnx"], "--endpoints: for --format tf alone"),
        (["explode"], "No such command 'explode'"),
    ],
    ids=lambda v: " ".join(v)[:40] if isinstance(v, list) else None,
)
def test_errors_are_one_line_and_exit_code_2(arguments, message, saved, trained, tmp_path):
    result = run(*[a.format(saved=saved, tmp=tmp_path) for a in arguments])
    assert result.exit_code == 2
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("kgen: ") and message in lines[0], result.stderr
    assert not list(tmp_path.iterdir())


def test_a_backend_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        click.UsageError, match=r'--backend: jax is not installed. Install it by: pip install -e ".\[jax\]"'
    ):
        command.use_backend("jax")


def test_debug_shows_the_traceback(saved):
    with pytest.raises(ValueError, match="labels"):
        CliRunner().invoke(
            cli.main, ["sample", str(saved), "--labels", "10", "--out", "x.png", "--debug"], catch_exceptions=False
        )


def test_sample_does_not_overwrite(saved, tmp_path):
    out = tmp_path / "there.png"
    out.write_bytes(b"precious")
    result = run("sample", saved, "--out", out)
    assert result.exit_code == 2 and "exists. Name another file" in result.stderr
    assert out.read_bytes() == b"precious"
