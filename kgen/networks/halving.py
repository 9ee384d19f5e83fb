"""How often images can be halved, and how many channels networks have at each size."""

from kgen.core import checks


def halvings(shape, most=4):
    """How often both sides of an image (H, W, C) can be halved evenly, down to 4 pixels or fewer."""
    sides, count = shape[:2], 0
    while count < most and max(sides) > 4 and all(s % 2 == 0 for s in sides):
        sides, count = [s // 2 for s in sides], count + 1
    return count


def by_size(width, levels):
    """Channels at each of ``levels`` + 1 sizes, the smallest image first: ``width`` itself where it is a sequence, else as many at the first
    three and then halved with each doubling, 8 at least."""
    width = a_number_or_several(width)
    if not isinstance(width, list):
        return [max(width // 2 ** max(k - 2, 0), 8) for k in range(levels + 1)]
    if len(width) != levels + 1:
        raise ValueError(
            f"width: expected a number, or one for each of the {levels + 1} sizes, the smallest first, received {width}."
        )
    return width


def a_number_or_several(width):
    """``width`` as configurations keep it: an int, or a list of them."""
    if isinstance(width, (list, tuple)):
        return [checks.positive_int("width", w) for w in width]
    return checks.positive_int("width", width)
