"""The backend in use: the same few functions, written once for each framework, and documented once: here.

Everything else in kgen is plain ``keras.ops``. What differs between TensorFlow, JAX and torch is how a gradient is taken, how a
step carries state, and how a function is compiled; that is what ``tensorflow.py``, ``jax.py`` and ``torch.py`` hold. Each has every
function below under the same name, and says no more than what is particular to it.

``TrainStep`` is the mixin that turns ``GenerativeModel.train_update(data)`` and ``test_update(data)``, plain ``keras.ops`` code, into the
backend's ``train_step`` and ``test_step``.
"""

import importlib

import keras

from kgen.backend.probability import tfp

_name = keras.config.backend()
if _name not in ("tensorflow", "jax", "torch"):
    raise ImportError(
        f"kgen runs on the Keras backends 'tensorflow', 'jax' and 'torch'; KERAS_BACKEND is {_name!r}. "
        "Set KERAS_BACKEND before keras is imported."
    )
_backend = importlib.import_module(f"kgen.backend.{_name}")
TrainStep = _backend.TrainStep

# Derivatives.


def value_and_grad(loss_fn, variables):
    """Evaluates ``loss_fn() -> (loss, aux)`` and the gradients of the scalar ``loss``.

    Args:
        loss_fn: function of no arguments that returns a scalar tensor and anything beside it. What it assigns to variables stays.
        variables: list of ``keras.Variable``.
    Returns:
        ``(loss, aux), gradients``: one gradient per variable; where the loss does not depend on it, None (on JAX zeros). Unlike
        those of ``grad`` they are not to be differentiated again.
    """
    return _backend.value_and_grad(loss_fn, variables)


def grad(fn, x):
    """The gradient of ``sum(fn(x))`` with respect to ``x``, differentiable again.

    Args:
        fn: function from a float tensor (B, ...) to one value per row, (B,).
        x: float tensor (B, ...).
    Returns:
        float tensor shaped like ``x``; row i is the gradient of ``fn(x)[i]``, zeros where nothing depends on ``x``.
    """
    return _backend.grad(fn, x)


def vjp(fn, x):
    """``fn(x)`` and the function that maps a cotangent of it to ``cotangent @ Jacobian``.

    Args:
        fn: function of one tensor.
        x: float tensor.
    Returns:
        ``(y, pullback)``; ``pullback(cotangent)`` is shaped like ``x``, and may be called again.
    """
    return _backend.vjp(fn, x)


def jvp(fn, x, tangent):
    """``fn(x)`` and ``Jacobian @ tangent`` in one forward pass (on torch by two backward passes).

    Args:
        fn: function of one tensor.
        x: float tensor.
        tangent: float tensor shaped like ``x``.
    Returns:
        ``(y, dy)``, both shaped like ``fn(x)``.
    """
    return _backend.jvp(fn, x, tangent)


# Steps.


def when(condition, then, otherwise):
    """``then()`` where ``condition`` is true, else ``otherwise()``; only the one that is taken is computed.

    Args:
        condition: boolean scalar tensor, or bool.
        then, otherwise: functions of no arguments that return the same structure of tensors or numbers (None where there is nothing
            to return), of the same shapes and dtypes. They may assign to variables, but not under a ``tf.distribute`` strategy,
            where all replicas would have to take the same branch. What layers add by ``add_loss`` inside is not seen outside.
    Returns:
        what the function taken returned, as tensors; differentiable with respect to whatever the functions read.
    """
    return _backend.when(condition, then, otherwise)


def fori_loop(lower, upper, body, state):
    """``ops.fori_loop``, for a body that takes gradients: on JAX, on a CPU, those of convolutions are several times as fast.

    Args:
        lower, upper: ints, the first number and the one after the last.
        body: function from a number and a state to the next state.
        state: tensor, or a structure of tensors.
    Returns:
        the last state.
    """
    return _backend.fori_loop(lower, upper, body, state)


def apply_gradients(optimizer, gradients, variables, finite=None):
    """Applies gradients; where ``finite`` is a false boolean tensor, neither weights nor optimizer change.

    A ``LossScaleOptimizer`` sees for itself what is not finite.
    """
    _backend.apply_gradients(optimizer, gradients, variables, finite)


def move_towards(variable, value, rate):
    """``variable += rate * (value - variable)``, outside of anything that takes a gradient.

    Args:
        variable: float ``keras.Variable``.
        value: a variable or tensor of its shape, of any float dtype.
        rate: float scalar tensor in [0, 1].
    """
    _backend.move_towards(variable, value, rate)


def all_finite(tensors):
    """Whether every number is finite, on every replica.

    Args:
        tensors: list of float tensors of any shapes.
    Returns:
        boolean scalar tensor.
    """
    return _backend.all_finite(tensors)


