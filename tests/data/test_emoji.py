"""Emoji: which there are, their groups, names and colours; what is said where the fonts are not installed."""

import functools

import numpy as np
import pytest

from kgen.data import class_names, emoji, emoji_captions, load

TABLE = """# Version: 15.0
# group: Smileys & Emotion
1F600                ; fully-qualified     # 😀 E1.0 grinning face
263A FE0F            ; fully-qualified     # ☺️ E0.6 smiling face
263A                 ; unqualified         # ☺ E0.6 smiling face
1F62E 200D 1F4A8     ; fully-qualified     # 😮‍💨 E13.1 face exhaling
# group: Component
1F3FB                ; component           # 🏻 E1.0 light skin tone
# group: Flags
1F3C1                ; fully-qualified     # 🏁 E0.6 chequered flag
# group: Symbols
203C FE0F            ; fully-qualified     # ‼️ E0.6 double exclamation mark
"""


def installed(name):
    missing = [p for p in ("unicode-data", emoji.FONTS[name]) if not emoji.PLACES[p].is_file()]
    return pytest.mark.skipif(bool(missing), reason=f"{' and '.join(missing)} not installed")


IN_COLOUR, IN_LINES = installed("emoji"), installed("emoji_outline")
BOTH = [pytest.param("emoji", marks=IN_COLOUR), pytest.param("emoji_outline", marks=IN_LINES)]


@pytest.fixture(autouse=True)
def no_other_folder(monkeypatch):
    monkeypatch.delenv("KGEN_DATA", raising=False)


@pytest.fixture
def few(monkeypatch):
    """One in twenty emoji is drawn; what is kept of all of them stays."""
    read = emoji.read_table
    monkeypatch.setattr(emoji, "read_table", lambda path: read(path)[::20])
    monkeypatch.setattr(emoji, "_drawn", functools.lru_cache(emoji._drawn.__wrapped__))


def picture(name, caption):
    """The picture of that name, in [0, 1]."""
    return (load(name)[0][emoji_captions(name).index(caption)] + 1) / 2


def test_the_table_is_read(tmp_path):
    (tmp_path / "emoji-test.txt").write_text(TABLE, encoding="utf-8")
    found = emoji.read_table(tmp_path / "emoji-test.txt")
    assert found == [("😀", 0, "grinning face"), ("☺", 0, "smiling face"), ("‼", 7, "double exclamation mark")]
    (tmp_path / "emoji-test.txt").write_text("nothing")
    with pytest.raises(ValueError, match=r"emoji-test.txt has no emoji: expected Unicode's emoji-test.txt"):
        emoji.read_table(tmp_path / "emoji-test.txt")


def test_the_split_is_the_same_on_every_machine():
    # Frozen: zlib's CRC-32 of the code point in hexadecimal.
    found = [c for c in map(chr, range(0x1F600, 0x1F640)) if emoji.Emoji(c, 0, "").is_test]
    assert [f"{ord(c):x}" for c in found] == ["1f604", "1f606", "1f61a", "1f624", "1f625", "1f630", "1f632", "1f633"]


@pytest.mark.parametrize("name", BOTH)
def test_pictures_and_their_groups(name):
    x, y = load(name)
    assert x.shape == (len(y), 32, 32, 3 if name == "emoji" else 1) and x.dtype == np.float32 and y.dtype == np.int32
    assert x.min() >= -1 and x.max() == 1
    assert 1300 < len(x) < 1600 if name == "emoji" else 1000 < len(x) < 1600
    assert class_names(name) == emoji.GROUPS and len(emoji.GROUPS) == 8
    assert np.bincount(y, minlength=8).min() > 50 and y.max() == 7
    assert not (x == 1).all((1, 2, 3)).any()  # each has ink
    assert len({row.tobytes() for row in x}) > 0.95 * len(x)
    if "Version: 15.0" in emoji.PLACES["unicode-data"].read_text(encoding="utf-8"):
        counts = {
            "emoji": [160, 156, 148, 133, 218, 85, 261, 211],
            "emoji_outline": [138, 124, 111, 104, 200, 67, 197, 194],
        }
        np.testing.assert_array_equal(np.bincount(y), counts[name])


@pytest.mark.parametrize("name", BOTH)
def test_the_split_keeps_rows_and_captions_together(name):
    whole, captions = load(name), emoji_captions(name)
    train, test = (load(name, split=split, seed=seed) for split, seed in (("train", 0), ("test", 5)))
    names = [emoji_captions(name, split=split) for split in ("train", "test")]
    assert names[0] + names[1] == captions and len(set(captions)) == len(captions)
    assert len(names[0]) == len(train[0]) and len(names[1]) == len(test[0])
    for k in range(2):
        np.testing.assert_array_equal(np.concatenate([train[k], test[k]]), whole[k])
    assert 0.08 < len(test[0]) / len(whole[0]) < 0.12
    assert set(test[1]) == set(range(8))


