"""How often images can be halved."""


def halvings(shape, most=4):
    """How often both sides of an image (H, W, C) can be halved evenly, down to 4 pixels or fewer."""
    sides, count = shape[:2], 0
    while count < most and max(sides) > 4 and all(s % 2 == 0 for s in sides):
        sides, count = [s // 2 for s in sides], count + 1
    return count
