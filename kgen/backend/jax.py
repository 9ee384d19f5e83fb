"""The JAX backend: state is carried in nested stateless scopes, so that one stateful step serves JAX too."""

import functools

import jax
import jax.numpy as jnp
import keras
import numpy as np

from kgen.backend import jax_convolutions, keras_private


class Scope(keras.StatelessScope):
    """A stateless scope that sees what the scope around it sees, and remembers what was assigned inside it.

    Keras looks a variable up in the innermost scope alone. A gradient taken within a training step runs in a scope of its own,
    since values made while JAX traces the loss must not leave it except as outputs; it must still see the state of the step around it.
    """

    def __init__(self, state_mapping=()):
        super().__init__(collect_losses=True)
        around = keras_private.stateless_scope()
        if around is not None:
            self.state_mapping.update(around.state_mapping)
        for variable, value in state_mapping:
            self.state_mapping[id(variable)] = value
        self.assigned = {}

    def add_update(self, update):
        super().add_update(update)
        self.assigned[id(update[0])] = update[0]

    def updates(self):
        """What was assigned inside: the variables, and their new values."""
        variables = list(self.assigned.values())
        return variables, [self.get_current_value(v) for v in variables]


def _isolated(fn):
    """``fn`` with its assignments returned: ``(output, values)``, and a box that holds the variables they belong to."""
    box = []

    def isolated(*args):
        with Scope() as scope:
            output = fn(*args)
        box[:], values = scope.updates()
        return output, values

    return isolated, box


def _assign(variables, values):
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


class TrainStep:
    """Turns ``train_update(data)`` and ``test_update(data)`` into Keras's stateless JAX steps."""

    def train_step(self, state, data):
        groups = (
            self.trainable_variables,
            self.non_trainable_variables,
            self.optimizer.variables,
            self.metrics_variables,
        )
        return self._run(self.train_update, groups, state, data)

    def test_step(self, state, data):
        groups = (self.trainable_variables, self.non_trainable_variables, self.metrics_variables)
        return self._run(self.test_update, groups, state, data)

    def _run(self, step, groups, state, data):
        pairs = [pair for group, values in zip(groups, state, strict=True) for pair in zip(group, values, strict=True)]
        with Scope(pairs) as scope:
            logs = step(data)
        return logs, tuple([scope.get_current_value(v) for v in group] for group in groups)


def value_and_grad(loss_fn, variables):
    """A variable on which the loss does not depend has a gradient of zeros."""
    box = []

    def pure(values):
        with Scope(zip(variables, values, strict=True)) as scope:
            loss, aux = loss_fn()
        box[:], assigned = scope.updates()
        return loss, (aux, assigned)

    values = [jax.lax.stop_gradient(v.value) for v in variables]  # what is taken around this one need not go through it
    (loss, (aux, assigned)), gradients = jax.value_and_grad(pure, has_aux=True)(values)
    _assign(box, assigned)
    return (loss, aux), gradients


def grad(fn, x):
    isolated, box = _isolated(fn)

    def total(x):
        value, assigned = isolated(x)
        return jnp.sum(value), assigned

    gradient, assigned = jax.grad(total, has_aux=True)(jnp.asarray(x))
    _assign(box, assigned)
    return gradient


def vjp(fn, x):
    isolated, box = _isolated(fn)
    y, pull, assigned = jax.vjp(isolated, jnp.asarray(x), has_aux=True)
    _assign(box, assigned)
    return y, lambda cotangent: pull(cotangent)[0]


def jvp(fn, x, tangent):
    isolated, box = _isolated(fn)
    y, dy, assigned = jax.jvp(isolated, (jnp.asarray(x),), (jnp.asarray(tangent),), has_aux=True)
    _assign(box, assigned)
    return y, dy


def replica_sum(value):
    return value  # a distributed step sees the whole batch


def parts(model):
    distribution = keras.distribution.distribution()
    if distribution is None:
        return 1
    mesh = distribution.device_mesh
    return mesh.shape[mesh.axis_names.index(distribution.batch_dim_name)] // jax.process_count()


