"""Schedules against their papers' formulas, predictions and training laws against one another."""

import keras
import numpy as np
import pytest
from keras import ops

from kgen.diffusion import (
    BetaSchedule,
    CappedCosineSchedule,
    CosineSchedule,
    DataPrediction,
    EDMSchedule,
    FlowPrediction,
    LearnedVariance,
    LinearSchedule,
    LogitNormalTimes,
    LogNormalTimes,
    NoisePrediction,
    RectifiedFlowSchedule,
    ScaledLinearSchedule,
    ScorePrediction,
    SigmoidSchedule,
    SNRWeight,
    SubVPSchedule,
    UniformTimes,
    VelocityPrediction,
    VESchedule,
    VPSchedule,
    ZeroTerminalSNR,
    predictions,
    schedules,
)

DOUBLE = keras.config.backend() != "jax"  # JAX computes in float32 unless it is told otherwise before it starts
PRESERVING = [LinearSchedule(), ScaledLinearSchedule(), CosineSchedule(), SigmoidSchedule(), VPSchedule()]
ALL = [*PRESERVING, ZeroTerminalSNR(), SubVPSchedule(), VESchedule(), EDMSchedule(), RectifiedFlowSchedule()]


def values(function, t):
    return ops.convert_to_numpy(function(ops.convert_to_tensor(t)))


@pytest.mark.parametrize("schedule", [*PRESERVING, ZeroTerminalSNR()], ids=lambda s: type(s).__name__)
def test_variance_preserving_from_data_to_noise(schedule):
    t = np.linspace(0, 1, 1001, dtype="float32")
    alpha, sigma = values(schedule.alpha, t), values(schedule.sigma, t)
    np.testing.assert_allclose(alpha**2 + sigma**2, 1.0, atol=1e-6)
    assert alpha[0] == 1.0 and sigma[0] == 0.0
    assert alpha[-1] < 0.07 and (alpha[-1] == 0) == schedule.ends_in_noise
    assert (np.diff(alpha) <= 0).all()


@pytest.mark.parametrize("schedule", ALL, ids=lambda s: type(s).__name__)
def test_what_follows_from_alpha_and_sigma(schedule):
    """Log-SNR, its inverse, drift and diffusion: against differences, in float64 where the backend has it."""
    close = {"rtol": 1e-4, "atol": 1e-6} if DOUBLE else {"rtol": 0.03, "atol": 1e-3}
    exact = {"rtol": 1e-6, "atol": 1e-9} if DOUBLE else {"rtol": 1e-5, "atol": 1e-5}
    h = 1e-6 if DOUBLE else 2e-3
    t = np.linspace(0.05, 0.95, 19)
    alpha, sigma, log_snr = (values(f, t) for f in (schedule.alpha, schedule.sigma, schedule.log_snr))
    np.testing.assert_allclose(log_snr, 2 * np.log(alpha / sigma), **exact)
    assert (np.diff(log_snr) < 0).all()
    np.testing.assert_allclose(values(schedule.time, log_snr), t, atol=1e-6 if DOUBLE else 1e-5)
    # A table's slope is that of a cell; these times are not at its corners.
    t = t + 3e-4
    alpha, sigma = values(schedule.alpha, t), values(schedule.sigma, t)
    drift = (np.log(values(schedule.alpha, t + h)) - np.log(values(schedule.alpha, t - h))) / (2 * h)
    growth = (values(schedule.sigma, t + h) ** 2 - values(schedule.sigma, t - h) ** 2) / (2 * h)
    np.testing.assert_allclose(values(schedule.drift, t), drift, **close)
    np.testing.assert_allclose(values(schedule.diffusion, t) ** 2, growth - 2 * drift * sigma**2, **close)


@pytest.mark.parametrize("schedule", ALL, ids=lambda s: type(s).__name__)
def test_ends_are_finite(schedule):
    for t in (np.zeros(2, "float32"), np.ones(2, "float32")):
        for function in (schedule.alpha, schedule.sigma, schedule.log_snr, schedule.drift, schedule.diffusion):
            assert np.isfinite(values(function, t)).all()
    np.testing.assert_allclose(values(schedule.time, np.array([200.0, -200.0], "float32")), [0, 1], atol=2e-3)


