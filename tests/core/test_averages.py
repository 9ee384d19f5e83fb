"""Averages of weights: their recurrence, their names, and what they are kept in."""

import keras
import numpy as np
import pytest
from keras import ops

from kgen.core import GenerativeModel


@keras.saving.register_keras_serializable(package="kgen_tests")
class Line(GenerativeModel):
    """A dense layer with two averages."""

    def __init__(self, dtype=None, **decays):
        super().__init__(dtype=dtype)
        self.network = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones", dtype=self.dtype_policy)
        self.network.build((None, 2))
        for name, decay in decays.items():
            self.averages.keep(name, decay, ["network"])

    def objective(self, batch, training):
        return ops.mean(ops.cast(self.network_for(training)(batch.x), "float32"), axis=-1), {}


def follow(model, values):
    for value in values:
        model.network.kernel.assign(np.full((2, 1), value, "float32"))
        model.averages.update()
    return model


def test_the_average_follows_its_recurrence_with_a_growing_decay():
    model = follow(Line(ema=0.4), range(6))
    expected = 1.0
    for k in range(6):
        decay = min(0.4, (1.0 + k) / (10.0 + k))
        expected = decay * expected + (1.0 - decay) * k
    np.testing.assert_allclose(ops.convert_to_numpy(model.ema_network.kernel), expected, rtol=1e-5)
    assert float(model.ema_step) == 6


def test_averages_have_names_and_decays_of_their_own():
    model = follow(Line(ema=0.9, teacher=lambda step: 0.5), [3.0])
    assert ops.convert_to_numpy(model.averaged("network", "teacher").kernel)[0, 0] == 2.0  # 1 + 0.5 (3 - 1)
    np.testing.assert_allclose(ops.convert_to_numpy(model.averaged("network").kernel)[0, 0], 1 + 0.9 * 2, rtol=1e-6)
    assert model.averaged("network", "nobody") is model.network
    model.averages.reset()
    assert ops.convert_to_numpy(model.teacher_network.kernel)[0, 0] == 3.0
    with pytest.raises(ValueError, match=r"slow: expected a number in \[0, 0\.999999\], received 1\.5"):
        Line(slow=1.5)


def test_a_step_that_was_left_out_moves_nothing():
    model = Line(ema=0.9)
    model.network.kernel.assign(np.full((2, 1), 5.0))
    model.averages.update(ops.convert_to_tensor(False))
    assert ops.convert_to_numpy(model.ema_network.kernel).tolist() == [[1.0], [1.0]] and float(model.ema_step) == 0


def test_the_average_of_bfloat16_weights_arrives():
    model = Line("bfloat16", ema=0.999)
    model.ema_step.assign(1e6)  # the decay is no longer growing
    model = follow(model, [2.0] * 400)
    expected = 2.0 - 0.999**400
    assert keras.backend.standardize_dtype(model.ema_network.kernel.dtype) == "float32"
    np.testing.assert_allclose(ops.convert_to_numpy(model.ema_network.kernel), expected, rtol=1e-3)  # in bfloat16: 1.0


def test_evaluation_is_of_the_average():
    model = Line(ema=0.9)
    model.compile("sgd")
    model.network.kernel.assign(np.full((2, 1), 7.0))
    loss = model.evaluate(np.ones((4, 2), "float32"), verbose=0, return_dict=True)["loss"]
    np.testing.assert_allclose(loss, 2.0)  # of the ones that the average still has, not of 7
