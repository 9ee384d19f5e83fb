"""Text: the standard library's own sources, or the user's file."""

import os
import sysconfig
from pathlib import Path


def load_text(name, *, split=None, test_fraction=0.1):
    """Loads a text, whole or split: the last part of it is held out.

    Args:
        name: "python", the modules that lie directly in the folder of the running Python's standard library, about 5 million
            characters, one after the other in the order of their names; or a path to a UTF-8 text file.
        split: None for all of it, "train" for the first ``1 - test_fraction``, "test" for the rest.
        test_fraction: float in (0, 1).
    Returns:
        str, with newlines as "\\n".
    Raises:
        TypeError: ``name`` is neither a name nor a path.
        ValueError: a wrong option, a file that is not UTF-8, or no text for one of the parts.
        FileNotFoundError: there is no such file, or the library's sources are not installed.
    """
    if not isinstance(name, (str, os.PathLike)):
        raise TypeError(f'name must be "python" or a path to a text file, received {type(name).__name__}.')
    if split not in (None, "train", "test"):
        raise ValueError(f'split must be None, "train" or "test", received {split!r}.')
    if isinstance(test_fraction, bool) or not isinstance(test_fraction, (int, float)) or not 0 < test_fraction < 1:
        raise ValueError(f"test_fraction must lie between 0 and 1, both excluded, received {test_fraction!r}.")
    text = python_sources() if name == "python" else _read(Path(name).expanduser())
    if split is None:
        return text
    end = len(text) - round(test_fraction * len(text))
    if not 0 < end < len(text):
        raise ValueError(
            f"{name}: {len(text)} characters with test_fraction={test_fraction} leave nothing for one of the parts."
        )
    return text[:end] if split == "train" else text[end:]


def python_sources():
    """The standard library's top-level modules as one text, in the order of their names.

    Raises:
        FileNotFoundError: the sources are not there, as where Python is one frozen file.
    """
    folder = Path(sysconfig.get_paths()["stdlib"])
    files = sorted(folder.glob("*.py"), key=lambda file: file.name)
    if not files:
        raise FileNotFoundError(f"python: there are no sources of the standard library in {folder}.")
    return "".join(_read(file) for file in files)


def _read(path):
    if not path.is_file():
        hint = ' The only text known by name is "python".' if path.parent == Path() else ""
        raise FileNotFoundError(f"{path}: there is no such file.{hint}")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} must be UTF-8 text; byte {error.start} is not. Convert it, as by: iconv -f latin1 -t utf-8."
        ) from None
