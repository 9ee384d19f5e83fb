"""Consistency models: the identity at the least noise, the teacher, training and saving on toy data."""

import keras
import numpy as np
import pytest
from keras import ops

import kgen
from kgen.diffusion import ConsistencyModel, ConsistencyPrediction, ConsistencySampler
from kgen.networks import MLP

COMPILE = {"jit_compile": False} if keras.config.backend() == "tensorflow" else {}
DATA = np.random.default_rng(0).choice([-1.0, 1.0], size=(256, 1)).astype("float32") * np.ones((1, 2), "float32")


def toy(**kwargs):
    network = MLP((2,), (2,), widths=(64, 64), time=True)
    return ConsistencyModel((2,), network=network, sigma_data=1.0, sigma_max=10.0, noise_levels=10, ema=0.9, **kwargs)


@pytest.fixture(scope="module")
def trained():
    keras.utils.set_random_seed(0)
    model = toy()
    model.compile(keras.optimizers.Adam(5e-3), **COMPILE)
    history = model.fit(DATA, batch_size=128, epochs=100, verbose=0).history["loss"]
    return model, history


def test_at_the_least_noise_it_is_the_identity():
    prediction = ConsistencyPrediction(0.5, 0.002)
    rng = np.random.default_rng(0)
    x, output = (ops.convert_to_tensor(rng.normal(size=(4, 3)).astype("float32")) for _ in range(2))
    one = ops.ones((4, 1))
    np.testing.assert_array_equal(ops.convert_to_numpy(prediction.estimate(output, x, one, 0.002 * one).data), x)
    skip, out = 0.25 / (2.998**2 + 0.25), 0.5 * 2.998 / np.sqrt(9.25)
    far = ops.convert_to_numpy(prediction.estimate(output, x, one, 3.0 * one).data)
    expected = skip * ops.convert_to_numpy(x) + out * ops.convert_to_numpy(output)
    np.testing.assert_allclose(far, expected, rtol=1e-4)


def test_the_teacher_follows_at_its_own_rate():
    model = toy(teacher=0.5)
    start = ops.convert_to_numpy(model.network.weights[0])
    model.compile(keras.optimizers.SGD(0.1), **COMPILE)
    model.train_on_batch(DATA[:32])
    now, teacher = (ops.convert_to_numpy(n.weights[0]) for n in (model.network, model.teacher_network))
    np.testing.assert_allclose(teacher, start + 0.9 * (now - start), atol=1e-6)  # the first decay is min(0.5, 1/10)
    assert np.abs(now - start).max() > 0
    assert not model.teacher_network.trainable_variables


def test_it_learns(trained):
    model, history = trained
    assert np.isfinite(history).all() and np.mean(history[-20:]) < 0.95 * np.mean(history[:5])
    points = np.array([[-1.0, -1.0], [1.0, 1.0]])
    for steps in (1, 3):
        x = model.sample(128, seed=0, steps=steps)
        distance = np.linalg.norm(x[:, None] - points, axis=-1).min(1).mean()
        assert distance < 2.0 and np.isfinite(x).all()  # noise of scale 10 is 8 away
    assert ConsistencySampler(3).calls() == 3


def test_saved_it_goes_on_with_its_teacher(trained, tmp_path):
    model, _ = trained
    model.save(tmp_path / "m.keras")
    again = kgen.load(tmp_path / "m.keras")
    assert again.get_config() == model.get_config()
    for each in (model, again):
        each.fit(DATA[:64], shuffle=False, verbose=0)
    for a, b in zip(model.teacher_network.weights, again.teacher_network.weights, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(a), ops.convert_to_numpy(b))
    with pytest.raises(NotImplementedError, match="has no likelihood"):
        model.log_prob(DATA)
    with pytest.raises(ValueError, match="noise_levels: expected at least 2, received 1"):
        ConsistencyModel((2,), network=MLP((2,), (2,), widths=(4,), time=True), noise_levels=1)
