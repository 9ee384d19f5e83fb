"""Each kind of attack is refused: with an error that says what it was, within two seconds and 300 MB."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import keras
import pytest
from core.presets import corpus

import kgen

SECONDS, MEGABYTES = 2.0, 300
unix = pytest.mark.skipif(sys.platform == "win32", reason="peak memory is read as on Unix")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "p"
    corpus.vae().save_to_preset(folder)
    return folder


# Where what is refused is not plain from the name of the attack, what the error must say.
SAID = {
    **dict.fromkeys(corpus.CODE, r"config.json: .*(refused module=|expected an object|expected the configuration)"),
    **dict.fromkeys(corpus.ASKING, r"config.json"),
    **dict.fromkeys(corpus.WEIGHTS, r"model.safetensors: "),
    **dict.fromkeys(corpus.FOLDER, r"expected"),
    "a layer as the model": "expected a preset of GenerativeModel, received one of Dense",
    "2^20 units": r"makes a weight dense\w*/kernel of shape \(16, 1048576\), float32: the file has none",
    "a giant image": r"config.shape: expected at most 4194304 values in one example",
    "units that are no number": r"the model could not be made: .*units",
    "an unknown setting": r"the model could not be made: .*surprise",
    "another version": r"written by kgen 99.0.0; this is kgen",
    "code beside it": r"expected a preset's files alone .* received 'payload.py' too",
    "a link to a secret": r"model.safetensors: expected a plain file, received a link",
    "a pipe": r"config.json: expected a plain file",
    "a bit in the weights": r"model.safetensors: expected SHA-256 [0-9a-f]{64}, received [0-9a-f]{64}",
}


@pytest.mark.parametrize("name", corpus.ATTACKS)
def test_it_is_refused(name, whole, tmp_path, monkeypatch):
    folder = tmp_path / "p"
    shutil.copytree(whole, folder)
    corpus.ATTACKS[name](folder)
    made = []
    monkeypatch.setattr(os, "system", made.append)
    with pytest.raises(ValueError, match=SAID[name]) as caught:
        kgen.from_preset(folder)
    assert made == [] and len(str(caught.value)) < 1500
    with pytest.raises(ValueError):  # ``load`` is no way around it
        kgen.load(folder)


def test_the_corpus_changes_a_preset_that_loads(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "p")
    corpus.config(lambda value: None)(tmp_path / "p")
    corpus.weights(lambda content: content)(tmp_path / "p")
    corpus.metadata(lambda value: None)(tmp_path / "p")
    assert type(kgen.from_preset(tmp_path / "p")) is kgen.vae.VAE


MEASURED = """
import json, resource, sys, time
import kgen

def memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

whole, *folders = sys.argv[1:]
kgen.from_preset(whole)  # what is imported once
base, found = memory(), []
for folder in folders:
    start = time.process_time()
    try:
        kgen.from_preset(folder)
        result = "loaded"
    except ValueError as error:
        result = str(error)[:300]
    found.append([result, time.process_time() - start, memory() - base])
print(json.dumps(found))
"""


def measured(whole, folders):
    """For each folder what became of it, seconds, and by how many MB the process had grown at its peak since the start.

    Seconds of all its threads: on a machine that does nothing else that is as long as it takes, or longer.
    """
    command = [sys.executable, "-c", MEASURED, whole, *folders]
    environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(kgen.__file__).parents[1])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.once("test_it_is_refused says on every backend what is refused; it is read before a backend is asked")
@unix
def test_in_two_seconds_and_300_megabytes(whole, tmp_path):
    folders = []
    for i, attack in enumerate(corpus.ATTACKS.values()):
        folder = tmp_path / str(i) / "p"
        shutil.copytree(whole, folder)
        attack(folder)
        folders.append(folder)
    for name, (result, seconds, megabytes) in zip(corpus.ATTACKS, measured(whole, folders), strict=True):
        assert result != "loaded" and seconds < SECONDS, (name, seconds)
        assert megabytes < MEGABYTES, (name, megabytes)  # of all so far together, so of this one too


def numbers(value, keys=()):
    """The places of all integers in a configuration."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from numbers(child, (*keys, key))
    if isinstance(value, int) and not isinstance(value, bool):
        yield keys


MODELS = {
    "ddpm": corpus.ddpm,
    "gpt": corpus.gpt,
    "energy": lambda: kgen.energy.EnergyModel((2,)),
    "linear schedule": lambda: kgen.diffusion.DDPM(
        (2,), network=corpus.point_network(), schedule=kgen.diffusion.LinearSchedule(0.1, 0.5, num_steps=10)
    ),
    "masked flow": lambda: kgen.flow.MAF((2,), layers=2, widths=(8,)),
    "coupling flow": lambda: kgen.flow.RealNVP((2,), couplings=2, widths=(8,)),
}


@pytest.mark.once("bounds are on what a configuration says, which every backend reads alike")
@unix
def test_every_number_as_large_as_is_allowed(whole, tmp_path):
    """Each integer of a configuration, alone, set to the largest that is let through: refused or loaded, soon and within bounds."""
    folders = []
    for name, make in MODELS.items():
        if "flow" in name and keras.config.backend() == "torch":  # no TFP
            continue
        make().save_to_preset(tmp_path / name / "whole")
        for place in numbers(json.loads((tmp_path / name / "whole" / "config.json").read_text())):
            folders.append(tmp_path / name / ".".join(map(str, place)))
            shutil.copytree(tmp_path / name / "whole", folders[-1])
            corpus.setting(*place, to=2**20)(folders[-1])
    # A convolution's weights fit any image; to run this network once, with its attention, would take terabytes.
    folders.append(tmp_path / "giant image")
    shutil.copytree(tmp_path / "ddpm" / "whole", folders[-1])
    for place in (("config", "shape"), ("config", "network", "config", "shape")):
        corpus.setting(*place, to=[2048, 2048, 1])(folders[-1])
    results = measured(whole, folders)
    for folder, (result, seconds, megabytes) in zip(folders, results, strict=True):
        assert seconds < SECONDS and megabytes < MEGABYTES, (folder, result, seconds, megabytes)
    assert len(results) > 20 and {"loaded"} < {r[0] for r in results} and results[-1][0] == "loaded"
