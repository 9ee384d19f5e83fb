"""RePaint: what is known stays, and the rest is drawn given it."""

import keras
import numpy as np
import pytest
from keras import ops

from kgen import backend
from kgen.core import random
from kgen.diffusion import (
    DDPM,
    AncestralSampler,
    CosineSchedule,
    DDIMSampler,
    DPMSolverMultistepSampler,
    Estimate,
    HeunSampler,
    PNDMSampler,
    RectifiedFlowSchedule,
    RePaintSampler,
    UniPCSampler,
    VESchedule,
    inpaint,
)
from kgen.diffusion.predictions import noise_of
from kgen.diffusion.schedules import like
from kgen.networks import MLP, UNet

MEAN, COVARIANCE = np.array([0.1, -0.2], "float32"), np.array([[0.25, 0.2], [0.2, 0.25]], "float32")
KNOWN = 0.6
CONDITIONAL = -0.2 + 0.2 / 0.25 * (KNOWN - 0.1), (0.25 - 0.2**2 / 0.25) ** 0.5  # mean, standard deviation


def optimal(schedule):
    """Of the correlated Gaussian, in the directions of its eigenvectors."""
    known = (MEAN, *np.linalg.eigh(COVARIANCE))

    def denoise(x_t, t):
        mean, variances, directions = (ops.convert_to_tensor(v.astype("float32")) for v in known)
        alpha, sigma = like(schedule.alpha(t), x_t), like(schedule.sigma(t), x_t)
        gain = alpha * variances / (alpha**2 * variances + sigma**2)
        along = gain * ops.matmul(x_t - alpha * mean, directions)
        data = mean + ops.matmul(along, ops.transpose(directions))
        return Estimate(data, noise_of(data, x_t, alpha, sigma))

    return denoise


def completed(sampler, resamples, schedule, n=500):
    """The first number is known to be ``KNOWN``; what is drawn of both."""
    x = np.tile(np.array([KNOWN, 7.0], "float32"), (n, 1))
    mask = np.tile([True, False], (n, 1))

    def run(seeds, x):
        around = RePaintSampler(sampler, x, ops.convert_to_tensor(mask), resamples)
        return around.sample(optimal(schedule), schedule, seeds, (2,))

    return ops.convert_to_numpy(
        backend.jit(run)(ops.convert_to_tensor(random.row_seeds(0, n)), ops.convert_to_tensor(x))
    )


@pytest.mark.parametrize(
    "sampler",
    [AncestralSampler(30), DDIMSampler(30), DPMSolverMultistepSampler(30, grid="uniform")],
    ids=lambda s: type(s).__name__,
)
def test_the_rest_follows_the_conditional_distribution(sampler):
    drawn = completed(sampler, 10, CosineSchedule())
    assert (drawn[:, 0] == np.float32(KNOWN)).all()
    mean, deviation = drawn[:, 1].mean(), drawn[:, 1].std()
    np.testing.assert_allclose(mean, CONDITIONAL[0], atol=0.09)
    np.testing.assert_allclose(deviation, CONDITIONAL[1], rtol=0.25)


def test_without_resampling_it_sees_less_of_what_is_known():
    mean = completed(AncestralSampler(30), 1, CosineSchedule())[:, 1].mean()
    assert mean < CONDITIONAL[0] - 0.1


@pytest.mark.parametrize("schedule", [RectifiedFlowSchedule(), VESchedule()], ids=lambda s: type(s).__name__)
def test_other_processes(schedule):
    """alpha(1) = 0; sigma(0) > 0, which is not in the end's known part either."""
    for sampler in (HeunSampler(8), UniPCSampler(8)):
        drawn = completed(sampler, 3, schedule, n=16)
        assert (drawn[:, 0] == np.float32(KNOWN)).all() and np.isfinite(drawn).all()


def test_calls():
    assert RePaintSampler(DDIMSampler(5), None, None, 3).calls() == 4 * 3 + 1
    assert RePaintSampler(HeunSampler(3), None, None, 4).calls() == 2 * 2 * 4 + 1
    assert RePaintSampler(PNDMSampler(3), None, None, 4).calls() == 2 * 2 * 4 + 1  # each step is its first
    assert RePaintSampler(DDIMSampler(5), None, None, 3).calls(2) == 4


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    made = DDPM((4, 4, 1), network=MLP((4, 4, 1), (4, 4, 1), widths=(16,), time=True), sampler=DDIMSampler(3))
    made.compile(jit_compile=False)
    return made


X = np.random.default_rng(0).uniform(-1, 1, (8, 4, 4, 1)).astype("float32")
MASK = np.tile(np.arange(4)[:, None] < 2, (1, 4))  # the upper half


def test_what_is_known_stays_and_rows_have_their_seeds(model):
    drawn = inpaint(model, X, MASK, seed=3, resamples=2)
    assert drawn.shape == X.shape and drawn.dtype == np.float32
    np.testing.assert_array_equal(drawn[:, :2], X[:, :2])
    np.testing.assert_allclose(inpaint(model, X[:4], MASK, seed=3, resamples=2), drawn[:4], atol=1e-5)
    np.testing.assert_allclose(inpaint(model, X, MASK, seed=3, resamples=2, batch_size=3), drawn, atol=1e-5)
    assert np.abs(inpaint(model, X, MASK, seed=4, resamples=2) - drawn)[:, 2:].max() > 0.01
    assert np.abs(inpaint(model, X, MASK, seed=3, resamples=3) - drawn)[:, 2:].max() > 0.01


def test_each_row_has_its_mask_and_what_is_not_known_has_no_effect(model):
    masks = np.stack([MASK] * 4 + [~MASK] * 4)
    drawn = inpaint(model, X, masks, seed=0, resamples=2)
    np.testing.assert_array_equal(drawn[masks], X[masks])
    other = np.where(masks[..., None], X, np.nan).astype("float32")
    np.testing.assert_allclose(inpaint(model, other, masks, seed=0, resamples=2), drawn, atol=1e-5)


def test_with_classes_and_guidance():
    network = UNet((4, 4, 1), channels=(8,), blocks=1, attention=(False,), num_classes=3, groups=4)
    model = DDPM((4, 4, 1), network=network, num_classes=3, sampler=DDIMSampler(2))
    model.compile(jit_compile=False)
    drawn = inpaint(model, X[:2], MASK, labels=[0, 2], guidance=2.0, seed=0, resamples=2)
    np.testing.assert_array_equal(drawn[:, :2], X[:2, :2])


def test_arguments(model):
    with pytest.raises(
        ValueError, match=r"mask: expected bools of shape \(4, 4\) or \(8, 4, 4\), True where x is known"
    ):
        inpaint(model, X, MASK.astype("float32"))
    with pytest.raises(ValueError, match=r"x: expected shape \(N, 4, 4, 1\), received \(8, 4, 4\)"):
        inpaint(model, X[..., 0], MASK)
    with pytest.raises(ValueError, match=r"x: expected values in \[-1, 1\]"):
        inpaint(model, 3 * X, MASK)
    with pytest.raises(ValueError, match="resamples: expected an integer of at least 1, received 0"):
        inpaint(model, X, MASK, resamples=0)
    with pytest.raises(TypeError, match="model: expected a DDPM, whose samples are the data itself, received MLP"):
        inpaint(model.network, X, MASK)
