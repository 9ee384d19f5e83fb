"""DRAGAN: a penalty on the slope of a discriminator around the data."""

import keras
from keras import ops

from kgen.core import checks, random
from kgen.gan.regularizers import Regularizer, squared_slope


@keras.saving.register_keras_serializable(package="kgen")
class DRAGAN(Regularizer):
    """weight * (|dD(x + d)/dx| - 1)^2, x data and d normal noise of standard deviation ``scale``.

    Where a discriminator is steep around the data, generators are caught in what is best there alone: this penalty keeps it even. Unlike
    ``GradientPenalty`` it needs no samples, and goes with any loss.

    Args:
        weight: lambda in the paper.
        scale: root of c in the paper, in units of the data. The noise is to leave images about recognisable.
        every: as in ``Regularizer``.
    Reference:
        Kodali et al., On convergence and stability of GANs, 2017, section 2.3, arXiv 1705.07215.
    """

    takes_slopes = True

    def __init__(self, weight=10.0, scale=0.3, every=1):
        super().__init__(every)
        self.weight = checks.in_range("weight", weight, 0.0, 1e6)
        self.scale = checks.in_range("scale", scale, 0.0, 1e6)

    def __call__(self, function, real, fake, seeds, step=0, state=None):
        near = real + self.scale * random.normal(seeds, tuple(real.shape[1:]))
        # The square root's own slope is infinite at 0.
        return self.weight * ops.square(ops.sqrt(squared_slope(function, near) + 1e-12) - 1.0)
