"""The torch backend: autograd, eager."""

import functools

import torch
from keras.src.backend.torch.core import convert_to_tensor


class TrainStep:
    """Turns ``train_update(data)`` and ``test_update(data)`` into Keras's torch steps."""

    def train_step(self, data):
        return self.train_update(data)

    def test_step(self, data):
        with torch.no_grad():
            return self.test_update(data)


def value_and_grad(loss_fn, variables):
    """As in ``kgen.backend.tensorflow``."""
    with torch.enable_grad():
        loss, aux = loss_fn()
        gradients = torch.autograd.grad(loss, [v.value for v in variables], allow_unused=True)
    detached = {k: v.detach() if torch.is_tensor(v) else v for k, v in aux.items()} if isinstance(aux, dict) else aux
    return (loss.detach(), detached), list(gradients)


def _watched(x):
    """``x`` as the start of a derivative: part of the graph around it if there is one, else a fresh leaf."""
    x = convert_to_tensor(x)
    return x if x.requires_grad else x.detach().requires_grad_(True)


def grad(fn, x):
    """As in ``kgen.backend.tensorflow``."""
    again = torch.is_grad_enabled()  # whether somebody outside will differentiate the result
    with torch.enable_grad():
        x = _watched(x)
        (gradient,) = torch.autograd.grad(fn(x).sum(), x, create_graph=again, materialize_grads=True)
    return gradient


def vjp(fn, x):
    """As in ``kgen.backend.tensorflow``."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        x = _watched(x)
        y = fn(x)

    def pullback(cotangent):
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(
                y, x, cotangent, create_graph=again, retain_graph=True, materialize_grads=True
            )
        return gradient

    return (y if again else y.detach()), pullback


def jvp(fn, x, tangent):
    """As in ``kgen.backend.tensorflow``, by differentiating a vector-Jacobian product twice."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        x = _watched(x)
        y = fn(x)
        cotangent = torch.zeros_like(y, requires_grad=True)
        (pulled,) = torch.autograd.grad(y, x, cotangent, create_graph=True, materialize_grads=True)
        (dy,) = torch.autograd.grad(pulled, cotangent, convert_to_tensor(tangent), create_graph=again, materialize_grads=True)
    return (y if again else y.detach()), dy


def replicas():
    """1: kgen runs one torch process."""
    return 1


def all_finite(tensors):
    """As in ``kgen.backend.tensorflow``."""
    with torch.no_grad():
        return torch.isfinite(sum((convert_to_tensor(t, dtype="float32").sum() for t in tensors), torch.zeros(())))


def apply_gradients(optimizer, gradients, variables, finite=None):
    """As in ``kgen.backend.tensorflow``."""
    if finite is None or bool(finite):
        with torch.no_grad():
            optimizer.apply(gradients, variables)


def jit(fn, variables=(), compiler=None):
    """Runs ``fn`` eagerly without recording gradients: the torch backend compiles nothing.

    The other arguments are those of the other backends.
    """

    @functools.wraps(fn)
    def call(*args):
        with torch.no_grad():
            return fn(*args)

    return call
