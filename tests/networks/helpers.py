"""What tests of networks share."""

import functools

import keras
import numpy as np
from keras import ops

from kgen import backend


def copy(network):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(network))
    again.set_weights(network.get_weights())
    return again


def randomised(network):
    rng = np.random.default_rng(0)
    network.set_weights([0.2 * rng.normal(size=w.shape) for w in network.get_weights()])
    return network


@functools.lru_cache(2)
def compiled(network):
    """On JAX, which would compile each operation outside of a compiled function by itself."""
    return backend.jit(network, network.variables) if keras.config.backend() == "jax" else network


def run(network, *inputs):
    inputs = [ops.convert_to_tensor(i) for i in inputs]
    return ops.convert_to_numpy(compiled(network)(inputs if len(inputs) > 1 else inputs[0]))


def check_same_gradients(make, *inputs):
    """``make(remat=)`` gives networks with the same weights by name, whose losses and gradients are the same."""
    found = []
    for remat in (False, True):
        keras.utils.set_random_seed(0)
        network = make(remat=remat)
        rng = np.random.default_rng(0)
        for v in network.trainable_variables:
            v.assign(0.3 * rng.normal(size=v.shape))

        def step(*inputs, network=network):
            def loss():
                return ops.mean(ops.square(network(list(inputs), training=True) - 1.0)), None

            (value, _), gradients = backend.value_and_grad(loss, network.trainable_variables)
            return [value, *gradients]

        outputs = backend.jit(step, network.variables)(*(ops.convert_to_tensor(i) for i in inputs))
        found.append(([v.path for v in network.trainable_variables], [ops.convert_to_numpy(o) for o in outputs]))
        assert network.get_config()["remat"] is remat
    (names, plain), (again_names, again) = found
    assert names == again_names and sum(np.abs(g).max() > 1e-4 for g in plain[1:]) > 0.8 * len(names)
    for name, a, b in zip(["loss", *names], plain, again, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-5, err_msg=name)
