"""PixelCNN against what is known of it: causality, probabilities that sum to 1, samples that follow them, and two ways to sample."""

import itertools

import numpy as np
import pytest
from keras import ops

from kgen import backend
from kgen.autoregressive import PixelCNN
from kgen.autoregressive.mixture import LogisticMixture

GREY = {"shape": (4, 5, 1), "levels": 4}
COLOUR = {"shape": (3, 2, 3), "levels": 5}
CLASSES = {"shape": (3, 4, 1), "levels": 3, "num_classes": 3}


def pixelcnn(shape, **kwargs):
    """A small model whose weights are far from their start, biases too."""
    model = PixelCNN(shape, channels=8, blocks=2, components=2, ema=None, **kwargs)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(ops.convert_to_numpy(weight) + 0.2 * rng.standard_normal(weight.shape).astype("float32"))
    return model


def every_image(shape, levels):
    values = np.linspace(-1, 1, levels, dtype="float32")
    return np.array(list(itertools.product(values, repeat=int(np.prod(shape)))), "float32").reshape(-1, *shape)


def test_a_pixel_sees_all_of_its_past_and_nothing_of_its_future():
    model = pixelcnn(**GREY)
    size = 20
    x = np.random.default_rng(1).uniform(-1, 1, (1, *GREY["shape"])).astype("float32")
    parameters, pullback = backend.vjp(model.network, ops.convert_to_tensor(x))
    weights = np.random.default_rng(2).standard_normal(parameters.shape).astype("float32")
    sees = np.zeros((size, size), bool)
    for i in range(size):
        here = (np.arange(size) == i).reshape(1, *GREY["shape"])
        gradient = pullback(ops.convert_to_tensor(weights * here))
        sees[i] = ops.convert_to_numpy(gradient).reshape(-1) != 0
    np.testing.assert_array_equal(sees, np.tri(size, k=-1, dtype=bool))


@pytest.mark.parametrize("shape", [(1, 2, 1), (2, 1, 1), (1, 2, 2), (1, 1, 3)])
def test_probabilities_sum_to_one_over_all_images(shape):
    model = pixelcnn(shape, levels=3)
    log_prob = model.log_prob(every_image(shape, 3))
    np.testing.assert_allclose(np.exp(log_prob, dtype="float64").sum(), 1.0, atol=1e-5)
    assert log_prob.std() > 0.1


@pytest.mark.parametrize("shape", [(2, 2, 1), (1, 1, 3)])
def test_samples_follow_the_probabilities(shape):
    model = pixelcnn(shape, levels=3)
    images = every_image(shape, 3)
    probabilities = np.exp(model.log_prob(images), dtype="float64")
    n = 20_000
    samples = model.sample(n, seed=3, batch_size=n)
    same = (samples.reshape(n, 1, -1) == images.reshape(1, len(images), -1)).all(axis=-1)
    assert (same.sum(axis=1) == 1).all()
    expected = n * probabilities
    chi_squared = ((same.sum(axis=0) - expected) ** 2 / expected).sum()
    degrees = len(images) - 1
    assert abs(chi_squared - degrees) < 4 * np.sqrt(2 * degrees)


@pytest.mark.parametrize("arguments", [GREY, COLOUR, CLASSES], ids=["grey", "colour", "classes"])
def test_cached_sampling_is_naive_sampling(arguments):
    model = pixelcnn(**arguments)
    labels = {"labels": [0, 1, 2, 0, 1, 2]} if "num_classes" in arguments else {}
    cached, naive = (model.sample(6, seed=4, cached=cached, **labels) for cached in (True, False))
    np.testing.assert_array_equal(cached, naive)
    assert len(np.unique(cached)) == arguments["levels"]


def test_completed_images_keep_what_is_known_and_follow_from_it():
    model = pixelcnn(**GREY)
    images = model.sample(6, seed=5)
    mask = np.arange(20).reshape(4, 5) < 8
    x = np.where(mask[None, :, :, None], images, np.nan)  # what is not known may be anything
    # Given its own first pixels, and with its own random numbers, an image comes out again.
    np.testing.assert_array_equal(model.inpaint(x, mask, seed=5), images)
    other = model.inpaint(x, mask, seed=6)
    np.testing.assert_array_equal(other[:, mask], images[:, mask])
    assert (other[:, ~mask] != images[:, ~mask]).any()
    each = np.stack([np.full((4, 5), True), np.full((4, 5), False)] + [mask] * 4)
    np.testing.assert_array_equal(model.inpaint(np.ones_like(x), each, seed=5)[:1], np.ones((1, 4, 5, 1)))
    np.testing.assert_array_equal(model.inpaint(x, each * mask, seed=5)[1:], images[1:])


