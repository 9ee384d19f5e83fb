"""Estimates that are scaled into the range of images, where they would be clipped to it."""

import math

import keras
from keras import ops

from kgen.core import checks
from kgen.diffusion.guidance import FurtherGuidance, GuidedDenoiser
from kgen.diffusion.schedules import at_least, like


@keras.saving.register_keras_serializable(package="kgen")
class DynamicThresholding(FurtherGuidance):
    """x_0 <- clip(x_0, -s, s)/s in place of the clip to [-1, 1], with s = max(1, the percentile of |x_0| in this row).

    Strong guidance takes many values beyond the range; clipped they are all the same, and pictures saturate.

    Args:
        guidance: a ``Guidance``, the strength of one without a classifier, or None for thresholding alone.
        percentile: share of the values that lie below s, in [0, 1].
    Reference:
        Saharia et al., Photorealistic text-to-image diffusion models with deep language understanding, 2022, section 2.3 (99.5 % in its
        appendix), arXiv 2205.11487.
    """

    neutral = None

    def __init__(self, guidance=None, percentile=0.995):
        super().__init__(guidance)
        self.percentile = checks.in_range("percentile", percentile, 0.0, 1.0)

    def check(self, model, given):
        super().check(model, given)
        if not model.clip:
            raise ValueError(
                "guidance: DynamicThresholding is for data in [-1, 1], and this model's has no bounds. It is made with clip=True where it has."
            )

    def around(self, denoiser, conditions, strength):
        return _Thresholded(self.guidance.around(denoiser.unclipped(), conditions, strength), self.percentile)


class _Thresholded(GuidedDenoiser):
    def __init__(self, around, percentile):
        super().__init__(around)
        self.percentile = percentile

    def __call__(self, x_t, t, conditions):
        found = self.around(x_t, t, conditions)
        sizes = ops.sort(ops.reshape(ops.abs(found.data), (-1, math.prod(x_t.shape[1:]))), axis=-1)
        place = self.percentile * (sizes.shape[1] - 1)  # between two values, as numpy's percentile
        low, share = math.floor(place), place - math.floor(place)
        s = (1.0 - share) * sizes[:, low] + share * sizes[:, min(low + 1, sizes.shape[1] - 1)]
        s = like(at_least(s, 1.0), x_t)
        t = ops.broadcast_to(t, (ops.shape(x_t)[0],))
        return self.of_data(ops.clip(found.data / s, -1.0, 1.0), found, x_t, t)
