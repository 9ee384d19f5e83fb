"""Guidance without a classifier, whose outputs keep their size."""

import keras
from keras import ops

from kgen.core import checks
from kgen.diffusion.guidance import ClassifierFree, ClassifierFreeGuidance


@keras.saving.register_keras_serializable(package="kgen")
class RescaledGuidance(ClassifierFreeGuidance):
    """output = (rescale std(given)/std(guided) + 1 - rescale) guided, with std over all values of a row.

    ``guided`` is the output of ``ClassifierFreeGuidance``, which grows with the strength: images become too bright and too dark.

    Args:
        strength, negative: as in ``ClassifierFreeGuidance``.
        rescale: phi of the paper, in [0, 1]; 0 is ``ClassifierFreeGuidance`` itself.
    Reference:
        Lin et al., Common diffusion noise schedules and sample steps are flawed, 2023, Eq. 15 and 16, arXiv 2305.08891.
    """

    def __init__(self, strength=1.0, rescale=0.7, negative=None):
        super().__init__(strength, negative)
        self.rescale = checks.in_range("rescale", rescale, 0.0, 1.0)

    def around(self, denoiser, conditions, strength):
        return _Rescaled(denoiser, conditions, strength, self.negative, self.rescale)


class _Rescaled(ClassifierFree):
    def __init__(self, around, conditions, strength, negative, rescale):
        super().__init__(around, conditions, strength, negative)
        self.rescale = rescale

    def combined(self, given, nothing, x_t):
        guided = super().combined(given, nothing, x_t)
        channels = x_t.shape[-1]  # what comes after them is a learned variance
        axes = tuple(range(1, len(x_t.shape)))
        wanted, received = (ops.std(v[..., :channels], axis=axes, keepdims=True) for v in (given, guided))
        # Outputs that are the same all over have no size to restore.
        ratio = ops.where(received > 0, wanted / ops.where(received > 0, received, 1.0), 1.0)
        factor = self.rescale * ratio + (1.0 - self.rescale)
        own = ops.reshape(ops.arange(guided.shape[-1]) < channels, (1,) * len(axes) + (-1,))
        return ops.where(own, factor, 1.0) * guided