def replicas(model):
    return 1  # a distributed JAX step sees the whole batch


def share(rows=None):
    """1: a distributed JAX step sees the whole batch, and its mean loss is the whole batch's."""
    return 1.0


def first_row(rows):
    """0: a distributed JAX step sees the whole batch."""
    return jnp.zeros((), "int32")


def gather(rows):
    return rows  # a distributed JAX step sees the whole batch


def when(condition, then, otherwise):
    """What either branch assigns is carried out of both."""

    def tensors(output):
        return keras.tree.map_structure(lambda v: None if v is None else keras.ops.convert_to_tensor(v), output)

    if not isinstance(condition, jax.core.Tracer):  # nothing to compile: plain Python skips as well
        return tensors(then() if bool(condition) else otherwise())
    assigned = {}
    for fn in (then, otherwise):  # traced for its shapes alone, to learn what it assigns
        isolated, box = _isolated(lambda fn=fn: tensors(fn()))
        jax.eval_shape(isolated)
        assigned |= {id(v): v for v in box}
    variables = list(assigned.values())

    def branch(fn):
        def run():
            with Scope():
                return tensors(fn()), [v.value for v in variables]

        return jax_convolutions.canonical(run)

    output, values = jax.lax.cond(condition, branch(then), branch(otherwise))
    _assign(variables, values)
    return output


def fori_loop(lower, upper, body, state):
    return keras.ops.fori_loop(lower, upper, jax_convolutions.canonical(body), state)


def move_towards(variable, value, rate):
    old = jnp.asarray(variable.value)
    variable.assign(old + rate.astype(old.dtype) * (keras.ops.convert_to_tensor(value).astype(old.dtype) - old))


def all_finite(tensors):
    # XLA copies a sum into the update of each variable that asks for it, and that made a program ten times as long to compile. A root,
    # which is as finite as what it is of, it computes once.
    return jnp.isfinite(jnp.sqrt(jnp.abs(sum(jnp.sum(jnp.asarray(t, "float32")) for t in tensors))))


def apply_gradients(optimizer, gradients, variables, finite=None):
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        # It branches inside; JAX allows that only in its stateless form.
        new_weights, new_state = optimizer.stateless_apply(
            [v.value for v in optimizer.variables], gradients, [v.value for v in variables]
        )
        _assign(list(variables) + list(optimizer.variables), list(new_weights) + list(new_state))
        return
    if finite is None:
        optimizer.apply(gradients, variables)
        return
    with Scope() as scope:
        optimizer.apply(gradients, variables)
    for variable, value in zip(*scope.updates(), strict=True):
        variable.assign(jnp.where(finite, value, variable.value))


def jit(fn, variables=(), compiler=None):
    """By XLA, one program for each combination of input shapes. Variables are passed in at each call; what ``fn`` assigns is dropped."""
    variables = list(variables)

    @jax.jit
    def pure(values, args):
        with Scope(zip(variables, values, strict=True)):
            return fn(*args)

    @functools.wraps(fn)
    def call(*args):
        return pure([v.value for v in variables], args)

    return call


def traced_once(fn):
    """By ``jax.jit``, which has no variables to carry here; also outside of other compiled functions."""
    return jax.jit(fn)


def add_words(x, y):
    return x + y


def rotate_word(x, bits):
    return (x << np.uint32(bits)) | (x >> np.uint32(32 - bits))


def take_rows(x, places):
    # Of all examples' rows in one line: on a CPU XLA takes four times as long where a gather has a dimension of examples.
    first = x.shape[1] * jnp.arange(x.shape[0], dtype="int32")
    return x.reshape(-1, x.shape[2]).at[first[:, None] + places].get(mode="promise_in_bounds")


def in_order(x, y=None, weight=None, *, batch_size):
    """The arrays."""
    return {"x": x, "y": y, "sample_weight": weight, "batch_size": batch_size}


def gpus():
    return sum(device.platform == "gpu" for device in jax.devices())