def test_linear_schedule_is_the_product_of_betas():
    expected = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    t = np.arange(1, 1001, dtype="float32") / 1000
    np.testing.assert_allclose(values(LinearSchedule().alpha, t) ** 2, expected, rtol=2e-5)
    np.testing.assert_allclose(
        values(VPSchedule().alpha, t) ** 2, expected, rtol=0.15, atol=1e-5
    )  # its continuous form


@pytest.mark.parametrize("num_steps", [100, 4000])
def test_as_many_steps_as_one_likes_are_the_same_process(num_steps):
    t = np.array([0.25, 0.5, 1.0], "float32")
    np.testing.assert_allclose(
        values(LinearSchedule(num_steps=num_steps).alpha, t), values(LinearSchedule().alpha, t), rtol=0.15, atol=2e-3
    )
    given = LinearSchedule(0.01, 0.4, num_steps=20)  # betas that were given are taken as they are
    np.testing.assert_allclose(
        values(given.alpha, np.ones(1, "float32"))[0] ** 2, np.prod(1 - np.linspace(0.01, 0.4, 20)), rtol=1e-5
    )


def test_betas_of_others():
    t, cosine = np.arange(101) / 100, values(CosineSchedule(num_steps=100).alpha, np.arange(101) / 100)
    capped = values(CappedCosineSchedule(100).alpha, t)
    np.testing.assert_allclose(capped[:-1], cosine[:-1], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(capped[-1] / capped[-2], 0.001**0.5, rtol=1e-4)  # the last beta, 1, is capped at 0.999
    betas = BetaSchedule([0.1, 0.5, 0.999])
    np.testing.assert_allclose(values(betas.alpha, np.arange(4) / 3) ** 2, np.cumprod([1, 0.9, 0.5, 0.001]), rtol=1e-5)
    assert BetaSchedule.from_config(betas.get_config()) == betas
    with pytest.raises(ValueError, match=r"betas: expected numbers above 0 and below 1, received \[0.1, 1.0\]"):
        BetaSchedule([0.1, 1.0])


def test_formulas_of_the_papers():
    fine = 1.0 if DOUBLE else 100.0  # how many times coarser float32 is allowed to be
    t = np.linspace(0, 0.99, 100)
    f = np.cos((t + 0.008) / 1.008 * np.pi / 2) ** 2
    np.testing.assert_allclose(values(CosineSchedule().alpha, t) ** 2, f / f[0], rtol=1e-6 * fine, atol=1e-6 * fine)
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    np.testing.assert_allclose(
        values(ScaledLinearSchedule().alpha, np.ones(1)) ** 2, np.prod(1 - betas), rtol=1e-6 * fine
    )
    low, middle, high = values(SigmoidSchedule().alpha, np.array([0.2, 0.5, 0.8])) ** 2
    np.testing.assert_allclose([low + high, middle], [1.0, 0.5], atol=1e-5)
    np.testing.assert_allclose(
        values(VESchedule(0.01, 50.0).sigma, np.array([0.0, 0.5, 1.0])), [0.01, 0.5**0.5, 50], rtol=1e-5
    )
    steps = 1 - np.arange(18) / 17  # Karras et al., Eq. 5, with 18 levels
    expected = (80 ** (1 / 7) + np.arange(18) / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    np.testing.assert_allclose(values(EDMSchedule().sigma, steps), expected, rtol=1e-9 if DOUBLE else 1e-4)
    vp = values(VPSchedule().alpha, t)
    np.testing.assert_allclose(
        values(SubVPSchedule().sigma, t), 1 - vp**2, rtol=1e-6 * fine, atol=1e-12 if DOUBLE else 1e-6
    )
    zero = values(ZeroTerminalSNR("scaled_linear").alpha, np.linspace(0, 1, 5))
    plain = values(ScaledLinearSchedule().alpha, np.linspace(0, 1, 5))
    np.testing.assert_allclose(
        zero, (plain - plain[-1]) * plain[0] / (plain[0] - plain[-1]), atol=1e-9 if DOUBLE else 1e-6
    )


PREDICTIONS = [NoisePrediction(), DataPrediction(), VelocityPrediction(), ScorePrediction(), FlowPrediction()]


@pytest.mark.parametrize("prediction", PREDICTIONS, ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("levels", [(0.6, 0.8), (1.0, 3.0), (0.3, 0.7), (1.0, 0.0)], ids=str)
def test_the_target_gives_data_and_noise_back(prediction, levels):
    rng = np.random.default_rng(0)
    x, noise = rng.normal(size=(2, 5, 3)).astype("float32")
    alpha, sigma = (np.float32(v) for v in levels)
    target = ops.convert_to_tensor(prediction.target(x, noise, alpha, sigma))
    estimate = prediction.estimate(target, ops.convert_to_tensor(alpha * x + sigma * noise), alpha, sigma)
    np.testing.assert_allclose(ops.convert_to_numpy(estimate.data), x, atol=1e-5)
    assert np.isfinite(ops.convert_to_numpy(estimate.noise)).all()
    if sigma > 0:
        np.testing.assert_allclose(ops.convert_to_numpy(estimate.noise), noise, atol=1e-5)
        # The weight of the data's error is what turns it into the output's.
        wrong = prediction.estimate(target + 0.1, ops.convert_to_tensor(alpha * x + sigma * noise), alpha, sigma)
        error = np.square(ops.convert_to_numpy(wrong.data) - x) * ops.convert_to_numpy(
            prediction.data_weight(alpha, sigma)
        )
        np.testing.assert_allclose(error, 0.01, rtol=1e-3)


def test_laws():
    u = ops.convert_to_tensor((np.arange(20000, dtype="float32") + 0.5) / 20000)
    grid = ops.convert_to_numpy(UniformTimes().times(u, LinearSchedule(num_steps=4, beta_start=0.1, beta_end=0.5)))
    assert (
        np.unique(grid).tolist() == [0.25, 0.5, 0.75, 1.0] and (np.bincount((grid * 4).astype(int))[1:] == 5000).all()
    )
    any_time = ops.convert_to_numpy(UniformTimes().times(u, VPSchedule()))
    assert any_time.min() >= 1e-5 and any_time.max() <= 1 and abs(any_time.mean() - 0.5) < 1e-3
    t = LogNormalTimes(-1.2, 1.2).times(u, EDMSchedule())
    log_sigma = np.log(ops.convert_to_numpy(EDMSchedule().sigma(t)))
    assert abs(log_sigma.mean() + 1.2) < 0.01 and abs(log_sigma.std() - 1.2) < 0.01
    t = ops.convert_to_numpy(LogitNormalTimes(0.5, 0.8).times(u, RectifiedFlowSchedule()))
    logit = np.log(t / (1 - t))
    assert abs(logit.mean() - 0.5) < 0.01 and abs(logit.std() - 0.8) < 0.01
    t = ops.convert_to_tensor(np.array([0.05, 0.9], "float32"))
    snr = values(CosineSchedule().snr, t)
    np.testing.assert_allclose(
        values(lambda t: SNRWeight(5.0).weight(t, CosineSchedule()), t), [5.0, snr[1]], rtol=1e-6
    )


def test_names_and_configurations():
    assert schedules.get("linear") == LinearSchedule()
    assert schedules.get("linear") != LinearSchedule(num_steps=100)
    assert isinstance(predictions.get("velocity"), VelocityPrediction)
    for thing in (*ALL, LearnedVariance("velocity"), LogNormalTimes(0.0, 2.0), SNRWeight(3.0)):
        assert keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(thing)) == thing
    with pytest.raises(
        ValueError, match=r"schedule: expected one of 'linear', .*received 'cosin'. Did you mean 'cosine'"
    ):
        schedules.get("cosin")
    with pytest.raises(TypeError, match="prediction: expected 'noise', 'data', .* or a Prediction, received 3"):
        predictions.get(3)
    with pytest.raises(ValueError, match="0 < beta_start <= beta_end < 1, received 0.1 and 0.01"):
        LinearSchedule(0.1, 0.01)
    with pytest.raises(ValueError, match="received 0.01 and 2. So few steps need betas of their own"):
        LinearSchedule(num_steps=10)
    with pytest.raises(AttributeError, match="offset: CosineSchedule is not changed once it is made"):
        CosineSchedule().offset = 0.1