@pytest.mark.skipif(not all(p.is_file() for p in emoji.PLACES.values()), reason="a font is not installed")
def test_both_split_alike():
    for split in ("train", "test"):
        assert set(emoji_captions("emoji_outline", split=split)) < set(emoji_captions("emoji", split=split))


@IN_COLOUR
@pytest.mark.parametrize(("caption", "channel"), [("red heart", 0), ("green heart", 1), ("blue heart", 2)])
def test_colours(caption, channel):
    image = picture("emoji", caption)
    ink = image[(image < 0.9).any(-1)]
    assert 0.3 < len(ink) / 32**2 < 0.9  # a heart fills much of its picture
    assert (ink.argmax(-1) == channel).mean() > 0.95
    np.testing.assert_array_equal(image[0, 0], 1)  # on white


@IN_COLOUR
def test_sizes_are_averages_of_one_another(few):
    small, large, whole = (load("emoji", image_size=size)[0] for size in (None, 64, (128, 100)))
    n = len(small)
    assert large.shape == (n, 64, 64, 3) and whole.shape == (n, 128, 100, 3) and 60 < n < 80
    np.testing.assert_allclose(small, large.reshape(n, 32, 2, 32, 2, 3).mean((2, 4)), atol=2.01 / 255)
    whole = load("emoji", image_size=128)[0]
    np.testing.assert_allclose(large, whole.reshape(n, 64, 2, 64, 2, 3).mean((2, 4)), atol=1.01 / 255)
    assert load("emoji", image_size=(20, 24), channels=1, split="test")[0].shape[1:] == (20, 24, 1)


@pytest.mark.parametrize("name", BOTH)
def test_nothing_is_cut(name, few):
    ink = (load(name, image_size=128)[0] < 0.9).any(-1)
    # Where ink reaches the border, it does so by few pixels: a round end, not a straight cut.
    assert max(side.mean(-1).max() for side in (ink[:, 0], ink[:, -1], ink[:, :, 0], ink[:, :, -1])) < 0.4
    for side in (ink.any(2), ink.any(1)):  # in the middle
        assert np.median(np.abs(side.argmax(1) - side[:, ::-1].argmax(1))) <= 4


@IN_LINES
def test_lines_are_black_on_white(few):
    x = load("emoji_outline", image_size=64)[0]
    assert x.min() == -1 and x.max() == 1 and (np.abs(x) == 1).mean() > 0.7
    assert (x > 0).mean((1, 2, 3)).min() > 0.2


@IN_LINES
def test_what_the_font_lacks_is_left_out():
    captions = emoji_captions("emoji_outline")
    assert "smiling face" in captions and "melting face" not in captions  # the font is older, and draws a box instead


@IN_COLOUR
def test_drawing_again_gives_the_same(few):
    x = load("emoji")[0]
    first = x.copy()
    x[:] = 0  # what is kept is not touched
    np.testing.assert_array_equal(load("emoji")[0], first)
    emoji._drawn.cache_clear()
    np.testing.assert_array_equal(load("emoji")[0], first)


def test_not_installed(tmp_path, monkeypatch):
    for package, path in emoji.PLACES.items():
        monkeypatch.setitem(emoji.PLACES, package, tmp_path / "none" / path.name)
    with pytest.raises(FileNotFoundError) as caught:
        load("emoji", split="test")
    message = str(caught.value)
    assert message.endswith("Install it with: apt-get install unicode-data fonts-noto-color-emoji")
    assert "emoji is not installed" in message and str(tmp_path / "none" / "NotoColorEmoji.ttf") in message
    # A folder of one's own is looked through first; what is there is not asked for.
    monkeypatch.setenv("KGEN_DATA", str(tmp_path))
    (tmp_path / "emoji-test.txt").write_text(TABLE, encoding="utf-8")
    with pytest.raises(FileNotFoundError, match=r"apt-get install fonts-symbola$"):
        emoji_captions("emoji_outline")
    (tmp_path / "NotoColorEmoji.ttf").write_bytes(b"no font")
    with pytest.raises(ValueError, match=r"NotoColorEmoji.ttf is damaged .*--reinstall fonts-noto-color-emoji"):
        load("emoji")


def test_wrong_arguments():
    with pytest.raises(ValueError, match="name: expected 'emoji' or 'emoji_outline', received 'digits'"):
        emoji_captions("digits")
    with pytest.raises(ValueError, match=r'split must be None, "train" or "test", received \'all\''):
        emoji_captions(split="all")
    with pytest.raises(ValueError, match=r"expected a dataset with classes, one of digits, .*; received 'moons'"):
        class_names("moons")
    assert class_names("pictures/of_mine", np.array([0, 2, 1])) == ("0", "1", "2")
