"""Invertible functions of one number, with parameters: what couplings and autoregressive steps apply to each value."""

import math

import keras
from keras import ops

from kgen.backend import probability
from kgen.core import checks
from kgen.core.config import Configured, resolve


class Transform(Configured):
    """Base class: makes a TFP bijector of scalars from the numbers that a network returns.

    A subclass says in ``size`` how many numbers each value takes. All zeros must give the identity: a flow starts as one.
    """

    @property
    def size(self):
        """Numbers for each value."""
        raise NotImplementedError

    def bijector(self, parameters):
        """The bijector whose ``forward`` maps z to x, as everywhere in TFP.

        Args:
            parameters: float32 tensor (B, *shape, size).
        Returns:
            TFP bijector of scalars, with batch shape (B, *shape).
        """
        raise NotImplementedError


@keras.saving.register_keras_serializable(package="kgen")
class AffineTransform(Transform):
    """x = shift + exp(log_scale) z, with log_scale kept within ``limit`` by a hyperbolic tangent.

    Args:
        limit: largest |log_scale|.
    Reference:
        Dinh et al., Density estimation using Real NVP, 2017, Eq. 7 and 8, arXiv 1605.08803.
    """

    def __init__(self, limit=3.0):
        self.limit = checks.in_range("limit", limit, 0.01, 20.0)

    @property
    def size(self):
        return 2

    def bijector(self, parameters):
        tfb = probability.bijectors()
        log_scale = self.limit * ops.tanh(parameters[..., 1] / self.limit)
        return tfb.Shift(parameters[..., 0])(tfb.Scale(log_scale=log_scale))


@keras.saving.register_keras_serializable(package="kgen")
class SplineTransform(Transform):
    """A monotone rational-quadratic spline on [-bound, bound], and the identity outside.

    It is x to z that is ``tfb.RationalQuadraticSpline``'s ``forward``: training then never takes its inverse, which has a root.

    Args:
        bins: number of bins K; each value takes 3K - 1 numbers: widths, heights and the slopes at inner knots.
        bound: half the side of the square that holds the knots.
        min_bin: smallest width and height, as a share of the whole.
        min_slope: smallest slope at a knot.
    Reference:
        Durkan et al., Neural spline flows, 2019, section 3.1 and appendix A, arXiv 1906.04032.
    """

    def __init__(self, bins=8, bound=4.0, min_bin=1e-4, min_slope=1e-3):
        self.bins = checks.positive_int("bins", bins)
        self.bound = checks.in_range("bound", bound, 0.1, 1e3)
        self.min_bin = checks.in_range("min_bin", min_bin, 1e-6, 0.5 / self.bins)
        self.min_slope = checks.in_range("min_slope", min_slope, 1e-6, 0.5)

    @property
    def size(self):
        return 3 * self.bins - 1

    def bijector(self, parameters):
        tfb = probability.bijectors()
        k, smallest = self.bins, 2 * self.bound * self.min_bin
        spread = 2 * self.bound - k * smallest
        identity = math.log(math.expm1(1.0 - self.min_slope))  # softplus of it is a slope of 1
        spline = tfb.RationalQuadraticSpline(
            bin_widths=smallest + spread * ops.softmax(parameters[..., :k]),
            bin_heights=smallest + spread * ops.softmax(parameters[..., k : 2 * k]),
            knot_slopes=self.min_slope + ops.softplus(parameters[..., 2 * k :] + identity),
            range_min=-self.bound,
        )
        return tfb.Invert(spline)


def get(transform):
    """A ``Transform`` from itself, "affine" or "spline", or its configuration."""
    return resolve("transform", transform, Transform, {"affine": AffineTransform, "spline": SplineTransform})
