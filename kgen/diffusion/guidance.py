"""Guidance: a denoiser around a denoiser, which draws samples towards what they are conditioned on."""

import keras
import numpy as np
from keras import ops

from kgen.core import checks
from kgen.core.config import Configured, resolve
from kgen.diffusion.denoiser import Denoiser
from kgen.diffusion.schedules import like


class Guidance(Configured):
    """Base class: how denoisers are guided.

    Args:
        strength: how strongly; each row has its own when it is served.
    """

    neutral = 1.0  # the strength that leaves a denoiser as it is; None where there is none

    def __init__(self, strength=1.0):
        self.strength = checks.in_range("guidance", strength, 0.0, 100.0)

    def check(self, model, given):
        """Raises ValueError unless it can guide this ``DDPM``, of whose conditions those in ``given``, a set of keywords, are given."""

    @property
    def key(self):
        """What identifies compiled functions that it is in."""
        return (type(self).__name__, *(f"{k}={v!r}" for k, v in self.get_config().items() if k != "strength"))

    def around(self, denoiser, conditions, strength):
        """The guided denoiser.

        Args:
            denoiser: a ``Denoiser``.
            conditions: the model's ``kgen.core.conditions.Conditions``.
            strength: float tensor (B,), one number for each row.
        Returns:
            a ``Denoiser``.
        """
        raise NotImplementedError

    @property
    def variables(self):
        """The variables of networks that it brings along."""
        return []


class GuidedDenoiser(Denoiser):
    """A ``Denoiser`` around another: what it does not override is the other's."""

    def __init__(self, around):
        super().__init__(around.network, around.schedule, around.prediction, around.clip)
        self.around = around

    def output(self, x_t, t, conditions, training=False):
        return self.around.output(x_t, t, conditions, training)

    def estimate(self, output, x_t, t):
        return self.around.estimate(output, x_t, t)

    def unclipped(self):
        other = super().unclipped()
        other.around = self.around.unclipped()
        return other


@keras.saving.register_keras_serializable(package="kgen")
class Unguided(Guidance):
    """The denoiser as it is."""

    def around(self, denoiser, conditions, strength):
        return denoiser


class FurtherGuidance(Guidance):
    """Base class of guidance around another: as strong as that one, and checked by it.

    Args:
        guidance: a ``Guidance``, the strength of one without a classifier, or None for none.
    """

    def __init__(self, guidance=None):
        self.guidance = get(guidance)
        super().__init__(self.guidance.strength)

    def check(self, model, given):
        self.guidance.check(model, given)

    @property
    def key(self):
        own = (f"{k}={v!r}" for k, v in self.get_config().items() if k != "guidance")
        return (type(self).__name__, *own, self.guidance.key)

    @property
    def variables(self):
        return self.guidance.variables


@keras.saving.register_keras_serializable(package="kgen")
class ClassifierFreeGuidance(Guidance):
    """output = output(nothing given) + strength (output(given) - output(nothing given)), both from one pass over a doubled batch.

    Strength 1 is the model's own conditional. Conditions that cannot be left out are given to both.

    Args:
        strength: as in ``Guidance``; 2 to 5 are usual.
        negative: what samples are drawn away from in place of nothing, for all rows: a dict from the conditions' names to values, as
            ``sample`` takes them, such as ``{"labels": 3}`` or ``{"text": "blurred"}``. Conditions that it does not name are left out.
    Reference:
        Ho & Salimans, Classifier-free diffusion guidance, 2022, Eq. 6 (strength = 1 + w), arXiv 2207.12598.
    """

    def __init__(self, strength=1.0, negative=None):
        super().__init__(strength)
        self.negative = None if negative is None else as_given("negative", negative)

    def check(self, model, given):
        conditions = model.conditions
        if len(conditions) == 0:
            raise ValueError("guidance: this model has no classes and no other condition to be drawn towards.")
        if self.negative is not None:
            conditions.some(1, self.negative)
            return
        check_droppable(conditions)
        if not given & {c.keyword for c in conditions if c.optional}:
            raise ValueError(
                "guidance: it draws samples towards a class; pass labels too, or what else the model is conditioned on."
            )

    def around(self, denoiser, conditions, strength):
        return ClassifierFree(denoiser, conditions, strength, self.negative)


class ClassifierFree(GuidedDenoiser):
    """The denoiser of ``ClassifierFreeGuidance``."""

    def __init__(self, around, conditions, strength, negative=None):
        super().__init__(around)
        self.conditions, self.strength, self.negative = conditions, strength, negative

    def output(self, x_t, t, conditions, training=False):
        other = self.conditions.null(conditions)
        if self.negative is not None:
            other = with_values(self.conditions, other, self.negative)
        given, nothing = self.outputs(x_t, t, [conditions, other], training)
        return self.combined(given, nothing, x_t)

    def outputs(self, x_t, t, given, training=False):
        """The outputs at the same x_t and t for several dicts of conditions: a list of tensors, from one pass over them all."""
        joined = {name: ops.concatenate([values[name] for values in given]) for name in given[0]}
        count = len(given)
        every = self.around.output(ops.concatenate([x_t] * count), ops.concatenate([t] * count), joined, training)
        return ops.split(every, count)

    def combined(self, given, nothing, x_t):
        """The guided output, of that with what is given and that with nothing; a learned variance is the former's."""
        return self.beside_variance(nothing + like(self.strength, x_t) * (given - nothing), given, x_t)

    @staticmethod
    def beside_variance(guided, given, x_t):
        """``guided`` where the output is of the data, ``given`` in the channels after it."""
        channels = x_t.shape[-1]
        if guided.shape[-1] == channels:
            return guided
        return ops.concatenate([guided[..., :channels], given[..., channels:]], axis=-1)


def as_given(argument, values):
    """A dict of conditions for all rows, as ``sample`` takes them, without arrays: what a configuration can hold."""
    if not isinstance(values, dict) or not values or not all(isinstance(name, str) for name in values):
        raise ValueError(
            f"{argument}: expected a dict from the names of conditions to values, such as {{'labels': 3}}, received {values!r}."
        )
    return {name: np.asarray(value).tolist() for name, value in values.items()}


def with_values(conditions, tensors, given):
    """``tensors`` of conditions by name (B, ...), with those of ``given``, as ``sample`` takes them, in all rows."""
    rows = ops.shape(next(iter(tensors.values())))[0]
    found = conditions.some(1, given)
    return {
        **tensors,
        **{k: ops.broadcast_to(ops.convert_to_tensor(v), (rows, *v.shape[1:])) for k, v in found.items()},
    }


def check_droppable(conditions):
    """Raises ValueError unless the model knows what it is to be given nothing."""
    if not conditions.droppable:
        raise ValueError(
            "guidance: this model has never been trained without its conditions, and guidance compares with that. Train it with "
            "label_dropout=0.1, or dropout= of another condition."
        )


def get(guidance):
    """A ``Guidance`` from itself or its configuration; from a number, ``ClassifierFreeGuidance`` of this strength; from None, ``Unguided``."""
    if guidance is None:
        return Unguided()
    if isinstance(guidance, (Guidance, dict)):
        return resolve("guidance", guidance, Guidance, {"a strength": ClassifierFreeGuidance})
    return ClassifierFreeGuidance(guidance)
