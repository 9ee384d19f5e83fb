"""Guidance: a denoiser around a denoiser, which draws samples towards what they are conditioned on."""

import keras
from keras import ops

from kgen.core import checks
from kgen.core.config import Configured
from kgen.diffusion.denoiser import Denoiser
from kgen.diffusion.schedules import like


class Guidance(Configured):
    """Base class: how denoisers are guided.

    Args:
        strength: how strongly; each row has its own when it is served.
    """

    def __init__(self, strength=1.0):
        self.strength = checks.in_range("guidance", strength, 0.0, 100.0)

    def check(self, conditions, given):
        """Raises ValueError unless it can guide a model of these conditions, of which those named in ``given`` are given."""

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


@keras.saving.register_keras_serializable(package="kgen")
class ClassifierFreeGuidance(Guidance):
    """output = output(nothing given) + strength (output(given) - output(nothing given)), both from one pass over a doubled batch.

    Strength 1 is the model's own conditional. Conditions that cannot be left out are given to both.

    Args:
        strength: as in ``Guidance``; 2 to 5 are usual.
    Reference:
        Ho & Salimans, Classifier-free diffusion guidance, 2022, Eq. 6 (strength = 1 + w), arXiv 2207.12598.
    """

    def check(self, conditions, given):
        if len(conditions) == 0:
            raise ValueError("guidance: this model has no classes and no other condition to be drawn towards.")
        if not conditions.droppable:
            raise ValueError(
                "guidance: this model has never been trained without its conditions, and guidance compares with that. Train it with "
                "label_dropout=0.1, or dropout= of another condition."
            )
        if not given & {c.keyword for c in conditions if c.optional}:
            raise ValueError(
                "guidance: it draws samples towards a class; pass labels too, or what else the model is conditioned on."
            )

    def around(self, denoiser, conditions, strength):
        return _ClassifierFree(denoiser, conditions, strength)


class _ClassifierFree(GuidedDenoiser):
    def __init__(self, around, conditions, strength):
        super().__init__(around)
        self.conditions, self.strength = conditions, strength

    def output(self, x_t, t, conditions, training=False):
        null = self.conditions.null(conditions)
        both = {name: ops.concatenate([conditions[name], null[name]]) for name in conditions}
        doubled = self.around.output(ops.concatenate([x_t, x_t]), ops.concatenate([t, t]), both, training)
        given, nothing = ops.split(doubled, 2)
        return nothing + like(self.strength, x_t) * (given - nothing)
