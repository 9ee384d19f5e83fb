"""Sprites: pictures that are made of five known factors, in all their combinations, as in dSprites but fewer and smaller."""

import functools

import numpy as np

SHAPES = ("triangle", "half disc", "heart")
RADII = (4.0, 5.5, 7.0, 8.5)  # of the circle around a shape, in pixels
DIRECTIONS = 8  # steps of 45 degrees
PLACES = 8  # in each row and in each column, two pixels apart
FACTORS = {"shape": len(SHAPES), "size": len(RADII), "direction": DIRECTIONS, "row": PLACES, "column": PLACES}
PATCH = 18  # side of the square that holds a shape: place (i, j) begins at pixel (2 i, 2 j) of 32
FINE = 8  # antialiasing: a pixel is the share of 8 x 8 points that lie inside


def sprites():
    """Draws white shapes on black: three shapes, 4 sizes, 8 directions, 8 x 8 places, each combination once.

    No shape is symmetric under a rotation, so that no two pictures are the same and each factor can be read from a picture. The centre of
    mass is at the place, whatever the shape, size and direction: at (9 + 2 row, 9 + 2 column) pixels from the top left corner.

    Returns:
        (images, labels, None): uint8 (6144, 32, 32, 1) in the order of ``sprites_factors()``; int32 (6144,), the shape.
    Reference:
        Matthey et al., dSprites: disentanglement testing sprites dataset, 2017.
    """
    images = np.zeros((*FACTORS.values(), 32, 32, 1), "uint8")
    patches = _patches()
    for i, j in np.ndindex(PLACES, PLACES):
        images[..., i, j, 2 * i : 2 * i + PATCH, 2 * j : 2 * j + PATCH, 0] = patches
    return images.reshape(-1, 32, 32, 1), _grid()["shape"], None


def sprites_factors(*, split=None, seed=0, test_fraction=0.2):
    """The factors of each picture of ``load("sprites", split=split, seed=seed, test_fraction=test_fraction)``.

    Returns:
        dict of int32 (N,): "shape" 0..2 (triangle, half disc, heart), "size" 0..3 (4, 5.5, 7 and 8.5 pixels from the centre to the farthest
        point), "direction" 0..7 (45 degrees each, anticlockwise), "row" 0..7 (from the top) and "column" 0..7.
    Raises:
        ValueError: as ``load``.
    """
    from kgen.data.catalogue import check_split, rows_of

    seed = check_split(split, seed, test_fraction)
    grid = _grid()
    if split is None:
        return grid
    rows = rows_of(len(grid["shape"]), split, seed, test_fraction)
    return {name: values[rows] for name, values in grid.items()}


def _grid():
    indices = np.indices(tuple(FACTORS.values()), "int32").reshape(len(FACTORS), -1)
    return dict(zip(FACTORS, indices, strict=True))


@functools.cache
def _patches():
    """Each shape, size and direction in the middle of a patch: uint8 (3, 4, 8, PATCH, PATCH)."""
    steps = (np.arange(PATCH * FINE) + 0.5) / FINE - PATCH / 2
    y, x = np.meshgrid(-steps, steps, indexing="ij")  # upwards and to the right, in pixels
    patches = np.empty((len(SHAPES), len(RADII), DIRECTIONS, PATCH, PATCH), "uint8")
    for s, inside in enumerate((_triangle, _half_disc, _heart)):
        centre, radius = _circle(inside)
        for r, d in np.ndindex(len(RADII), DIRECTIONS):
            turned = (x + 1j * y) * np.exp(-2j * np.pi * d / DIRECTIONS) * radius / RADII[r] + centre
            share = inside(turned.real, turned.imag).reshape(PATCH, FINE, PATCH, FINE).mean((1, 3))
            patches[s, r, d] = np.rint(255 * share)
    return patches


def _triangle(x, y):  # narrow, with its tip upwards
    return (y >= 0) & (2.2 * np.abs(x) <= 1.6 - y)


def _half_disc(x, y):
    return (y >= 0) & (x**2 + y**2 <= 1)


def _heart(x, y):
    return (x**2 + y**2 - 1) ** 3 <= x**2 * y**3


def _circle(inside):
    """Centre of mass of a shape as a complex number, and the distance of its farthest point."""
    steps = np.linspace(-1.75, 1.75, 701)
    x, y = np.meshgrid(steps, steps)
    z = (x + 1j * y)[inside(x, y)]
    return z.mean(), np.abs(z - z.mean()).max()