def jit(fn, variables=(), compiler=None):
    """Compiles ``fn``: on TensorFlow to a graph, on JAX by XLA; on torch it runs as it is, without recording gradients.

    Args:
        fn: function of tensors that lead with the batch dimension. On TensorFlow one graph serves every batch size; XLA compiles again
            for each. What it assigns to variables may be dropped.
        variables: the variables that ``fn`` reads. Training on after a call is seen by the next one.
        compiler: None, or "xla" for XLA's kernels on TensorFlow too.
    Returns:
        a function with the signature of ``fn``.
    """
    return _backend.jit(fn, variables, compiler)


def traced_once(fn):
    """``fn``, a function of many operations that is used many times: Python makes them once for each shape, not at each use.

    On torch, where nothing is traced, it is ``fn``.

    Args:
        fn: function of tensors, which takes no gradient and reads no variables.
    Returns:
        a function of the same tensors.
    """
    return _backend.traced_once(fn)


# Words: uint32 tensors, which Keras represents on torch by int64.


def add_words(x, y):
    """The sum modulo 2^32.

    Args:
        x, y: uint32 tensors that broadcast against each other.
    Returns:
        uint32 tensor.
    """
    return _backend.add_words(x, y)


def rotate_word(x, bits):
    """Words whose bits are moved to the left; those that leave come in on the right.

    Args:
        x: uint32 tensor.
        bits: int, 1 to 31, by how many.
    Returns:
        uint32 tensor shaped like ``x``.
    """
    return _backend.rotate_word(x, bits)


def take_rows(x, places):
    """The rows of each example at its own places; ``ops.take_along_axis`` does the same by many more operations.

    Args:
        x: tensor (B, N, C).
        places: int32 tensor (B, M), each in [0, N).
    Returns:
        tensor (B, M, C).
    """
    return _backend.take_rows(x, places)


# Several devices. Replicas are the copies of a step under a ``tf.distribute`` strategy; elsewhere a step sees the whole batch.


def parts(model):
    """Into how many equal parts the rows of a batch are shared out, a device for each.

    Args:
        model: a ``keras.Model``.
    Returns:
        int; 1 where one device has all of them.
    """
    return _backend.parts(model)


def replicas(model):
    """How many replicas train a model, and add their gradients up.

    Args:
        model: a ``keras.Model``.
    Returns:
        int; 1 where a step sees the whole batch.
    """
    return _backend.replicas(model)


def share(rows=None):
    """The share of the whole batch that is here, where replicas add their gradients up: 1 where there are none.

    Args:
        rows: number of rows here, or None for as many as on every other replica.
    Returns:
        float or float32 scalar tensor; the replicas' shares sum to 1.
    """
    return _backend.share(rows)


def replica_sum(value):
    """A number summed over the replicas: as it is where there are none, and outside of a replica's step.

    Args:
        value: float tensor.
    Returns:
        float tensor of the same shape, the same on each replica.
    """
    return _backend.replica_sum(value)


def first_row(rows):
    """The place of this replica's first row in the whole batch: the rows of all replicas before this one.

    A draw that is keyed by a row's place in the whole batch is another one on each replica, and the one it would be on one device.

    Args:
        rows: number of rows here (0 where a short batch leaves a replica without): int or int scalar tensor.
    Returns:
        int32 scalar tensor; 0 where there are no replicas.
    """
    return _backend.first_row(rows)


def gather(rows):
    """The rows of all replicas, one after the other, on each of them; gradients flow back to where a row came from.

    Not within ``when``, where replicas cannot wait for each other.

    Args:
        rows: float or int tensor (B, ...), of which replicas may have different numbers.
    Returns:
        tensor of all rows; ``rows`` itself where there are no replicas. Those of this replica begin at ``first_row(B)``.
    """
    return _backend.gather(rows)


# Data and devices.


def in_order(x, y=None, weight=None, *, batch_size):
    """What ``fit`` is given for rows that are to come in the order in which they stand.

    Args:
        x: array (N, ...), or a structure of them.
        y: the same, or None.
        weight: array (N,) or None.
        batch_size: rows of a batch.
    Returns:
        dict of arguments.
    """
    return _backend.in_order(x, y, weight, batch_size=batch_size)


def gpus():
    """The number of GPUs that the backend sees."""
    return _backend.gpus()


__all__ = [
    "TrainStep",
    "add_words",
    "all_finite",
    "apply_gradients",
    "first_row",
    "fori_loop",
    "gather",
    "gpus",
    "grad",
    "in_order",
    "jit",
    "jvp",
    "move_towards",
    "parts",
    "replica_sum",
    "replicas",
    "rotate_word",
    "share",
    "take_rows",
    "tfp",
    "traced_once",
    "value_and_grad",
    "vjp",
    "when",
]
