"""Posterior sampling: against the posterior of Gaussian data, which is known at every time."""

import functools

import keras
import numpy as np
import pytest
from keras import ops

import kgen
from kgen.core import random
from kgen.core.conditions import Conditions
from kgen.diffusion import (
    DDPM,
    AveragePooling,
    CosineSchedule,
    DDIMSampler,
    GaussianBlur,
    Grey,
    Masking,
    PosteriorGuidance,
    PosteriorRestoration,
    posterior_sample,
)
from kgen.diffusion.schedules import like

MEAN = np.array([0.1, -0.2, 0.3])
COVARIANCE = np.array([[0.25, 0.2, 0.0], [0.2, 0.25, 0.1], [0.0, 0.1, 0.36]])
ONE, TWO = np.array([[1.0, 0.5, -1.0]]), np.array([[1.0, 0.5, -1.0], [0.0, 1.0, 2.0]])


def operator(matrix):
    return functools.partial(_times, matrix=tuple(map(tuple, matrix)))


def _times(x, matrix):
    return ops.matmul(x, ops.cast(ops.transpose(ops.convert_to_tensor(np.array(matrix, "float32"))), x.dtype))


@keras.saving.register_keras_serializable(package="kgen_tests")
class Optimal(keras.layers.Layer):
    """The optimal estimate of the correlated Gaussian, as a network."""

    def call(self, inputs, training=False):
        x, t = inputs
        alpha, sigma = like(CosineSchedule().alpha(t), x), like(CosineSchedule().sigma(t), x)
        variances, directions = np.linalg.eigh(COVARIANCE)
        mean, variances, directions = (
            ops.convert_to_tensor(v.astype("float32")) for v in (MEAN, variances, directions)
        )
        gain = alpha * variances / (alpha**2 * variances + sigma**2)
        return mean + ops.matmul(gain * ops.matmul(x - alpha * mean, directions), ops.transpose(directions))


@pytest.fixture(scope="module")
def model():
    made = DDPM((3,), network=Optimal(), prediction="data", sampler=DDIMSampler(40), ema=None)
    made.compile(jit_compile=False)
    return made


def posterior(matrix, y, noise, x_t=None, alpha=0.0, sigma=1.0):
    """Mean and covariance of x_0 given y, and given x_t where it is there."""
    precision = np.linalg.inv(COVARIANCE) + (alpha / sigma) ** 2 * np.eye(3) + matrix.T @ matrix / noise**2
    told = np.linalg.solve(COVARIANCE, MEAN) + matrix.T @ y / noise**2 + (0 if x_t is None else alpha / sigma**2 * x_t)
    return np.linalg.solve(precision, told), np.linalg.inv(precision)


def estimates(model, matrix, iterations, noise):
    """The guided estimates of some x_t, and the exact ones."""
    rng = np.random.default_rng(0)
    t, x, y = np.linspace(0.05, 0.95, 8), rng.normal(size=(8, 3)), rng.normal(size=(8, len(matrix)))
    t, x, y = (v.astype("float32") for v in (t, x, y))
    around = PosteriorGuidance(ops.convert_to_tensor(y), operator(matrix), ops.full((8,), noise), iterations)
    guided = around.around(model.denoiser(), Conditions(), ops.ones((8,)))
    found = guided(ops.convert_to_tensor(x), ops.convert_to_tensor(t), {})
    levels = [ops.convert_to_numpy(f(t)) for f in (model.schedule.alpha, model.schedule.sigma)]
    np.testing.assert_allclose(
        sum(like(v, x) * ops.convert_to_numpy(part) for v, part in zip(levels, (found.data, found.noise), strict=True)),
        x,
        atol=1e-4,
    )
    exact = [posterior(matrix, *row)[0] for row in zip(y, [noise] * 8, x, *levels, strict=True)]
    return ops.convert_to_numpy(found.data), np.array(exact)


