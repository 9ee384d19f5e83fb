"""Every Python block of the README and the guides runs, on small settings, one after the other in a file; links and pictures are there."""

import pathlib
import re
import shlex
import subprocess
from unittest import mock

import click
import pytest

import kgen
from kgen.core import loading
from kgen.diffusion import ddpm
from kgen.gan import networks
from kgen.tools import cli

ROOT = pathlib.Path(kgen.__file__).parents[1]
FILES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SMALLER = [
    (r"epochs=\d+", "epochs=1"),
    (r"sample\(1000\)", "sample(64)"),
    (r"steps=10\b", "steps=2"),
    (r"DDIMSampler\(20", "DDIMSampler(2"),
    (r"num_samples=\d+", "num_samples=2"),
    (r"n=300", "n=50"),
    (r"per_class=10\b", "per_class=1"),
    (r"every=500", "every=2"),
]


def blocks(path):
    return re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.S)


def smaller(shape, conditions=(), outputs=1, dtype=None):
    """In place of the network that fits: what the blocks say is tested, not how well they draw."""
    return kgen.networks.UNet(shape, (8,), 1, (False,), conditions=conditions, out_channels=outputs, dtype=dtype)


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Small networks where blocks name none, and small models under the names of those that come trained."""
    monkeypatch.setattr(ddpm, "default_network", smaller)
    monkeypatch.setattr(networks, "_default_widths", lambda shape: [8])
    # No server runs here and no page is opened: calls are held to the signatures. tests/serving and tests/tools have what they do.
    monkeypatch.setattr(kgen.serving, "Client", mock.create_autospec(kgen.serving.Client))
    monkeypatch.setattr("kgen.tools.demo.page", mock.create_autospec(kgen.tools.demo.page))
    shipped = tmp_path / "shipped"
    monkeypatch.setattr(loading, "SHIPPED", shipped)
    kgen.Run(shipped / "ddpm_digits").save_preset(kgen.diffusion.DDPM((8, 8, 1), num_classes=10))
    kgen.Run(shipped / "vae_digits").save_preset(kgen.vae.VAE((8, 8, 1), 4))


@pytest.mark.parametrize("path", [p for p in FILES if blocks(p)], ids=lambda p: p.stem)
def test_blocks_run(path, small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    load = kgen.data.load
    monkeypatch.setattr(kgen.data, "load", lambda *a, **k: tuple(v if v is None else v[:96] for v in load(*a, **k)))
    space = {"kgen": kgen, "__name__": "docs"}
    for block in blocks(path):
        for pattern, small in SMALLER:
            block = re.sub(pattern, small, block)
        exec(compile(block, str(path), "exec"), space)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_links_and_pictures_are_there(path):
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", path.read_text(encoding="utf-8")):
        file = (path.parent / target).resolve()
        assert file.exists(), target
        if (ROOT / ".git").exists():
            done = subprocess.run(["git", "ls-files", "--", str(file)], cwd=ROOT, capture_output=True, text=True)
            assert done.stdout, f"{target}: git does not track it"


def commands(text):
    """The commands of ``kgen`` in a text, each a list of its words: lines of their own, and `code`."""
    lines = re.findall(r"^(?:.*&& )?kgen +(.+)$", text, re.M) + re.findall(r"`kgen ([^`]+)`", text)
    for line in lines:
        line = re.split(r"\s{2,}|\s#|`", line)[0]  # what it is for stands after some spaces
        yield shlex.split(line.replace("[--", " --").replace("]", "")), "[--" in line


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_commands_are_as_the_command_takes_them(path):
    for (name, *words), options_alone in commands(path.read_text(encoding="utf-8")):
        command = cli.main.commands[name]
        known = {o for p in command.params for o in p.opts}
        if options_alone:  # as in "kgen train RECIPE [--data --seed]"
            assert {w for w in words if w.startswith("--")} <= known, f"kgen {name} {words}"
        elif words:
            try:
                command.make_context(name, words)
            except click.BadParameter as error:  # the reader's files are not here
                assert error.message.endswith("does not exist."), f"kgen {name} {words}: {error.message}"


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 200
