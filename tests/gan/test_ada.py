"""ADA: how p moves, what the transformations do, and that nothing leaks at p = 0."""

import keras
import numpy as np
import pytest
from gan.parts import dense
from keras import ops

import kgen
from kgen import backend
from kgen.core import random
from kgen.gan import ADA, GAN, R1

RNG = np.random.default_rng(0)
SEEDS = random.row_seeds(0, 200)


def images(channels=3, n=200, size=6):
    return RNG.uniform(-1, 1, (n, size, size, channels)).astype("float32")


def augmented(x, p, **kwargs):
    ada = ADA(p=p, images=None, **kwargs)
    state = {name: ops.convert_to_tensor(float(v)) for name, v in ada.state().items()}
    return ops.convert_to_numpy(ada(ops.convert_to_tensor(x), ops.convert_to_tensor(SEEDS[: len(x)]), state))


@pytest.mark.parametrize("channels", [1, 3])
def test_nothing_leaks_at_p_0(channels):
    x = images(channels)
    np.testing.assert_array_equal(augmented(x, 0.0), x)


def test_some_rows_are_changed_and_a_row_by_its_seed_alone():
    x = images()
    half, whole = augmented(x, 0.2), augmented(x, 1.0)
    same = (half == x).all((1, 2, 3)).mean()
    assert 0 < same < 0.4 and (whole == x).all((1, 2, 3)).mean() == 0
    np.testing.assert_allclose(augmented(x[:7], 0.2), half[:7], atol=1e-5)


def test_pixel_blitting_moves_pixels_as_they_are():
    x = images(1, size=8)  # up to one pixel of translation
    y = augmented(x, 1.0, geometric=False, colour=False)
    for a, b in zip(x, y, strict=True):
        assert np.abs(b.ravel()[:, None] - a.ravel()).min(1).max() < 1e-5  # each is one of the image's
    turned = {(k, f) for k in range(4) for f in (0, 1)}
    found = {
        (k, f)
        for a, b in zip(x, y, strict=True)
        for k, f in turned
        if np.abs(np.rot90(a[:, ::-1] if f else a, k)[2:6, 2:6] - b[2:6, 2:6]).max() < 1e-5
    }
    assert found == turned  # without a translation each of the eight is met


def test_geometric_transformations_move_and_keep_a_picture():
    """A bright disc in the middle, which no rotation changes, stays about as bright and moves by an eighth of the size."""
    size = 33
    r, c = np.mgrid[:size, :size] - size // 2
    disc = np.exp(-(r**2 + c**2) / 18.0).astype("float32")
    x = np.repeat(disc[None, ..., None], 200, 0)
    y = augmented(x, 1.0, pixel=False, colour=False)[..., 0]
    assert y.min() > -1e-3 and y.max() <= 1 + 1e-3  # Lanczos' window may swing by so much about a smooth disc
    weights = y / y.sum((1, 2), keepdims=True)
    shift = np.stack([(weights * r).sum((1, 2)), (weights * c).sum((1, 2))])
    assert 0.7 * size / 8 < shift.std() < 1.3 * size / 8 and abs(shift.mean()) < 1
    area = y.sum((1, 2)) / disc.sum()
    assert abs(np.log2(area).mean()) < 0.15 and 0.25 < np.log2(area).std() < 0.55  # two sides of 2^(0.2 n)


def test_moved_pictures_stay_sharp():
    """Noise, which has all frequencies alike, keeps 0.8^2 of its variance wherever between pixels it is read (bilinearly (2/3)^2)."""
    noise = RNG.normal(size=(64, 16, 16, 1)).astype("float32")
    moved = augmented(noise, 1.0, pixel=False, colour=False)
    assert 0.56 < (moved**2).mean() / (noise**2).mean() < 0.75


def test_colours():
    """With one colour in an image, what is done to it is a matrix: grey stays on its line, and hue keeps its distance from it."""
    x = np.tile(np.array([0.5, -0.2, 0.1], "float32"), (200, 2, 2, 1))
    y = augmented(x, 1.0, pixel=False, geometric=False)[:, 0, 0]
    grey = np.full((200, 2, 2, 3), 0.3, "float32")
    z = augmented(grey, 1.0, pixel=False, geometric=False)[:, 0, 0]
    assert np.ptp(z, axis=1).max() < 1e-5 and (z < 0).any() and (z > 0).any()  # luma is reversed in half of them
    rest = y - y.mean(1, keepdims=True)
    ratio = np.linalg.norm(rest, axis=1) / np.linalg.norm(x[0, 0, 0] - x[0, 0, 0].mean())
    assert abs(np.log2(ratio).std() - np.hypot(1, 0.5)) < 0.2  # saturation and contrast
    angle = np.arctan2(rest @ [0, 1, -1] / 2**0.5, rest @ [2, -1, -1] / 6**0.5)
    assert abs(angle.mean()) < 0.5 and abs(angle.std() - np.pi / 3**0.5) < 0.3  # uniform