@pytest.mark.parametrize(("matrix", "noise"), [(ONE, 0.3), (TWO, 0.3)], ids=["one", "two"])
def test_with_as_many_iterations_as_measurements_it_is_exact(model, matrix, noise):
    np.testing.assert_allclose(*estimates(model, matrix, len(matrix), noise), atol=1e-3)


def test_with_fewer_it_comes_near(model):
    found, exact = estimates(model, TWO, 1, 0.3)
    plain = estimates(model, 1e-6 * TWO, 1, 0.3)[0]
    assert 1e-3 < np.abs(found - exact).mean() < 0.5 * np.abs(plain - exact).mean()


def test_samples_are_of_the_posterior(model):
    y, noise = np.array([1.2, 0.4]), 0.1
    rows = np.tile(y, (400, 1)).astype("float32")
    drawn = posterior_sample(model, rows, operator(TWO), noise=noise, iterations=2, seed=0)
    mean, covariance = posterior(TWO, y, noise)
    np.testing.assert_allclose(drawn.mean(0), mean, atol=0.06)
    np.testing.assert_allclose(np.cov(drawn.T), covariance, atol=0.02)
    assert np.abs(np.cov(drawn.T) - COVARIANCE).max() > 0.2
    few = posterior_sample(model, rows[:3], operator(TWO), noise=noise, iterations=2, seed=0)
    np.testing.assert_allclose(few, drawn[:3], atol=1e-5)
    exactly = posterior_sample(model, rows[:8], operator(TWO), iterations=2, seed=1)  # without noise
    np.testing.assert_allclose(exactly @ TWO.T, rows[:8], atol=0.02)


SIDES = (8, 8, 3)


def spectrum():
    """Variances and directions of pictures whose neighbouring pixels and colours are alike, standard deviation 0.3."""
    near = np.exp(-np.abs(np.arange(8)[:, None] - np.arange(8)) / 3.0)
    variances, directions = np.linalg.eigh(0.09 * np.kron(np.kron(near, near), 0.5 * np.eye(3) + 0.5))
    return variances.astype("float32"), directions.astype("float32")


@keras.saving.register_keras_serializable(package="kgen_tests")
class OptimalOfPictures(keras.layers.Layer):
    """The optimal estimate of such pictures, as a network."""

    def call(self, inputs, training=False):
        x, t = inputs
        alpha, sigma = (ops.reshape(f(t), (-1, 1)) for f in (CosineSchedule().alpha, CosineSchedule().sigma))
        variances, directions = (ops.convert_to_tensor(v) for v in spectrum())
        parts = ops.matmul(ops.reshape(x, (-1, variances.shape[0])), directions)
        parts = parts * alpha * variances / (alpha**2 * variances + sigma**2)
        return ops.reshape(ops.matmul(parts, ops.transpose(directions)), (-1, *SIDES))


@pytest.mark.once("the guided estimates are compared with exact ones on every backend above")
def test_what_each_operator_makes_of_results_is_what_was_measured_within_its_noise():
    rng, (variances, directions) = np.random.default_rng(0), spectrum()
    model = DDPM(SIDES, network=OptimalOfPictures(), prediction="data", sampler=DDIMSampler(20), clip=False, ema=None)
    model.compile(jit_compile=False)
    x = (rng.normal(size=(8, 192)) * np.sqrt(variances) @ directions.T).reshape(8, *SIDES).astype("float32")
    known = Masking(rng.uniform(size=SIDES[:2]) < 0.5)
    for measure, noise, iterations in (
        (known, 0.1, 1),
        (AveragePooling(2), 0.1, 1),
        (Grey(), 0.1, 1),
        (GaussianBlur(1.0), 0.1, 1),
        (
            GaussianBlur(1.0),
            0.02,
            3,
        ),  # whose measurements depend on each other: one iteration leaves 1.5 times the noise
    ):
        y = ops.convert_to_numpy(measure(ops.convert_to_tensor(x)))
        y = (y + noise * rng.normal(size=y.shape)).astype("float32")
        drawn = posterior_sample(model, y, measure, noise=noise, iterations=iterations, seed=0)
        rest = ops.convert_to_numpy(measure(ops.convert_to_tensor(drawn))) - y
        assert 0.6 * noise < rest.std() < 1.15 * noise, (measure, rest.std() / noise)
        assert np.abs(drawn - x).mean() > 0.05  # drawn, not restored


