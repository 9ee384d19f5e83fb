"""Unrolled steps: a generator that sees what its discriminator would answer."""

import math

import keras
from keras import ops

from kgen import backend
from kgen.core import checks, inputs
from kgen.core.config import Configured


@keras.saving.register_keras_serializable(package="kgen")
class Unrolling(Configured):
    """The generator minimises its loss against the discriminator as it would be ``steps`` gradient steps later:
    ``GAN(..., unrolled=Unrolling(5, 0.1))``.

    With w_0 the discriminator's weights and w_{k+1} = w_k - learning_rate dL_D(w_k)/dw, the generator's loss is L_G(w_K), differentiated through all
    of w_1 to w_K, which the samples have moved: a generator that puts all samples in one place sees the answer. That makes collapse rarer and does
    not rule it out (``benchmarks/RESULTS.md``). The discriminator itself is trained as ever. A step costs about ``steps`` more of the
    discriminator's, twice.

    The steps are of the mean over the whole batch, on several replicas too. They are plain steps along the adversarial loss alone: what
    regularisers add to it, and the clipping of ``WGAN``, is not looked ahead to.

    Args:
        steps: K; 5 to 10 in the paper.
        learning_rate: of these plain steps.
    Reference:
        Metz et al., Unrolled generative adversarial networks, 2017, Eq. 6 to 10, arXiv 1611.02163.
    """

    def __init__(self, steps, learning_rate):
        self.steps = checks.positive_int("steps", steps)
        self.learning_rate = checks.in_range("learning_rate", learning_rate, 0.0, 1e6)

    def generator_losses(self, model, batch, training):
        """The ``Turn`` of the generator of ``model``, a ``GAN``, which it takes in training against the discriminator to come."""
        if not training:
            return model.generator_losses(batch, False)
        weights = model.discriminator.trainable_variables

        def looking(flat):
            return _scope([*model.variables, *model.optimizer.variables], weights, flat)

        count = backend.replica_sum(ops.cast(inputs.rows_of(batch.x), "float32"))

        def loss(flat):  # this replica's part of the mean over the whole batch
            with looking(flat):
                return ops.sum(model.discriminator_losses(batch, True, through=True).losses) / count

        flat = ops.concatenate([ops.reshape(ops.cast(ops.stop_gradient(w.value), "float32"), (-1,)) for w in weights])
        for _ in range(self.steps):
            flat = flat - self.learning_rate * backend.replica_sum(backend.grad(loss, flat))
        with looking(flat) as scope:
            turn = model.generator_losses(batch, True)
        for variable in model.generator.non_trainable_variables:  # statistics that moved inside
            variable.assign(scope.get_current_value(variable))
        return turn


def _scope(variables, weights, flat):
    """A scope in which ``weights`` have the values of a vector, and all other variables those that they have outside."""
    values, start = {id(v): v.value for v in variables}, 0
    for weight in weights:
        size = math.prod(weight.shape)
        values[id(weight)] = ops.reshape(flat[start : start + size], weight.shape)
        start += size
    return keras.StatelessScope(state_mapping=[(v, values[id(v)]) for v in variables])


def get(unrolled):
    """An ``Unrolling`` from its configuration or itself; None stays None."""
    if isinstance(unrolled, dict) and "class_name" in unrolled:
        unrolled = keras.saving.deserialize_keras_object(unrolled)
    if unrolled is not None and not isinstance(unrolled, Unrolling):
        raise TypeError(f"unrolled: expected a kgen.gan.Unrolling or None, received {unrolled!r}.")
    return unrolled
