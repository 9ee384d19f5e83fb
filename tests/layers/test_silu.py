"""The sigmoid linear unit: its values, its derivatives, and graphs that TensorFlow lets go of."""

import gc
import weakref

import keras
import numpy as np
import pytest
from keras import ops

from kgen import backend
from kgen.layers import silu

X = np.linspace(-30, 30, 601).astype("float32")


def test_values_and_derivatives():
    s = 1 / (1 + np.exp(-X.astype("float64")))
    x = ops.convert_to_tensor(X)
    np.testing.assert_allclose(ops.convert_to_numpy(silu(x)), X * s, atol=1e-5)
    slope = backend.grad(silu, x)
    np.testing.assert_allclose(ops.convert_to_numpy(slope), s * (1 + X * (1 - s)), atol=1e-5)
    curvature = backend.grad(lambda v: backend.grad(silu, v), x)
    np.testing.assert_allclose(ops.convert_to_numpy(curvature), s * (1 - s) * (2 + X * (1 - 2 * s)), atol=1e-5)


def test_it_is_saved_by_name():
    layer = keras.layers.Dense(2, activation=silu)
    again = keras.layers.Dense.from_config(layer.get_config())
    assert again.activation is silu


@pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="graphs are TensorFlow's")
def test_a_graph_with_it_is_freed():
    import tensorflow as tf

    # ops.silu fails here.
    graph = weakref.ref(tf.function(silu, [tf.TensorSpec([None])], autograph=False).get_concrete_function().graph)
    gc.collect()
    assert graph() is None
