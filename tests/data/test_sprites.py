"""Sprites: all combinations of the factors once, and what each factor does to a picture."""

import numpy as np
import pytest

from kgen.data import class_names, load, sprites_factors

COUNTS = {"shape": 3, "size": 4, "direction": 8, "row": 8, "column": 8}


@pytest.fixture(scope="module")
def grid():
    """The pictures in [0, 1], by their factors: (3, 4, 8, 8, 8, 32, 32)."""
    return ((load("sprites")[0] + 1) / 2).reshape(*COUNTS.values(), 32, 32)


def test_each_combination_once():
    x, y = load("sprites")
    factors = sprites_factors()
    assert x.shape == (6144, 32, 32, 1) and x.dtype == np.float32 and (x.min(), x.max()) == (-1, 1)
    assert {name: int(values.max()) + 1 for name, values in factors.items()} == COUNTS
    assert all(values.dtype == np.int32 for values in factors.values())
    assert len(set(zip(*factors.values(), strict=True))) == 6144 == len({row.tobytes() for row in x})
    np.testing.assert_array_equal(y, factors["shape"])
    assert class_names("sprites") == ("triangle", "half disc", "heart")


def test_the_centre_of_mass_is_at_the_place(grid):
    pixels, mass = np.arange(32) + 0.5, grid.sum((-2, -1))
    rows, columns = (grid.sum(axis) @ pixels / mass for axis in (-1, -2))
    np.testing.assert_allclose(rows, np.broadcast_to(9 + 2 * np.arange(8)[:, None], mass.shape), atol=0.06)
    np.testing.assert_allclose(columns, np.broadcast_to(9 + 2 * np.arange(8), mass.shape), atol=0.06)
    # Nothing is cut: a shape weighs the same at all of its places.
    np.testing.assert_allclose(mass, np.broadcast_to(mass[..., :1, :1], mass.shape), rtol=1e-5)


def test_size_shape_and_direction(grid):
    mass = grid[:, :, :, 3, 4].sum((-2, -1))
    # Areas grow with the square of the radius, and do not change as a shape turns.
    areas = (np.array([4, 5.5, 7, 8.5]) / 8.5) ** 2
    np.testing.assert_allclose(mass / mass[:, -1:], np.broadcast_to(areas[:, None], mass.shape), rtol=0.03)
    np.testing.assert_allclose(mass, np.broadcast_to(mass.mean(-1, keepdims=True), mass.shape), rtol=0.02)
    # A triangle of height 1.6 and width 1.6 / 1.1, whose farthest points are its lower corners or its tip.
    farthest = max(1.6 * 2 / 3, np.hypot(1.6 / 3, 1.6 / 2.2))
    np.testing.assert_allclose(mass[0, -1], 1.6 * (1.6 / 2.2) * (8.5 / farthest) ** 2, rtol=0.02)
    # Two steps are a quarter turn, anticlockwise; the patch's middle is between pixels, so it turns exactly.
    patch = grid[:, :, :, 3, 4, 6:24, 8:26]
    np.testing.assert_allclose(np.roll(np.rot90(patch, axes=(-2, -1)), 2, 2), patch, atol=2 / 255)
    # Direction 0: the tip is above, twice as far from the middle as the base is below.
    inked = np.flatnonzero(patch[0, -1, 0].max(1) > 0.05)
    assert 9 - inked[0] > 1.5 * (inked[-1] + 1 - 9)


def test_factors_follow_the_split():
    x, factors = load("sprites")[0], sprites_factors()
    place = np.ravel_multi_index(tuple(factors.values()), tuple(COUNTS.values()))
    np.testing.assert_array_equal(place, np.arange(6144))
    seen = []
    for split in ("train", "test"):
        part, labels = load("sprites", split=split, seed=3, test_fraction=0.25)
        of_part = sprites_factors(split=split, seed=3, test_fraction=0.25)
        rows = np.ravel_multi_index(tuple(of_part.values()), tuple(COUNTS.values()))
        np.testing.assert_array_equal(part, x[rows])
        np.testing.assert_array_equal(labels, of_part["shape"])
        seen.append(rows)
    assert len(seen[1]) == 1536 and sorted(np.concatenate(seen)) == list(range(6144))


def test_wrong_arguments():
    with pytest.raises(ValueError, match=r'split must be None, "train" or "test", received \'all\''):
        sprites_factors(split="all")
    with pytest.raises(ValueError, match="test_fraction must lie between 0 and 1"):
        sprites_factors(split="test", test_fraction=2)
