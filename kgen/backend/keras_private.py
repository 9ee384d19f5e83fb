"""Every private name of Keras that kgen uses, each in one function that says why; the rest of kgen uses public names alone.

``tests/backend/test_keras_private.py`` tries each of them, so that a new Keras says which one is gone. (Presets name modules of
``keras.src`` too: Keras writes them into its configurations. Their test is with the list, ``kgen.core.presets.allowlist``.)
"""

import keras


def stateless_scope():
    """The innermost ``keras.StatelessScope`` that is open in this thread, or None: a scope within it must see what it sees."""
    from keras.src.backend.common.stateless_scope import get_stateless_scope

    return get_stateless_scope()


def supports_jit(model):
    """Whether every layer of a model can be compiled by XLA: what ``compile(jit_compile="auto")`` asks, on a CPU too."""
    from keras.src.trainers.trainer import model_supports_jit

    return model_supports_jit(model)


def global_seed():
    """The state of the generator that layers and ``keras.random`` draw from where they were given no seed: checkpoints keep it."""
    from keras.src.random.seed_generator import global_seed_generator

    return global_seed_generator().state


def flatten_layers(layer):
    """A layer or model and all layers within it, however deep: ``Model.layers`` has those of the first floor alone."""
    return list(layer._flatten_layers())


def own_state(layer):
    """The non-trainable variables of a layer itself, such as BatchNorm's statistics: not those of its layers, metrics and seeds."""
    return list(layer._non_trainable_variables)


def without_loss_tracker(model):
    """Takes the metric "loss" from a compiled model, which has one of its own: two of one name would be logged as one."""
    if not hasattr(model, "_loss_tracker"):  # setting it would then change nothing, and say nothing
        raise AttributeError(f"Keras {keras.__version__}: a compiled model has no _loss_tracker any more.")
    model._loss_tracker = None


def rate_as_given(optimizer):
    """An optimizer's learning rate as it was given, a variable or a schedule: ``learning_rate`` is a schedule's present value."""
    return optimizer._learning_rate


def clipped(optimizer, gradients):
    """Gradients as an optimizer clips them, by ``clipnorm``, ``global_clipnorm`` or ``clipvalue``: on replicas kgen clips the whole."""
    return optimizer._clip_gradients(gradients)


def moments(adam, variable):
    """The means of a variable's gradient and of its square that Keras's Adam keeps: two variables."""
    i = adam._get_variable_index(variable)
    return adam._momentums[i], adam._velocities[i]


def decays(optimizer, variable):
    """Whether an optimizer's weight decay is of this variable too: ``exclude_from_weight_decay`` takes some out."""
    return optimizer._use_weight_decay(variable)


def own_variables(optimizer):
    """An optimizer's variables as Keras keeps them, for an optimizer whose ``variables`` are those of others too."""
    return optimizer._variables


def trained_by(optimizer):
    """The variables that an optimizer was built for; none if it has not been built, or leaves them to one within it."""
    return getattr(optimizer, "_trainable_variables", [])


def history_of(callbacks):
    """The ``History`` in a ``keras.callbacks.CallbackList`` that was made with ``add_history=True``."""
    return callbacks._history


def progress_bar_of(callbacks):
    """The ``ProgbarLogger`` in a ``keras.callbacks.CallbackList``, or None where it shows none."""
    return callbacks._progbar


def model_of(callbacks):
    """The model of a callback or a list of them, as it is: ``.model`` brings all its variables up to date first on JAX, which takes time."""
    return callbacks._model