def logistic(x):
    return 1 / (1 + np.exp(-x))


def test_mixture_is_that_of_the_paper():
    """Eq. 1 to 3 by numpy, for RGB: the means of green and blue depend linearly on the channels before them."""
    mixture = LogisticMixture(3, components=2, levels=4)
    rng = np.random.default_rng(6)
    parameters = rng.standard_normal((64, mixture.size)).astype("float32")
    x = every_image((3,), 4)
    logits, red, red_scale, green, green_scale, a, blue, blue_scale, b, c = parameters.reshape(64, 10, 2).swapaxes(0, 1)
    r, g = x[:, :1], x[:, 1:2]
    means = [red, green + np.tanh(a) * r, blue + np.tanh(b) * r + np.tanh(c) * g]
    expected = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    for channel, (mean, scale) in enumerate(zip(means, (red_scale, green_scale, blue_scale), strict=True)):
        value = x[:, channel : channel + 1]
        upper = np.where(value > 0.99, 1.0, logistic((value + 1 / 3 - mean) / np.exp(scale)))
        lower = np.where(value < -0.99, 0.0, logistic((value - 1 / 3 - mean) / np.exp(scale)))
        expected = expected * (upper - lower)
    log_prob = mixture.log_prob(ops.convert_to_tensor(parameters), ops.convert_to_tensor(x))
    np.testing.assert_allclose(ops.convert_to_numpy(log_prob), np.log(expected.sum(axis=-1)), atol=1e-4)


def test_half_precision_keeps_the_levels():
    model = pixelcnn((2, 3, 1), levels=256, dtype="mixed_bfloat16")
    assert {layer.compute_dtype for layer in model.network.left_blocks} == {"bfloat16"}
    images = model.sample(4, seed=8)
    np.testing.assert_allclose((images + 1) * 127.5, np.round((images + 1) * 127.5), atol=1e-3)
    assert np.isfinite(model.log_prob(images)).all()


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: PixelCNN((4, 4)), "shape: expected (H, W, C), received (4, 4)"),
        (lambda: PixelCNN((4, 4, 1), levels=1), "levels: expected an integer of at least 2, received 1"),
        (lambda: PixelCNN((4, 4, 1), dropout=1.0), "dropout: expected a number in [0, 0.9], received 1.0"),
    ],
)
def test_wrong_arguments(call, message):
    with pytest.raises(ValueError) as error:
        call()
    assert message in str(error.value)


def test_wrong_data():
    model, classes = pixelcnn(**GREY), pixelcnn(**CLASSES)
    model.compile("adam")
    x = np.ones((2, 4, 5, 1), "float32")
    small = np.ones((2, 3, 4, 1), "float32")
    known = np.zeros((4, 5), bool)
    known[2] = True
    cases = [
        (lambda: model.fit(x * 0.5), "expected values at 4 equally spaced levels from -1 to 1, received 0.5 among others (100.0%"),
        (lambda: model.log_prob(x * 0.9), "np.round((x + 1) * 1.5) / 1.5 - 1"),
        (lambda: model.log_prob(x * 3), "x: expected values in [-1, 1], received [3, 3]"),
        (lambda: model.log_prob(x[:, :3]), "x: expected shape (N, 4, 5, 1), received (2, 3, 5, 1)"),
        (lambda: model.fit(x, np.zeros(2, int)), "y: this model has no classes"),
        (lambda: model.sample(2, labels=1), "labels: this model has no classes"),
        (lambda: classes.check_data(small), "needs labels: fit(x, labels)"),
        (lambda: classes.sample(2), "labels: this model has 3 classes; pass one int for all rows, or 2 of them in [0, 3)"),
        (lambda: classes.sample(2, labels=[0, 3]), "labels: expected integers in [0, 3), received values from 0 to 3"),
        (lambda: classes.log_prob(small), "labels: this model has 3 classes"),
        (lambda: model.inpaint(x, known), "mask: expected known pixels first, in raster order"),
        (lambda: model.inpaint(x, known * 1.0), "mask: expected bools of shape (4, 5) or (2, 4, 5)"),
        (lambda: model.inpaint(x, known[:3]), "received bool of shape (3, 5)"),
        (lambda: model.inpaint(x * 0.5, ~known & (np.arange(4) < 2)[:, None]), "equally spaced levels"),
        (lambda: model.sample(2, seed=-1), "seed: expected an integer"),
    ]  # fmt: skip
    for call, message in cases:
        with pytest.raises(ValueError) as error:
            call()
        assert message in str(error.value)