def test_gradients_flow_through_it_twice():
    x = images(3, n=8)

    def slope(v):
        ada = ADA(p=0.8)
        state = {"p": ops.convert_to_tensor(0.8)}
        return ops.sum(ops.square(ada(v, ops.convert_to_tensor(SEEDS[:8]), state)), axis=(1, 2, 3))

    gradient = ops.convert_to_numpy(backend.grad(slope, ops.convert_to_tensor(x)))
    assert np.isfinite(gradient).all() and (np.abs(gradient).sum((1, 2, 3)) > 0).all()

    def second(v):
        return ops.sum(ops.square(backend.grad(slope, v)), axis=(1, 2, 3))

    again = ops.convert_to_numpy(backend.grad(second, ops.convert_to_tensor(x)))
    assert np.isfinite(again).all() and np.abs(again).sum() > 0


def test_p_moves_at_the_papers_rate():
    ada = ADA(images=1000)
    state = {name: ops.convert_to_tensor(float(v)) for name, v in ada.state().items()}
    found = []
    for known in [1.0] * 8 + [0.5] * 8:  # r_t, above and below 0.6
        state = ada.next_state(state, {"sign": ops.convert_to_tensor(known)}, ops.convert_to_tensor(32.0))
        found.append(round(float(ops.convert_to_numpy(state["p"])), 4))
    up = 4 * 32 / 1000
    np.testing.assert_allclose(found, [0, 0, 0, up, up, up, up, 2 * up] + [2 * up] * 3 + [up] * 4 + [0], atol=1e-4)
    assert float(ops.convert_to_numpy(state["p"])) == pytest.approx(0.0, abs=1e-6)


def model(**kwargs):
    return GAN(
        (4, 4, 1),
        3,
        generator=dense((3,), 16, "generator", (4, 4, 1)),
        discriminator=dense((4, 4, 1), 1, "discriminator"),
        augmentation=ADA(images=256, **kwargs),
        regularizers=R1(0.1, every=2),
    )


def test_in_training_p_follows_the_discriminator_and_is_saved(tmp_path):
    x = images(1, n=32, size=4)
    confident = model(p=0.5)
    confident.compile(keras.optimizers.SGD(0.0))
    # Lost first; p moves every fourth batch.
    for bias, batches, end, mean in ((-5.0, 8, 0.0, 0.1875), (5.0, 5, 0.8, 0.62)):
        confident.discriminator_augmentation_p.assign(0.5)
        confident.discriminator.set_weights([*confident.discriminator.get_weights()[:-1], np.full(1, bias, "float32")])
        history = confident.fit(np.tile(x, (batches, 1, 1, 1)), batch_size=32, verbose=0).history
        assert history["discriminator_augmentation_p"] == [pytest.approx(mean)]
        assert float(ops.convert_to_numpy(confident.discriminator_augmentation_p)) == pytest.approx(end)
    confident.save(tmp_path / "m.keras")
    again = kgen.load(tmp_path / "m.keras")
    assert again.augmentation == ADA(images=256, p=0.5)
    for each in (confident, again):
        each.fit(np.tile(x, (3, 1, 1, 1)), batch_size=32, shuffle=False, verbose=0)
    for a, b in zip(confident.variables, again.variables, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(a), ops.convert_to_numpy(b), err_msg=a.path)


def test_wrong_arguments():
    with pytest.raises(
        ValueError, match=r"augmentation: ADA changes images of 1 or 3 channels, .*received shape \(2,\)"
    ):
        GAN((2,), 3, augmentation=ADA())
    with pytest.raises(ValueError, match="p: expected a number in"):
        ADA(p=2.0)
    with pytest.raises(TypeError, match="augmentation: expected a kgen.gan.Augmentation or None, received 'ada'"):
        GAN((4, 4, 1), 3, augmentation="ada")
