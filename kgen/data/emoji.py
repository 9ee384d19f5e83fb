"""Emoji as pictures: in colour, or the same characters in black lines; with eight groups and their names.

Characters, groups and names are those of Unicode's emoji-test.txt: fully qualified, of one code point with or without the variation selector
U+FE0F, without the flags. Every tenth by a hash of the code point is for testing, so that a character is on one side in colour and in lines,
and stays there when Unicode grows.
"""

import functools
import io
import os
import re
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

PLACES = {  # what is needed: Debian's package and the file in it
    "unicode-data": Path("/usr/share/unicode/emoji/emoji-test.txt"),
    "fonts-noto-color-emoji": Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"),
    "fonts-symbola": Path("/usr/share/fonts/truetype/ancient-scripts/Symbola_hint.ttf"),
}
FONTS = {"emoji": "fonts-noto-color-emoji", "emoji_outline": "fonts-symbola"}
GROUPS = (
    "Smileys & Emotion",
    "People & Body",
    "Animals & Nature",
    "Food & Drink",
    "Travel & Places",
    "Activities",
    "Objects",
    "Symbols",
)
LINE = re.compile(r"([0-9A-F]+)( FE0F)? *; fully-qualified +# \S+ E[\d.]+ (.+)")
CANVAS = 128  # pixels that a character is drawn on; 64 and 32 divide it
ABSENT = "\U0010ffff"  # no character by Unicode's promise: every font draws it as it draws what it does not have


class Emoji(NamedTuple):
    """A character, the number of its group and its name in English."""

    character: str
    group: int
    caption: str

    @property
    def is_test(self):
        return zlib.crc32(b"%x" % ord(self.character)) % 10 == 0


def pictures(name, image_size=None):
    """Draws "emoji" or "emoji_outline".

    Args:
        name: "emoji", in colour on white, or "emoji_outline", grey: black lines on white of the characters that the font has.
        image_size: (height, width) that is wanted. Drawn at 128 pixels, reduced to 64 or 32 by averages over 2x2 or 4x4: to the smallest
            that is not below it, to 32 where None. From there to other sizes is the caller's work.
    Returns:
        (images, labels, number of training rows): uint8 (N, S, S, C), C = 3 or 1, training rows first; int32 (N,), places in ``GROUPS``.
    Raises:
        FileNotFoundError: a font or the table is not installed.
        ValueError: a file is not what it should be.
    """
    side = next((s for s in (32, 64) if max(image_size or (32,)) <= s), CANVAS)
    emoji, images = _drawn(*_files(name), side)
    return images, np.array([e.group for e in emoji], "int32"), sum(not e.is_test for e in emoji)


def emoji_captions(name="emoji", *, split=None):
    """The English names of emoji, to train a model with captions on: "red heart", "grinning face with sweat".

    Args:
        name: "emoji" or "emoji_outline".
        split: None for all, "train" or "test".
    Returns:
        list of str, one for each row of ``load(name, split=split)``.
    Raises:
        ValueError: another name or split.
        FileNotFoundError: as ``load``.
    """
    if name not in FONTS:
        raise ValueError(f"name: expected {' or '.join(map(repr, FONTS))}, received {name!r}.")
    if split not in (None, "train", "test"):
        raise ValueError(f'split must be None, "train" or "test", received {split!r}.')
    return [e.caption for e in _drawn(*_files(name), 32)[0] if split is None or e.is_test == (split == "test")]


def _files(name):
    """The paths of the table and the font: in the folder that KGEN_DATA names, else where Debian's packages have them."""
    found, missing = [], []
    for package in ("unicode-data", FONTS[name]):
        places = [PLACES[package]]
        if os.environ.get("KGEN_DATA"):
            places.insert(0, Path(os.environ["KGEN_DATA"]) / PLACES[package].name)
        found.append(next((p for p in places if p.is_file()), None))
        missing += [package] * (found[-1] is None)
    if missing:
        looked = ", ".join(str(PLACES[package]) for package in missing)
        raise FileNotFoundError(
            f"{name} is not installed: there is no {looked}, nor a file of that name in the folder that the environment variable KGEN_DATA "
            f"names. Install it with: apt-get install {' '.join(missing)}"
        )
    return found


def read_table(path):
    """The emoji of an emoji-test.txt, in its order: a list of ``Emoji``."""
    group, found = None, []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# group: "):
            group = line.removeprefix("# group: ").strip()
        elif group in GROUPS and (match := LINE.fullmatch(line)):
            found.append(Emoji(chr(int(match[1], 16)), GROUPS.index(group), match[3]))
    if not found:
        raise ValueError(f"{path} has no emoji: expected Unicode's emoji-test.txt. Install unicode-data again.")
    return found


@functools.lru_cache(maxsize=4)  # a second of drawing
def _drawn(table, font, side):
    """(emoji that the font has, training rows first; their pictures, uint8 (N, side, side, C), which cannot be written to)."""
    from PIL import Image, ImageDraw

    colour = font.name == PLACES[FONTS["emoji"]].name

    def picture(character):
        image = Image.new("RGB" if colour else "L", (CANVAS, CANVAS), "white")
        (_in_colour if colour else _in_lines)(ImageDraw.Draw(image), character, font)
        return np.asarray(image.reduce(CANVAS // side)).reshape(side, side, -1)

    absent = picture(ABSENT)
    emoji = sorted(read_table(table), key=lambda e: e.is_test)  # the order is kept within each part
    found = [(e, image) for e in emoji if not np.array_equal(image := picture(e.character), absent)]
    images = np.stack([image for _, image in found])
    images.flags.writeable = False  # they are kept, and given out again
    return [e for e, _ in found], images


def _in_colour(canvas, character, font):
    # The font's bitmaps are 136 wide and 128 high, empty in the four columns on each side.
    canvas.text((-4, 0), character, font=_font(font, 109), embedded_color=True)


def _in_lines(canvas, character, font):
    left, top, right, bottom = _font(font, 116).getbbox(character)
    size = 116 if max(right - left, bottom - top) <= 120 else int(116 * 120 / max(right - left, bottom - top))
    left, top, right, bottom = _font(font, size).getbbox(character)
    place = (CANVAS - right - left) // 2, (CANVAS - bottom - top) // 2
    canvas.text(place, character, fill=0, font=_font(font, size))


@functools.lru_cache(maxsize=64)
def _font(path, size):
    from PIL import ImageFont

    try:
        # Not by its path: for a damaged file Pillow would take another of that name. Of its two layout engines the one that is always there.
        return ImageFont.truetype(io.BytesIO(path.read_bytes()), size, layout_engine=ImageFont.Layout.BASIC)
    except OSError as error:
        package = next(p for p, place in PLACES.items() if place.name == path.name)
        raise ValueError(
            f"{path} is damaged or another font, it cannot be drawn at {size} pixels ({error}). "
            f"Install it again: apt-get install --reinstall {package}"
        ) from error
