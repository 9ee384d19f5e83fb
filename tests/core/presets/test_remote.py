"""Presets from elsewhere: addresses, the libraries that download, and archives whose hash is known."""

import hashlib
import http.server
import os
import pathlib
import shutil
import struct
import sys
import threading
import types
import zipfile

import pytest
from core.one_loss import Location

import kgen
from kgen.core.presets import remote

HASH = "0" * 64


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("there") / "p"
    Location(3).save_to_preset(folder)
    return folder


# The libraries.


def library(monkeypatch, name, **functions):
    monkeypatch.setitem(sys.modules, name, types.SimpleNamespace(**functions))


def test_hugging_face(preset, tmp_path, monkeypatch):
    asked = []

    def hf_hub_download(repository, name, *, revision):
        asked.append((repository, name, revision))
        link = tmp_path / name  # the library's cache holds links to its blobs
        link.symlink_to(preset / name)
        return str(link)

    library(monkeypatch, "huggingface_hub", hf_hub_download=hf_hub_download)
    model = Location.from_preset("hf://some-user/some.model@v1.0")
    assert model.dim == 3
    assert {a[0::2] for a in asked} == {("some-user/some.model", "v1.0")}
    assert sorted(a[1] for a in asked) == sorted(p.name for p in preset.iterdir())


def test_kaggle(preset, monkeypatch):
    asked = []

    def model_download(handle, path):
        asked.append(handle)
        return str(preset / path)

    library(monkeypatch, "kagglehub", model_download=model_download)
    assert kgen.load("kaggle://user/model/keras/small/3").dim == 3
    assert set(asked) == {"user/model/keras/small/3"}


def test_what_a_library_brought_is_checked_too(preset, tmp_path, monkeypatch):
    shutil.copytree(preset, tmp_path / "p")
    (tmp_path / "p" / "config.json").write_text("{}")
    library(monkeypatch, "kagglehub", model_download=lambda handle, path: str(tmp_path / "p" / path))
    with pytest.raises(ValueError, match=r"kaggle://u/m/keras/v/1/config.json: expected SHA-256"):
        kgen.from_preset("kaggle://u/m/keras/v/1")


@pytest.mark.parametrize(
    ("address", "name"), [("hf://u/m@main", "huggingface_hub"), ("kaggle://u/m/keras/v/1", "kagglehub")]
)
def test_a_library_that_is_missing(address, name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=rf"{address} needs {name}. Install it by: pip install {name}"):
        kgen.from_preset(address)


@pytest.mark.parametrize(
    "address",
    [
        "hf://user/model",  # whatever is newest is not something that was looked at
        "hf://user@main",
        "hf://../../x@main",
        "hf://user/model@../x",
        "kaggle://user/model",
        "kaggle://user/model/keras/small/latest",
        "https://example.org/p.zip",
        "https://example.org/p.zip#sha256=abc",
        f"http://example.org/p.zip#sha256={HASH}",
        f"file:///etc/passwd#sha256={HASH}",
        "s3://bucket/key",
    ],
)
def test_addresses_of_another_form(address):
    with pytest.raises(ValueError, match=r"name: expected 'hf://user/repo@revision', 'kaggle.*, received "):
        kgen.from_preset(address)


# Archives.


def zipped(folder, path, prefix=""):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        if prefix:
            archive.mkdir(prefix)
        for file in sorted(folder.iterdir()):
            archive.write(file, prefix + file.name)
    return path


@pytest.fixture
def server(tmp_path):
    """A server of the files in a folder: (folder, its address, the paths it was asked for)."""
    folder, asked = tmp_path / "served", []
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=folder)

        def do_GET(self):
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{running.server_port}", asked
        running.shutdown()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache; and addresses without TLS, which a local server has not."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(remote, "HTTPS", remote.re.compile(remote.HTTPS.pattern.replace("https://", "https?://")))
    return tmp_path / "home" / "kgen"


@pytest.mark.parametrize("prefix", ["", "p/"])
def test_an_archive_with_its_hash(prefix, preset, server, cache):
    folder, base, asked = server
    digest = hashlib.sha256(zipped(preset, folder / "p.zip", prefix).read_bytes()).hexdigest()
    address = f"{base}/p.zip#sha256={digest}"
    assert kgen.from_preset(address).dim == 3
    assert sorted(p.name for p in (cache / digest).iterdir()) == sorted(p.name for p in preset.iterdir())
    assert kgen.from_preset(address).dim == 3 and len(asked) == 1  # the second time from the cache
    (cache / digest / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="expected SHA-256"):
        kgen.from_preset(address)


