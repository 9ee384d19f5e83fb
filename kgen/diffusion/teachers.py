"""Trained diffusion models as teachers: what a student takes from them, and the copy that it keeps."""

from keras import ops

from kgen.core.averages import copy_network
from kgen.diffusion.ddpm import DDPM, check_estimates
from kgen.diffusion.guidance import ClassifierFreeGuidance


def process_of(name, model):
    """The arguments of ``DDPM`` that say what a trained ``DDPM``, the argument ``name``, is a model of, and what its network means.

    Raises:
        TypeError, ValueError: it is none, or its estimates do not follow the probability flow.
    """
    if not isinstance(model, DDPM):
        raise TypeError(f"{name}: expected a trained DDPM, or a model of a class made from it, received {model!r}.")
    check_estimates(name, model)
    own = [] if model.num_classes is None else list(model.conditions)[:1]
    return {
        "shape": model.shape,
        "schedule": model.schedule,
        "prediction": model.prediction,
        "num_classes": own[0].num_classes if own else None,
        "label_dropout": model.label_dropout,
        "conditions": list(model.conditions)[len(own) :],
        "clip": model.clip,
    }


def trained_network(model):
    """A copy of a ``DDPM``'s network, to be trained on, with the weights that the model samples with."""
    copy = copy_network(model.network)
    copy.set_weights(model.averaged("network").get_weights())
    if not copy.trainable:  # that of a frozen copy; what is frozen within a network stays so
        copy.trainable = True
    return copy


def frozen(name, model, guidance=None):
    """The ``DDPM`` of a trained model's process, with a copy of the network that it samples with, which is not trained.

    Args:
        name: the argument's name, for errors.
        model: a trained ``DDPM``, or a student of one, whose own teacher is left behind.
        guidance: what it is to be guided by; see ``taught``.
    Raises:
        TypeError, ValueError: as ``process_of``; or it cannot be guided.
    """
    process = process_of(name, model)
    if guidance is not None:
        ClassifierFreeGuidance(guidance).check(model, {c.keyword for c in model.conditions})
    copy = DDPM(**process, network=trained_network(model), ema=None, name=name, dtype=model.dtype_policy)
    copy.trainable = False
    return copy


def taught(teacher, t, values, guidance=None):
    """What a teacher estimates as it samples: a function that maps (x_t, t) to an ``Estimate``.

    Args:
        teacher: a ``DDPM``.
        t: float tensor (B,), for the number of rows.
        values: dict from the name of each condition's tensors to a tensor (B, ...).
        guidance: the strength of guidance without a classifier, the same for all rows, or None.
    """
    return teacher.denoise(values, None if guidance is None else ops.full_like(t, guidance))