def test_a_model_of_a_model_and_what_measures_it(tmp_path):
    network = kgen.networks.MLP((2, 2, 1), (2, 2, 1), widths=(8,), time=True)
    model = DDPM((2, 2, 1), network=network, prediction="data", sampler=DDIMSampler(3), ema=None)
    pair = PosteriorRestoration(model, AveragePooling(2), iterations=2)
    y = np.float32([0.5, -0.2, 1.1]).reshape(3, 1, 1, 1)
    wanted = posterior_sample(model, y, AveragePooling(2), noise=0.1, iterations=2, seed=0)
    np.testing.assert_array_equal(pair.restore(y, noise=0.1, seed=0), wanted)
    pair.save_to_preset(tmp_path / "pair")
    again = kgen.from_preset(tmp_path / "pair")
    np.testing.assert_allclose(again.restore(y, noise=0.1, seed=0), wanted, atol=1e-5)
    (endpoint,) = again.endpoints()
    rows = {
        "seed": random.row_seeds(0, 3),
        "y": y,
        "noise": np.full((3,), 0.1, "float32"),
        "steps": np.int32([3, 3, 3]),
    }
    served = endpoint.function(**{name: ops.convert_to_tensor(value) for name, value in rows.items()})["images"]
    np.testing.assert_allclose(ops.convert_to_numpy(served), wanted, atol=1e-5)
    with pytest.raises(NotImplementedError, match="train its model by itself"):
        pair.objective(None, training=True)
    with pytest.raises(ValueError, match="operator: .* is of images with red, green and blue"):
        PosteriorRestoration(model, Grey())
    with pytest.raises(TypeError, match="operator: expected an Operator"):
        PosteriorRestoration(model, ops.square)


def test_clipped_images_with_one_iteration():
    """Each pixel from itself alone: what is known is met, though estimates are clipped, and rows differ in what is not."""
    image = keras.layers.Lambda(lambda inputs: 0.5 * inputs[0], output_shape=lambda s: s[0])
    model = DDPM((2, 2, 1), network=image, prediction="data", sampler=DDIMSampler(5), ema=None)
    model.compile(jit_compile=False)
    known = Masking([[True, False], [True, True]])
    y = ops.convert_to_numpy(known(np.full((2, 2, 2, 1), 0.75, "float32")))
    drawn = posterior_sample(model, y, known, seed=0)
    np.testing.assert_allclose(ops.convert_to_numpy(known(drawn)), y, atol=0.02)
    assert np.abs(drawn).max() <= 1 and np.abs(drawn[0] - drawn[1]).max() > 1e-3
    with pytest.raises(ValueError, match=r"mask: expected shape \(2, 2\), that of the images, received \(1, 2\)"):
        posterior_sample(model, y, Masking([[True, False]]))


def test_arguments(model):
    y = np.zeros((2, 1), "float32")
    with pytest.raises(ValueError, match=r"y: expected shape \(N, 1\), received \(2, 3\)"):
        posterior_sample(model, np.zeros((2, 3), "float32"), operator(ONE))
    with pytest.raises(ValueError, match="operator: expected a linear function"):
        posterior_sample(model, np.zeros((2, 3), "float32"), ops.square)
    with pytest.raises(ValueError, match="noise: expected a number in"):
        posterior_sample(model, y, operator(ONE), noise=-1.0)
    with pytest.raises(TypeError, match="colour: expected no conditions, received 'colour'"):
        posterior_sample(model, y, operator(ONE), colour=1)
    with pytest.raises(TypeError, match="model: expected a DDPM, whose samples are the data itself, received Optimal"):
        posterior_sample(Optimal(), y, operator(ONE))
