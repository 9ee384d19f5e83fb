"""Schedules against their papers' formulas, and predictions against one another."""

import numpy as np
import pytest
from keras import ops

from kgen.diffusion import (
    CosineSchedule,
    DataPrediction,
    LinearSchedule,
    NoisePrediction,
    SigmoidSchedule,
    VelocityPrediction,
    predictions,
    schedules,
)

ALL = [LinearSchedule(), CosineSchedule(), SigmoidSchedule()]


@pytest.mark.parametrize("schedule", ALL, ids=lambda s: type(s).__name__)
def test_variance_preserving_from_data_to_noise(schedule):
    t = np.linspace(0, 1, 1001, dtype="float32")
    alpha, sigma = (ops.convert_to_numpy(f(t)) for f in (schedule.alpha, schedule.sigma))
    np.testing.assert_allclose(alpha**2 + sigma**2, 1.0, atol=1e-6)
    assert alpha[0] == 1.0 and sigma[0] == 0.0
    assert alpha[-1] < 0.02
    assert (np.diff(alpha) <= 0).all()


def test_linear_schedule_is_the_product_of_betas():
    betas = np.linspace(1e-4, 0.02, 1000)
    expected = np.cumprod(1 - betas)
    t = np.arange(1, 1001, dtype="float32") / 1000
    np.testing.assert_allclose(ops.convert_to_numpy(LinearSchedule().alpha(t)) ** 2, expected, rtol=2e-5)


def test_cosine_schedule_is_the_papers():
    t = np.linspace(0, 0.99, 100)
    f = np.cos((t + 0.008) / 1.008 * np.pi / 2) ** 2
    alpha = ops.convert_to_numpy(CosineSchedule().alpha(t.astype("float32")))
    np.testing.assert_allclose(alpha**2, f / f[0], rtol=1e-3, atol=1e-6)


def test_sigmoid_schedule_is_symmetric():
    t = np.array([0.2, 0.5, 0.8], "float32")
    low, middle, high = ops.convert_to_numpy(SigmoidSchedule().alpha(t)) ** 2
    np.testing.assert_allclose([low + high, middle], [1.0, 0.5], atol=1e-5)


@pytest.mark.parametrize(
    "prediction", [NoisePrediction(), DataPrediction(), VelocityPrediction()], ids=lambda p: type(p).__name__
)
def test_the_target_gives_the_data_back(prediction):
    rng = np.random.default_rng(0)
    x, noise = rng.normal(size=(2, 5, 3)).astype("float32")
    alpha, sigma = 0.6, 0.8
    target = prediction.target(x, noise, alpha, sigma)
    np.testing.assert_allclose(prediction.data(target, alpha * x + sigma * noise, alpha, sigma), x, atol=1e-5)


def test_names_and_configurations():
    assert schedules.get("linear") == LinearSchedule()
    assert schedules.get("linear") != LinearSchedule(num_steps=10)
    assert isinstance(predictions.get("velocity"), VelocityPrediction)
    copy = CosineSchedule.from_config(CosineSchedule(offset=0.1).get_config())
    assert copy.offset == 0.1
    with pytest.raises(
        ValueError,
        match=r"schedule: expected one of 'linear', 'cosine', 'sigmoid', received 'cosin'. Did you mean 'cosine'",
    ):
        schedules.get("cosin")
    with pytest.raises(TypeError, match="prediction: expected 'noise', 'data', 'velocity' or a Prediction, received 3"):
        predictions.get(3)
    with pytest.raises(ValueError, match="0 < beta_start <= beta_end < 1, received 0.1 and 0.01"):
        LinearSchedule(0.1, 0.01)
