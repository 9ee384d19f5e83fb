"""EDM: its parameterisation against the paper's table and the optimal denoiser, and what the model learns."""

import keras
import numpy as np
import pytest
from diffusion.analytic import MEAN, SCALE, noise, optimal
from keras import ops

from kgen.diffusion import (
    EDM,
    CosineSchedule,
    Denoiser,
    EDMPrediction,
    EDMSchedule,
    HeunSampler,
    LogNormalTimes,
    RectifiedFlowSchedule,
    VelocityPrediction,
    predictions,
)
from kgen.diffusion.schedules import like
from kgen.networks import MLP

COMPILE = {"jit_compile": False} if keras.config.backend() == "tensorflow" else {}
RNG = np.random.default_rng(0)
X, NOISE, F = RNG.normal(size=(3, 5, 3)).astype("float32")


def numpy(values):
    return keras.tree.map_structure(ops.convert_to_numpy, values)


@pytest.mark.parametrize("schedule", [EDMSchedule(), CosineSchedule()], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("d", [0.5, 2.0])
def test_table_1(schedule, d):
    """c_skip, c_out, c_in, c_noise, target and weight, written as the paper has them, in y = x/alpha and r = sigma/alpha."""
    prediction, t = EDMPrediction(sigma_data=d), ops.convert_to_tensor(np.array([0.1, 0.3, 0.5, 0.7, 0.95], "float32"))
    alpha, sigma = like(schedule.alpha(t), X), like(schedule.sigma(t), X)
    x_t = schedule.add_noise(ops.convert_to_tensor(X), t, ops.convert_to_tensor(NOISE))
    y, r = numpy(x_t / alpha).astype("float64"), numpy(sigma / alpha).astype("float64")
    c_skip, c_out = d**2 / (r**2 + d**2), r * d / np.sqrt(r**2 + d**2)
    c_in, c_noise = 1 / np.sqrt(d**2 + r**2), np.log(r) / 4

    given, time = numpy(prediction.inputs(x_t, t, alpha, sigma))
    np.testing.assert_allclose(given, c_in * y, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(time, 0.5 + c_noise[:, 0] / 4, atol=1e-5)
    estimate = prediction.estimate(ops.convert_to_tensor(F), x_t, alpha, sigma)
    np.testing.assert_allclose(numpy(estimate.data), c_skip * y + c_out * F, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(numpy(alpha * estimate.data + sigma * estimate.noise), numpy(x_t), rtol=1e-4, atol=1e-5)
    target = numpy(prediction.target(ops.convert_to_tensor(X), ops.convert_to_tensor(NOISE), alpha, sigma))
    # Of a difference that is small beside its terms where there is little noise.
    np.testing.assert_allclose(target, (X - c_skip * y) / c_out, atol=1e-3)
    np.testing.assert_allclose(numpy(prediction.data_weight(alpha, sigma)), 1 / c_out**2, rtol=1e-4)


def test_its_loss_is_the_papers_weight_of_the_datas_error():
    schedule, prediction = EDMSchedule(), EDMPrediction()
    t = ops.convert_to_tensor(np.array([0.2, 0.4, 0.6, 0.8, 1.0], "float32"))
    x, eps, output = (ops.convert_to_tensor(v) for v in (X, NOISE, F))
    alpha, sigma = like(schedule.alpha(t), x), like(schedule.sigma(t), x)
    data = prediction.estimate(output, schedule.add_noise(x, t, eps), alpha, sigma).data
    weight = (numpy(sigma) ** 2 + 0.25) / (numpy(sigma) * 0.5) ** 2
    expected = (weight * (numpy(data) - X) ** 2).mean(1)
    np.testing.assert_allclose(numpy(prediction.loss(output, x, eps, t, schedule)), expected, rtol=1e-3)


def test_ends_divide_by_nothing():
    """alpha = 0 and sigma = 0; where variance is preserved and the data's is 1, it is the velocity with another sign."""
    prediction, x, output = EDMPrediction(), ops.convert_to_tensor(X), ops.convert_to_tensor(F)
    zero, one = ops.zeros((5, 1)), ops.ones((5, 1))
    end, start = prediction.estimate(output, x, zero, one), prediction.estimate(output, x, one, zero)
    np.testing.assert_allclose(numpy(end.data), 0.5 * F, rtol=1e-6)
    np.testing.assert_allclose(numpy(end.noise), X, rtol=1e-6)
    np.testing.assert_allclose(numpy(start.data), X, rtol=1e-6)
    assert [float(numpy(prediction.inputs(x, zero[:, 0], *v)[1])[0]) for v in ((zero, one), (one, zero))] == [1.0, 0.0]
    same = EDMPrediction(1.0).estimate(output, x, 0.6 * one, 0.8 * one)
    other = VelocityPrediction().estimate(-output, x, 0.6 * one, 0.8 * one)
    np.testing.assert_allclose(numpy(same.data), numpy(other.data), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("schedule", [EDMSchedule(), RectifiedFlowSchedule()], ids=lambda s: type(s).__name__)
def test_the_best_network_makes_the_best_estimate(schedule):
    """A network that finds its noise level in what it is given and returns the F of the optimal denoiser."""

    def network(inputs, training=False):
        given, time = inputs
        r = ops.exp(16.0 * (ops.reshape(time, (-1, 1)) - 0.5))
        total = ops.sqrt(ops.square(r) + 0.25)
        mean, variance = (
            ops.convert_to_tensor(MEAN.astype("float32")),
            ops.convert_to_tensor((SCALE**2).astype("float32")),
        )
        y = given * total
        best = mean + variance / (variance + ops.square(r)) * (y - mean)
        return (best - 0.25 / ops.square(total) * y) / (0.5 * r / total)

    t = ops.convert_to_tensor(np.linspace(0.3, 0.95, 16, dtype="float32"))
    x_t = schedule.add_noise(ops.convert_to_tensor((MEAN + SCALE * noise(16, 1)).astype("float32")), t, noise(16))
    found, expected = Denoiser(network, schedule, EDMPrediction())(x_t, t, {}), optimal(schedule)(x_t, t)
    np.testing.assert_allclose(numpy(found.data), numpy(expected.data), atol=2e-3)
    np.testing.assert_allclose(numpy(found.noise), numpy(expected.noise), atol=2e-3)


@pytest.mark.once("test_same_everywhere holds the training of every backend to the same numbers")
def test_trained_on_two_points_it_draws_them_and_so_does_its_file(tmp_path):
    keras.utils.set_random_seed(0)
    model = EDM((2,), network=MLP((2,), (2,), widths=(64, 64), time=True), ema=0.95)
    model.compile(optimizer=keras.optimizers.Adam(1e-2), **COMPILE)
    points = np.array([[0.5, 0.5], [-0.5, -0.5]], "float32")
    x = np.repeat(points, 128, axis=0)
    history = model.fit(x, epochs=150, batch_size=256, verbose=0).history["loss"]
    assert np.mean(history[-20:]) < 0.75 * np.mean(history[:5])
    samples = model.sample(64, seed=0)
    distances = np.linalg.norm(samples[:, None] - points, axis=-1)
    assert distances.min(1).mean() < 0.25  # 0.5 of a normal of the data's variance
    assert 0.2 < (distances.argmin(1) == 0).mean() < 0.8
    model.save(tmp_path / "edm.keras")
    again = keras.saving.load_model(tmp_path / "edm.keras")
    assert isinstance(again, EDM)
    np.testing.assert_allclose(again.sample(64, seed=0), samples, atol=1e-5)


def test_configuration():
    model = EDM((2,), network=MLP((2,), (2,), widths=(4,), time=True), sigma_data=0.7)
    assert model.sampler == HeunSampler(18) and model.sampler.calls() == 35
    config = model.get_config()
    assert not {"schedule", "prediction"} & set(config) and config["sigma_data"] == 0.7
    without = {name: value for name, value in config.items() if name not in ("times", "weight")}  # as older files are
    assert EDM.from_config(without).get_config() == config
    noisier = EDM((2,), network=MLP((2,), (2,), widths=(4,), time=True), times=LogNormalTimes(-0.5, 1.2))
    assert EDM.from_config(noisier.get_config()).times == noisier.times == LogNormalTimes(-0.5, 1.2)
    assert EDM.from_config(config).prediction == EDMPrediction(0.7)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(EDMPrediction(0.7)))
    assert predictions.get(again) == EDMPrediction(0.7)
    with pytest.raises(ValueError, match=r"sigma_data: expected a number in \[1e-06, 1e\+06\], received 0"):
        EDMPrediction(0)
