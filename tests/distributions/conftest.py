"""Gradients and compiled functions of the backend in use, for tests alone."""

import keras
import numpy as np
import pytest


def _tensorflow_gradient(function, arrays):
    import tensorflow as tf

    tensors = [tf.constant(array) for array in arrays]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        total = tf.reduce_sum(function(*tensors))
    return tape.gradient(total, tensors)


def _jax_gradient(function, arrays):
    import jax
    import jax.numpy as jnp

    tensors = [jnp.asarray(array) for array in arrays]
    take = jax.grad(lambda *values: jnp.sum(function(*values)), argnums=tuple(range(len(tensors))))
    return jax.jit(take)(*tensors)


def _torch_gradient(function, arrays):
    import torch

    tensors = [torch.tensor(array, requires_grad=True) for array in arrays]
    return torch.autograd.grad(function(*tensors).sum(), tensors)


@pytest.fixture
def gradient():
    """``gradient(function, *arrays)``: the gradient of sum(function(*arrays)) for each array, as numpy arrays."""
    of_backend = {"tensorflow": _tensorflow_gradient, "jax": _jax_gradient, "torch": _torch_gradient}
    take = of_backend[keras.config.backend()]

    def gradient(function, *arrays):
        gradients = take(function, [np.asarray(array, "float32") for array in arrays])
        return [keras.ops.convert_to_numpy(value) for value in gradients]

    return gradient


@pytest.fixture
def compiled():
    """``compiled(function)``: the function under tf.function(jit_compile=True) or jax.jit; as it is on torch."""

    def compiled(function):
        if keras.config.backend() == "tensorflow":
            import tensorflow as tf

            return tf.function(function, jit_compile=True)
        if keras.config.backend() == "jax":
            import jax

            return jax.jit(function)
        return function

    return compiled
