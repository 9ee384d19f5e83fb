"""The backend in use: the same few functions, written once for each framework.

Everything else in kgen is plain ``keras.ops``. What differs between TensorFlow, JAX and torch is how a gradient is taken, how a
step carries state, and how a function is compiled; that is what these modules hold:

- ``TrainStep``: the mixin that turns ``GenerativeModel.train_update`` and ``test_update`` into the backend's ``train_step`` and
  ``test_step``;
- ``value_and_grad(loss_fn, variables)``: a loss, what it returns beside it, and its gradients;
- ``grad(fn, x)``, ``vjp(fn, x)``, ``jvp(fn, x, tangent)``: derivatives with respect to inputs, differentiable again;
- ``apply_gradients(optimizer, gradients, variables, finite)``: an update that is left out when ``finite`` is false;
- ``all_finite(tensors)``: whether every number is finite, on every replica;
- ``jit(fn, variables)``: a compiled function that reads the variables' present values;
- ``share(rows)``: the share of the whole batch that is here, where replicas add their gradients up;
- ``first_row(rows)``: the place of the first row that is here in the whole batch;
- ``replica_sum(value)``: a number summed over the replicas;
- ``when(condition, then, otherwise)``: one of two functions, the other's work really skipped;
- ``in_order(x, y, weight, batch_size)``: rows for ``fit``, in the order in which they stand;
- ``gpus()``: the number of GPUs;
- ``tfp()``: TensorFlow Probability for this backend, or None.
"""

import keras

from kgen.backend.probability import tfp

_backend = keras.config.backend()
if _backend == "tensorflow":
    from kgen.backend.tensorflow import (
        TrainStep,
        all_finite,
        apply_gradients,
        first_row,
        gpus,
        grad,
        in_order,
        jit,
        jvp,
        replica_sum,
        share,
        value_and_grad,
        vjp,
        when,
    )
elif _backend == "jax":
    from kgen.backend.jax import (
        TrainStep,
        all_finite,
        apply_gradients,
        first_row,
        gpus,
        grad,
        in_order,
        jit,
        jvp,
        replica_sum,
        share,
        value_and_grad,
        vjp,
        when,
    )
elif _backend == "torch":
    from kgen.backend.torch import (
        TrainStep,
        all_finite,
        apply_gradients,
        first_row,
        gpus,
        grad,
        in_order,
        jit,
        jvp,
        replica_sum,
        share,
        value_and_grad,
        vjp,
        when,
    )
else:
    raise ImportError(
        f"kgen runs on the Keras backends 'tensorflow', 'jax' and 'torch'; KERAS_BACKEND is {_backend!r}. "
        "Set KERAS_BACKEND before keras is imported."
    )

__all__ = [
    "TrainStep",
    "all_finite",
    "apply_gradients",
    "first_row",
    "gpus",
    "grad",
    "in_order",
    "jit",
    "jvp",
    "replica_sum",
    "share",
    "tfp",
    "value_and_grad",
    "vjp",
    "when",
]
