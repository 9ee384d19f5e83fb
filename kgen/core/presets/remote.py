"""Presets from elsewhere: Hugging Face, Kaggle, and archives at an address whose hash is known."""

import hashlib
import http.client
import importlib
import os
import pathlib
import re
import stat
import tempfile
import urllib.error
import urllib.request
import zipfile

from kgen.core.presets.folder import LARGEST, NAMES
from kgen.core.saving import aside

PART = r"[A-Za-z0-9][A-Za-z0-9._-]*"
HUGGING_FACE = re.compile(rf"hf://({PART}/{PART})@([A-Za-z0-9][A-Za-z0-9._/-]*)")
KAGGLE = re.compile(rf"kaggle://({PART}/{PART}/{PART}/{PART}/[0-9]+)")
HTTPS = re.compile(r"(https://[^#\s]+)#sha256=([0-9a-fA-F]{64})")
FORMS = "'hf://user/repo@revision', 'kaggle://user/model/framework/variation/version' or 'https://.../preset.zip#sha256=<64 hex digits>'"
LARGEST_ARCHIVE = sum(LARGEST.values())
LARGEST_DIRECTORY = 2**12  # bytes of a zip file's table of contents: four files and a folder take about 400
SECONDS = 60  # without an answer


def is_address(name):
    """Whether a preset's name is an address, not a path."""
    return "://" in str(name)


def fetch(address):
    """The files of a preset at an address, downloaded if they are not here yet.

    Args:
        address: in one of the forms of ``FORMS``. A commit as the revision, a version, and the hash say what is to be there for good.
    Returns:
        dict from each of a preset's file names to a local file.
    Raises:
        ValueError: the address has another form; or what is there is not what the hash says, or no preset.
        ImportError: the library for that address is not installed.
        OSError: it cannot be reached.
    """
    if match := HUGGING_FACE.fullmatch(address):
        repository, revision = match.groups()
        download = _library("huggingface_hub", address).hf_hub_download
        found = {n: download(repository, n, revision=revision) for n in NAMES}
    elif match := KAGGLE.fullmatch(address):
        download = _library("kagglehub", address).model_download
        found = {n: download(match[1], path=n) for n in NAMES}
    elif match := HTTPS.fullmatch(address):
        folder = _unpacked(match[1], match[2].lower())
        found = {n: folder / n for n in NAMES}
    else:
        raise ValueError(f"name: expected {FORMS}, received {address!r}.")
    # The libraries' caches hold links to files of their own.
    return {n: pathlib.Path(p).resolve(strict=True) for n, p in found.items()}


def repository(address):
    """A function that gives the local path of a file of a Hugging Face repository, by its name there; None where it has no such file.

    Args:
        address: "hf://user/repo@revision".
    Raises:
        ValueError, ImportError, OSError: as ``fetch``; the function may raise the last too.
    """
    match = HUGGING_FACE.fullmatch(address)
    if not match:
        raise ValueError(f"name: expected 'hf://user/repo@revision', received {address!r}.")
    download = _library("huggingface_hub", address).hf_hub_download
    errors = _library("huggingface_hub.utils", address)

    def get(name):
        try:
            return pathlib.Path(download(match[1], name, revision=match[2])).resolve(strict=True)
        except errors.EntryNotFoundError as error:
            if isinstance(error, errors.LocalEntryNotFoundError):  # the server did not answer
                raise
            return None

    return get


def _library(name, address):
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        name = name.partition(".")[0]
        raise ImportError(f"{address} needs {name}. Install it by: pip install {name}") from error


def _unpacked(url, sha256):
    """The folder that holds what is in the archive with that hash."""
    folder = pathlib.Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "kgen" / sha256
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as beside:
            archive = pathlib.Path(beside, "archive")
            download(url, archive, sha256)
            try:
                with aside(folder) as temporary:
                    temporary.mkdir()
                    unpack(archive, temporary, url)
            except OSError:
                if not folder.is_dir():  # else another process was faster
                    raise
    return folder


def download(url, path, sha256):
    """Downloads a file.

    Raises:
        ValueError: it has another SHA-256, or more than ``LARGEST_ARCHIVE`` bytes.
        OSError: the server does not answer, or has no such file.
    """
    digest, size = hashlib.sha256(), 0
    request = urllib.request.Request(url, headers={"User-Agent": "kgen"})
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer, open(path, "wb") as file:
            while block := answer.read(2**20):
                size += len(block)
                if size > LARGEST_ARCHIVE:
                    raise ValueError(f"{url}: expected at most {LARGEST_ARCHIVE} bytes, received more.")
                digest.update(block)
                file.write(block)
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError) as error:
        raise OSError(f"{url} could not be downloaded: {error}") from error
    if digest.hexdigest() != sha256:
        raise ValueError(
            f"{url}: expected SHA-256 {sha256}, received {digest.hexdigest()}: it is another file than the address says. "
            "Nothing of it was opened."
        )


def unpack(archive, folder, where):
    """Writes a preset's files from a zip archive, where they stand at the top or in one folder. No path of the archive is used.

    Raises:
        ValueError: the archive holds anything else, or more than a preset may.
    """
    with open(archive, "rb") as f:
        f.seek(max(0, archive.stat().st_size - 22))
        end = f.read()
    # Python reads the whole table of contents at once: how long it is stands at the file's end.
    if end[:4] != b"PK\x05\x06" or int.from_bytes(end[12:16], "little") > LARGEST_DIRECTORY:
        raise ValueError(f"{where}: expected a zip archive of a preset's files alone.")
    try:
        with zipfile.ZipFile(archive) as opened:
            members = _members(opened, where)
            for name, member in members.items():
                with opened.open(member) as source, open(folder / name, "wb") as target:
                    left = member.file_size
                    while block := source.read(min(2**20, left + 1)):
                        left -= len(block)
                        if left < 0:
                            raise ValueError(f"{where}: {name} is larger than the archive says.")
                        target.write(block)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, zipfile.zlib.error) as error:
        raise ValueError(f"{where}: expected a whole zip archive, received one that fails: {error}.") from error


def _members(archive, where):
    """The members of an archive by a preset's file names."""
    found, folders = {}, set()
    for member in archive.infolist():
        parent, _, name = member.filename.rpartition("/")
        kind = stat.S_IFMT(member.external_attr >> 16)
        folders.add(parent)
        if member.is_dir() and len(folders) == 1:
            continue
        if name not in NAMES or name in found or len(folders) > 1 or kind not in (0, stat.S_IFREG):
            raise ValueError(
                f"{where}: expected a preset's files alone ({', '.join(NAMES)}), received {member.filename[:80]!r} too."
            )
        if member.file_size > LARGEST[name]:
            raise ValueError(f"{where}: {name}: expected at most {LARGEST[name]} bytes, received {member.file_size}.")
        found[name] = member
    missing = [n for n in NAMES if n not in found]
    if missing:
        raise ValueError(f"{where}: expected a preset's files ({', '.join(NAMES)}), {missing[0]} is not there.")
    return found
