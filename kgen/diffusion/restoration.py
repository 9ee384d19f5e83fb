"""Restoration: a diffusion model conditioned on what is left of the picture that it draws: grey, blurred, with pixels missing."""

import keras
import numpy as np
from keras import ops

from kgen.core import checks, views
from kgen.core.conditions import ImageCondition
from kgen.diffusion.ddpm import DDPM
from kgen.diffusion.operators import Operator


@keras.saving.register_keras_serializable(package="kgen")
class DegradedPicture(ImageCondition):
    """What an operator leaves of the picture: it is made from the data, and ``fit`` is not asked for it.

    Args:
        shape: of what is left.
        operator: an ``Operator``.
        name, dropout: as in ``Condition``.
    """

    given = False

    def __init__(self, shape, operator, name="degraded", dropout=0.0):
        super().__init__(shape, name, dropout)
        self.operator = as_operator(operator)

    def made(self, x, seeds):
        return {self.name: self.operator(ops.cast(x, "float32"))}

    def get_config(self):
        return {**super().get_config(), "operator": keras.saving.serialize_keras_object(self.operator)}


@keras.saving.register_keras_serializable(package="kgen")
class Restoration(DDPM):
    """A diffusion model that draws what a degraded picture may have been: ``fit(images)``, then ``restore(degraded)``.

    ``Restoration(shape, Grey())`` colours, ``Restoration(shape, GaussianBlur(1.5))`` makes sharp.

    Args:
        shape: (H, W, C) of the pictures that are drawn.
        operator: an ``Operator``, what degrades them.
        **kwargs: ``network``, ``num_classes``, ``schedule`` ... as in ``DDPM``.
    Reference:
        Saharia et al., Palette: Image-to-image diffusion models, 2022, section 4.1, arXiv 2111.05826.
    """

    def __init__(self, shape, operator, *, name="restoration", **kwargs):
        shape = checks.shape("shape", shape)
        if len(shape) != 3:
            raise ValueError(f"shape: expected (H, W, C), received {shape}.")
        operator = as_operator(operator)
        degraded = DegradedPicture(operator.shape(shape), operator)
        super().__init__(shape, conditions=[degraded], name=name, **kwargs)
        self.operator = operator

    def restore(self, x, **sampling):
        """Draws pictures of degraded ones.

        Args:
            x: float array (B, ...) of the shape that the operator gives, in [-1, 1].
            **sampling: ``seed``, ``labels``, ``guidance``, ``steps``, ``sampler``, ``batch_size`` as in ``sample``.
        Returns:
            numpy float32 array (B, H, W, C).
        """
        x = checks.data_array("x", x)
        checks.images("x", x, self.conditions["degraded"].shape)
        return self.sample(len(x), degraded=np.asarray(x, "float32"), **sampling)

    def views(self):
        given = {"x": views.picture(self.conditions["degraded"].shape, "degraded picture")}
        return [views.drawn_from(self, "restore", "Restore", given, ("guidance", "steps"))]

    def get_config(self):
        config = super().get_config()
        del config["conditions"]
        return {**config, "operator": keras.saving.serialize_keras_object(self.operator)}


def as_operator(operator):
    """An ``Operator`` from itself or its configuration."""
    if isinstance(operator, dict):
        operator = keras.saving.deserialize_keras_object(operator)
    if not isinstance(operator, Operator):
        raise TypeError(f"operator: expected an Operator, such as Grey() or GaussianBlur(1.5), received {operator!r}.")
    return operator