def test_another_hash_and_nothing_is_opened(preset, server, cache, monkeypatch):
    folder, base, _ = server
    zipped(preset, folder / "p.zip")
    monkeypatch.setattr(remote, "unpack", lambda *args: pytest.fail("it was opened"))
    with pytest.raises(
        ValueError, match=rf"p.zip: expected SHA-256 {HASH}, received [0-9a-f]{{64}}: it is another file"
    ):
        kgen.from_preset(f"{base}/p.zip#sha256={HASH}")
    assert list(cache.iterdir()) == []


def test_more_bytes_than_a_preset_may_have(server, cache, monkeypatch):
    folder, base, _ = server
    (folder / "p.zip").write_bytes(b"0" * 10_000)
    monkeypatch.setattr(remote, "LARGEST_ARCHIVE", 9_999)
    with pytest.raises(ValueError, match=r"p.zip: expected at most 9999 bytes, received more"):
        kgen.from_preset(f"{base}/p.zip#sha256={HASH}")
    assert list(cache.iterdir()) == []


def test_a_server_without_it(server, cache):
    with pytest.raises(OSError, match=r"nothing.zip could not be downloaded: HTTP Error 404"):
        kgen.from_preset(f"{server[1]}/nothing.zip#sha256={HASH}")
    assert list(cache.iterdir()) == []


def member(name, content=b"x", mode=0o100644, size=None):
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info, content


def archive(*members):
    def make(path, preset):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
            for info, content in members or [member(p.name, p.read_bytes()) for p in preset.iterdir()]:
                opened.writestr(info, content)

    return make


def whole_and(*members):
    return lambda path, preset: archive(*[member(p.name, p.read_bytes()) for p in preset.iterdir()], *members)(
        path, preset
    )


def edited(change):
    """A whole archive whose bytes were changed."""

    def make(path, preset):
        archive()(path, preset)
        path.write_bytes(change(path.read_bytes()))

    return make


def understated(content):
    """The table of contents says that a file has one byte."""
    start = content.index(b"PK\x01\x02")
    return content[: start + 24] + struct.pack("<L", 1) + content[start + 28 :]


def encrypted(content):
    start = content.index(b"PK\x01\x02")
    return content[: start + 8] + b"\x01" + content[start + 9 :]


ARCHIVES = {
    "a path that leaves": whole_and(member("../../payload")),  # CVE-2025-12060, and zip's own kin of it
    "an absolute path": whole_and(member("/etc/config.json")),
    "a path of Windows": whole_and(member("..\\payload")),
    "a link": archive(member("config.json", b"/etc/passwd", 0o120777)),
    "a device": archive(member("config.json", b"", 0o020644)),
    "a file twice": whole_and(member("x/config.json")),
    "code": whole_and(member("payload.py")),
    "two folders": archive(member("a/config.json"), member("b/README.md")),
    "a file that is missing": archive(member("config.json")),
    "nothing in it": lambda path, preset: zipfile.ZipFile(path, "w").close(),
    "a bomb": archive(member("config.json", b"0" * 2**24)),  # 16 KB that unpack to 16 MB
    "a bomb that says it is none": edited(understated),
    "a password": edited(encrypted),
    "a long table of contents": archive(*[member(f"{i}.json") for i in range(1000)]),
    "half of it": edited(lambda content: content[: len(content) // 2]),
    "no archive": lambda path, preset: path.write_bytes(b"no archive"),
    "nothing": lambda path, preset: path.write_bytes(b""),
    "another byte": edited(lambda content: content[:60] + bytes([content[60] ^ 0xFF]) + content[61:]),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ARCHIVES)
def test_archives_that_are_refused(name, preset, tmp_path):
    path, target = tmp_path / "p.zip", tmp_path / "inside" / "target"
    target.mkdir(parents=True)
    ARCHIVES[name](path, preset)
    with pytest.raises(ValueError, match=r"^here: .*expected"):
        remote.unpack(path, target, "here")
    assert {p.name for p in target.iterdir()} <= set(remote.NAMES)
    assert not any(p.stat().st_size > 2**20 for p in target.iterdir())
    assert sorted(os.listdir(tmp_path)) == ["inside", "p.zip"]
    assert os.listdir(tmp_path / "inside") == ["target"]
    assert not pathlib.Path("payload").exists()
