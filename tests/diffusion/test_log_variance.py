"""Uncertainty: the optimum of the learnt weight, and where its variables live."""

import keras
import numpy as np
import pytest
from keras import ops

import kgen
from kgen import backend
from kgen.diffusion import DDPM, ConsistencyModel, DDIMSampler, LogVariance
from kgen.networks import MLP

COMPILE = {"jit_compile": False} if keras.config.backend() == "tensorflow" else {}


def network():
    return MLP((2,), (2,), widths=(4,), time=True)


@pytest.mark.once("test_same_everywhere holds the training of every backend to the same numbers")
def test_its_optimum_is_the_logarithm_of_the_loss():
    layer, optimizer = LogVariance(8), keras.optimizers.Adam(0.2)
    t = ops.convert_to_tensor(np.linspace(0, 1, 16, dtype="float32"))
    losses = ops.exp(3.0 * t - 1.0)
    variables = layer.trainable_variables
    assert len(variables) == 2

    def loss():
        return ops.mean(layer.weighted(losses, t)), None

    start = ops.convert_to_numpy(ops.stop_gradient(layer.weighted(losses, t)))
    np.testing.assert_allclose(start, ops.convert_to_numpy(losses), rtol=1e-6)  # u = 0
    optimizer.build(variables)
    for _ in range(60):
        (value, _), gradients = backend.value_and_grad(loss, variables)
        backend.apply_gradients(optimizer, gradients, variables)
    # min over u of e^-u L + u is 1 + ln L.
    best = np.mean(3.0 * np.linspace(0, 1, 16))
    assert abs(float(ops.convert_to_numpy(ops.stop_gradient(value))) - best) < 0.1


def test_a_model_trains_saves_and_resumes_it(tmp_path):
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(64, 2)).astype("float32")
    model = DDPM((2,), network=network(), uncertainty=True, sampler=DDIMSampler(2))
    model.compile(keras.optimizers.Adam(1e-2), **COMPILE)
    model.fit(x, shuffle=False, verbose=0)
    assert np.abs(ops.convert_to_numpy(model.log_variance.linear.kernel)).max() > 0
    model.save(tmp_path / "m.keras")
    again = kgen.load(tmp_path / "m.keras")
    for each in (model, again):
        each.fit(x, shuffle=False, verbose=0)
    for a, b in zip(model.trainable_variables, again.trainable_variables, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(a), ops.convert_to_numpy(b), err_msg=a.path)
    with pytest.raises(ValueError, match="uncertainty: ConsistencyModel has a loss of its own; expected False"):
        ConsistencyModel((2,), network=network(), uncertainty=True)
