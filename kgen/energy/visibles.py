"""Visible units of a restricted Boltzmann machine: what they are, given a bias b and the field f = W h of the hidden units.

A kind of unit is given by a function g(v) and by what the hidden units see of v, u(v): p(v | h) is proportional to
exp(g(v) + f . u(v)).
"""

import math

import keras
import numpy as np
from keras import ops

from kgen.core import checks, random
from kgen.core.config import Configured, resolve


class Visible(Configured):
    """Base class."""

    def check(self, x):
        """Raises ValueError unless float data ``x`` (N, ...) are what these units are trained on."""

    def check_exact(self, x):
        """Raises ValueError unless ``x`` are values to which the model gives a probability."""

    def from_data(self, x):
        """Data to states v."""
        return x

    def to_data(self, v):
        """States, or means of them, to data."""
        return v

    def bias_of(self, v):
        """The bias (D,) of independent units that are distributed as the states ``v`` (N, D): numpy float32."""
        raise NotImplementedError

    def seen(self, v):
        """u(v): float tensor (B, D)."""
        raise NotImplementedError

    def log_base(self, v, bias):
        """g(v) summed over units: (B,), for v (B, D) and bias (D,)."""
        raise NotImplementedError

    def log_sum(self, bias, field):
        """ln of the sum or integral of exp(g(v) + f . u(v)) over all v: (B,), for f (B, D)."""
        raise NotImplementedError

    def mean(self, bias, field):
        """The mean of p(v | h): (B, D)."""
        raise NotImplementedError

    def sample(self, bias, field, seeds, draw):
        """A draw from p(v | h): (B, D), with row seeds (B, 2)."""
        raise NotImplementedError

    def start(self, shape):
        """States from which chains may start: numpy float32 array of this shape, by numpy's global generator."""
        raise NotImplementedError


@keras.saving.register_keras_serializable(package="kgen")
class BernoulliVisible(Visible):
    """Units v in {0, 1}: g(v) = b . v, u(v) = v, p(v_i = 1 | h) = sigmoid(b_i + f_i).

    Data are in [-1, 1], as kgen's images are, and v = (x + 1) / 2: -1 is off and 1 is on. Values between are trained on as
    probabilities; ``kgen.data.binarize`` makes them -1 and 1.
    """

    def check(self, x):
        if x.min() >= 0:
            raise ValueError(
                f"x: expected values in [-1, 1], where -1 is off and 1 is on; received [{x.min():g}, {x.max():g}], none of them "
                "below 0. Convert data in [0, 1] by 2 * x - 1."
            )

    def check_exact(self, x):
        if not np.isin(x, (-1.0, 1.0)).all():
            raise ValueError(
                "x: expected values of -1 and 1 alone, as Bernoulli units give no others a probability; received values between. "
                "Binarise them by kgen.data.binarize(x); energy(x) takes them as they are."
            )

    def from_data(self, x):
        return (x + 1.0) / 2.0

    def to_data(self, v):
        return 2.0 * v - 1.0

    def bias_of(self, v):
        share = (v.sum(axis=0) + 1.0) / (len(v) + 2.0)  # Laplace's rule: a pixel that is always off keeps a finite bias
        return np.log(share / (1.0 - share)).astype("float32")

    def seen(self, v):
        return v

    def log_base(self, v, bias):
        return ops.matmul(v, bias)

    def log_sum(self, bias, field):
        return ops.sum(ops.softplus(bias + field), axis=-1)

    def mean(self, bias, field):
        return ops.sigmoid(bias + field)

    def sample(self, bias, field, seeds, draw):
        return random.bernoulli(seeds, self.mean(bias, field), draw)

    def start(self, shape):
        return np.random.randint(0, 2, shape).astype("float32")


@keras.saving.register_keras_serializable(package="kgen")
class GaussianVisible(Visible):
    """Real units: g(v) = -|v - b|^2 / 2 s^2, u(v) = v / s, p(v | h) = N(b + s f, s^2 I). Data are the states, v = x.

    Args:
        scale: s, the standard deviation of a unit given the hidden ones, in units of x; smaller than that of the data.
    Reference:
        Welling, Rosen-Zvi & Hinton, Exponential family harmoniums, 2005; Hinton, A practical guide to training RBMs, 2010,
        section 13.2.
    """

    def __init__(self, scale=1.0):
        self.scale = checks.in_range("scale", scale, 1e-6, 1e6)

    def bias_of(self, v):
        return v.mean(axis=0).astype("float32")

    def seen(self, v):
        return v / self.scale

    def log_base(self, v, bias):
        return -0.5 * ops.sum(ops.square((v - bias) / self.scale), axis=-1)

    def log_sum(self, bias, field):
        # The Gaussian integral of exp(-(v - b)^2 / 2 s^2 + f v / s).
        size = field.shape[-1]
        return size * math.log(math.sqrt(2.0 * math.pi) * self.scale) + ops.sum(
            bias / self.scale * field + 0.5 * ops.square(field), axis=-1
        )

    def mean(self, bias, field):
        return bias + self.scale * field

    def sample(self, bias, field, seeds, draw):
        return self.mean(bias, field) + self.scale * random.normal(seeds, tuple(field.shape[1:]), draw)

    def start(self, shape):
        return (self.scale * np.random.standard_normal(shape)).astype("float32")


def get(visible):
    """A ``Visible`` from itself, "bernoulli" or "gaussian", or its configuration."""
    return resolve("visible", visible, Visible, {"bernoulli": BernoulliVisible, "gaussian": GaussianVisible})
