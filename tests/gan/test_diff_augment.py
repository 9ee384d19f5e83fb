"""DiffAugment: what each policy does; gradients of all augmentations of images against differences."""

import numpy as np
import pytest
from keras import ops

from kgen import backend
from kgen.core import random
from kgen.gan import ADA, DiffAugment

RNG = np.random.default_rng(0)
X = RNG.uniform(-1, 1, (60, 8, 8, 3)).astype("float32")
SEEDS = random.row_seeds(0, 60)


def changed(policy, x=X):
    run = backend.jit(lambda x, seeds: DiffAugment(policy)(x, seeds, {}))
    return ops.convert_to_numpy(run(ops.convert_to_tensor(x), ops.convert_to_tensor(SEEDS[: len(x)])))


def test_translation_moves_by_up_to_an_eighth_and_brings_zeros():
    y, moves = changed("translation"), set()
    padded = np.pad(X, [(0, 0), (1, 1), (1, 1), (0, 0)])
    for a, b in zip(padded, y, strict=True):
        found = [(i, j) for i in range(3) for j in range(3) if np.array_equal(a[i : i + 8, j : j + 8], b)]
        assert len(found) == 1
        moves.update(found)
    assert len(moves) == 9


def test_cutout_is_a_square_of_half_the_side():
    y = changed("cutout")
    cut = (y == 0).all(-1)
    assert np.array_equal(np.where(cut[..., None], X, y), X)
    sizes = {(int(c.any(1).sum()), int(c.any(0).sum())) for c in cut}
    assert max(sizes) == (4, 4) and min(min(s) for s in sizes) >= 2  # less where it is beyond an edge
    assert all(c.sum() == c.any(1).sum() * c.any(0).sum() for c in cut)


def test_colours_are_brightness_saturation_and_contrast():
    """On an image of one colour: the mean of its channels moves by up to 1/2, what differs from it grows by up to 2."""
    x = np.tile(np.array([0.5, -0.2, 0.3], "float32"), (60, 2, 2, 1))
    y = changed("color", x)
    brightness = y.mean((1, 2, 3)) - 0.2
    assert np.abs(brightness).max() < 0.5 and brightness.std() == pytest.approx(12**-0.5, abs=0.05)
    rest = y[:, 0, 0] - y[:, 0, 0].mean(1, keepdims=True)
    factor = rest[:, 0] / (x[0, 0, 0, 0] - 0.2)  # of saturation and contrast, both of mean 1
    assert factor.min() > 0 and factor.max() < 3 and factor.mean() == pytest.approx(1.0, abs=0.2)
    np.testing.assert_allclose(rest, factor[:, None] * (x[0, 0, 0] - 0.2), atol=1e-5)


def test_flips_and_rows_by_their_seed_alone():
    y = changed("flip")
    flipped = np.array([np.array_equal(a, b[:, ::-1]) for a, b in zip(X, y, strict=True)])
    assert 10 < flipped.sum() < 50 and np.array_equal(np.where(flipped[:, None, None, None], X[:, :, ::-1], X), y)
    everything = ("color", "translation", "cutout", "flip")
    np.testing.assert_allclose(changed(everything, X[:7]), changed(everything)[:7], atol=1e-6)


def state_of(augmentation):
    return {name: ops.convert_to_tensor(float(v)) for name, v in augmentation.state().items()}


@pytest.mark.parametrize(
    "augmentation", [DiffAugment(), DiffAugment("flip"), ADA(p=0.9, images=None)], ids=lambda a: type(a).__name__
)
def test_gradients_are_those_of_differences(augmentation):
    x, direction = X[:20], RNG.normal(size=(20, 8, 8, 3)).astype("float32")
    seeds, weights = (
        ops.convert_to_tensor(SEEDS[:20]),
        ops.convert_to_tensor(RNG.normal(size=(8, 8, 3)).astype("float32")),
    )

    def value(v):
        y = augmentation(ops.convert_to_tensor(v), seeds, state_of(augmentation))
        return ops.sum(weights * ops.tanh(y), axis=(1, 2, 3))

    slope = ops.convert_to_numpy(backend.jit(lambda v: backend.grad(value, v))(ops.convert_to_tensor(x)))
    compiled = backend.jit(value)
    step = 1e-2
    differences = (
        ops.convert_to_numpy(compiled(x + step * direction)) - ops.convert_to_numpy(compiled(x - step * direction))
    ) / (2 * step)
    np.testing.assert_allclose((slope * direction).sum((1, 2, 3)), differences, rtol=5e-3, atol=5e-2)


def test_wrong_arguments():
    with pytest.raises(ValueError, match="policy: expected one of 'flip', 'color', .*Did you mean 'cutout'"):
        DiffAugment("cutoff")
    with pytest.raises(ValueError, match=r"DiffAugment changes images, \(H, W, C\), received shape \(2,\)"):
        DiffAugment().check((2,))
