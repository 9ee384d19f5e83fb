"""The torch backend: autograd, eager."""

import functools

import keras
import torch
from keras.ops import convert_to_tensor


class TrainStep:
    """Turns ``train_update(data)`` and ``test_update(data)`` into Keras's torch steps."""

    def train_step(self, data):
        return self.train_update(data)

    def test_step(self, data):
        with torch.no_grad():
            return self.test_update(data)


def value_and_grad(loss_fn, variables):
    with torch.enable_grad():
        loss, aux = loss_fn()
        gradients = [None] * len(variables)
        if loss.requires_grad and variables:  # none, of a network that is frozen
            gradients = torch.autograd.grad(loss, [v.value for v in variables], allow_unused=True)
    detached = keras.tree.map_structure(lambda v: v.detach() if torch.is_tensor(v) else v, (loss, aux))
    return detached, list(gradients)


def _watched(x):
    """``x`` as the start of a derivative: a new node of the graph around it if there is one, else a fresh leaf."""
    x = convert_to_tensor(x)
    return x.view_as(x) if x.requires_grad else x.detach().requires_grad_(True)


def _pull(y, x, cotangent, again):
    """``cotangent @ dy/dx``, zeros where ``y`` does not depend on ``x``; ``again``: whether it will be differentiated."""
    if not y.requires_grad:
        return torch.zeros_like(x)
    options = {"create_graph": again, "retain_graph": True, "materialize_grads": True}
    return torch.autograd.grad(y, x, cotangent, **options)[0]


def grad(fn, x):
    again = torch.is_grad_enabled()  # whether somebody outside will differentiate the result
    with torch.enable_grad():
        x = _watched(x)
        return _pull(fn(x).sum(), x, None, again)


def vjp(fn, x):
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        x = _watched(x)
        y = fn(x)

    def pullback(cotangent):
        with torch.enable_grad():
            return _pull(y, x, cotangent, again)

    return (y if again else y.detach()), pullback


def jvp(fn, x, tangent):
    """By differentiating a vector-Jacobian product twice."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        x = _watched(x)
        y = fn(x)
        cotangent = torch.zeros_like(y, requires_grad=True)
        dy = _pull(_pull(y, x, cotangent, True), cotangent, convert_to_tensor(tangent), again)
    return (y if again else y.detach()), dy


def replica_sum(value):
    return value


def parts(model):
    return 1  # kgen runs one torch process


def replicas(model):
    return 1  # kgen runs one torch process


def share(rows=None):
    """1: kgen runs one torch process."""
    return 1.0


def first_row(rows):
    """0: kgen runs one torch process."""
    return torch.zeros((), dtype=torch.int32)


def gather(rows):
    return rows  # kgen runs one torch process


def when(condition, then, otherwise):
    """By plain Python."""
    output = then() if bool(condition) else otherwise()
    return keras.tree.map_structure(lambda v: None if v is None else convert_to_tensor(v), output)


def fori_loop(lower, upper, body, state):
    return keras.ops.fori_loop(lower, upper, body, state)


def move_towards(variable, value, rate):
    with torch.no_grad():
        old = convert_to_tensor(variable)
        variable.assign(old + rate.to(old.dtype) * (convert_to_tensor(value).to(old.dtype) - old))


def all_finite(tensors):
    with torch.no_grad():
        return torch.isfinite(sum((convert_to_tensor(t, dtype="float32").sum() for t in tensors), torch.zeros(())))


def apply_gradients(optimizer, gradients, variables, finite=None):
    if finite is None or bool(finite):
        with torch.no_grad():
            optimizer.apply(gradients, variables)


def jit(fn, variables=(), compiler=None):
    """Runs ``fn`` eagerly without recording gradients: the torch backend compiles nothing."""

    @functools.wraps(fn)
    def call(*args):
        with torch.no_grad():
            return fn(*args)

    return call


def traced_once(fn):
    """As it is."""
    return fn


def add_words(x, y):
    return (x + y) & 0xFFFFFFFF


def rotate_word(x, bits):
    return ((x << bits) & 0xFFFFFFFF) | (x >> (32 - bits))


def take_rows(x, places):
    return torch.gather(x, 1, places.long()[:, :, None].expand(-1, -1, x.shape[-1]))


def in_order(x, y=None, weight=None, *, batch_size):
    """The arrays."""
    return {"x": x, "y": y, "sample_weight": weight, "batch_size": batch_size}


def gpus():
    return torch.cuda.device_count()
