"""Text and windows of it."""

import sysconfig
from pathlib import Path

import numpy as np
import pytest

from kgen.data import TokenWindows, load_text


def test_the_standard_library_in_order():
    text = load_text("python")
    folder = Path(sysconfig.get_paths()["stdlib"])
    assert 2_000_000 < len(text) < 10_000_000
    names = [p.name for p in sorted(folder.glob("*.py"), key=lambda p: p.name)]
    places = [text.index((folder / name).read_text(encoding="utf-8")) for name in (names[0], names[5], names[-1])]
    assert places == sorted(places) and places[0] == 0 < places[1]


@pytest.mark.parametrize("fraction", [0.1, 0.25])
def test_the_tail_is_held_out(tmp_path, fraction):
    file = tmp_path / "a.txt"
    file.write_text("".join(chr(33 + i) for i in range(80)) + "é🙂\n" * 10, encoding="utf-8")
    whole, train, test = (load_text(file, split=split, test_fraction=fraction) for split in (None, "train", "test"))
    assert train + test == whole and len(whole) == 110 and len(test) == round(110 * fraction)
    assert load_text(str(file)) == whole


def test_errors(tmp_path):
    with pytest.raises(
        FileNotFoundError, match='pyton: there is no such file. The only text known by name is "python"'
    ):
        load_text("pyton")
    with pytest.raises(TypeError, match='name must be "python" or a path to a text file, received int'):
        load_text(3)
    with pytest.raises(ValueError, match='split must be None, "train" or "test", received \'val\''):
        load_text("python", split="val")
    with pytest.raises(ValueError, match="test_fraction must lie between 0 and 1, both excluded, received 1"):
        load_text("python", test_fraction=1)
    (tmp_path / "latin.txt").write_bytes("é".encode("latin1") * 5)
    with pytest.raises(ValueError, match="latin.txt must be UTF-8 text; byte 0 is not"):
        load_text(tmp_path / "latin.txt")
    (tmp_path / "short.txt").write_text("abc")
    with pytest.raises(ValueError, match="3 characters with test_fraction=0.1 leave nothing for one of the parts"):
        load_text(tmp_path / "short.txt", split="test")


def test_windows_are_pieces_of_the_tokens():
    windows = TokenWindows(np.arange(100), 10, batch_size=4, steps=3, seed=1)
    assert len(windows) == 3
    batches = [windows[i][0] for i in range(3)]
    for batch in batches:
        assert batch.shape == (4, 10) and batch.dtype == np.int32
        np.testing.assert_array_equal(np.diff(batch), 1)
    again = TokenWindows(np.arange(100), 10, batch_size=4, steps=3, seed=1)
    np.testing.assert_array_equal(again[2][0], batches[2])
    again.on_epoch_end()
    assert not np.array_equal(again[2][0], batches[2]) and not np.array_equal(batches[0], batches[1])
    assert not np.array_equal(TokenWindows(np.arange(100), 10, batch_size=4, seed=2)[0][0], batches[0])


def test_windows_to_evaluate_on_stay_the_same():
    windows = TokenWindows(np.arange(100), 10, batch_size=4, steps=3, anew=False)
    before = windows[1][0]
    windows.on_epoch_end()  # as Keras calls it after each evaluation
    np.testing.assert_array_equal(windows[1][0], before)


def test_every_window_is_possible_and_an_epoch_covers_the_tokens_once():
    windows = TokenWindows(np.arange(12), 10, batch_size=50)
    assert len(windows) == 1 and set(windows[0][0][:, 0]) == {0, 1, 2}
    assert len(TokenWindows(np.arange(1000), 10, batch_size=4)) == 25


def test_errors_of_windows():
    with pytest.raises(
        ValueError,
        match=r"tokens: expected integers \(n,\), received float64 of shape \(3,\). A text becomes tokens by",
    ):
        TokenWindows(np.zeros(3), 2)
    with pytest.raises(ValueError, match="length: expected at most the 3 tokens that there are, received 4"):
        TokenWindows([1, 2, 3], 4)
    with pytest.raises(ValueError, match="batch_size: expected an integer of at least 1, received 0"):
        TokenWindows([1, 2, 3], 2, batch_size=0)
