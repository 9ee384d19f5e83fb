"""Parameterisations: what a network is given of x_t = alpha x_0 + sigma eps, and what it returns.

``alpha`` and ``sigma`` broadcast against x (B, ...).
"""

import typing

import keras
from keras import ops

from kgen.core.config import Configured, resolve
from kgen.diffusion.schedules import at_least, like

LEAST = 1e-5  # where alpha or sigma is 0, there is nothing to divide


class Estimate(typing.NamedTuple):
    """What is in x_t: ``data`` and ``noise`` (B, ...), and ``variance``, where
    between its bounds a learned variance of x_s given x_t lies, in [0, 1], or None."""

    data: typing.Any
    noise: typing.Any
    variance: typing.Any = None


class Prediction(Configured):
    """Base class."""

    outputs = 1  # channels of the network's output for each of the data's
    needs_data = False  # whether it says nothing of the data where alpha = 0

    def inputs(self, x_t, t, alpha, sigma):
        """What the network gets: ``(x, t)``, tensors like x_t and (B,). Here x_t and t themselves."""
        return x_t, t

    def target(self, x, noise, alpha, sigma):
        """What the network should return: a tensor like ``x``."""
        raise NotImplementedError

    def estimate(self, output, x_t, alpha, sigma):
        """The ``Estimate`` that an output makes."""
        raise NotImplementedError

    def data_weight(self, alpha, sigma):
        """What the data's squared error weighs where the output's own weighs 1: like alpha."""
        raise NotImplementedError

    def loss(self, output, x, noise, t, schedule, weight=1.0):
        """The loss of each row of an output: its squared error, averaged over the values, times ``weight``: float tensor (B,).

        Args:
            output: the network's, float tensor (B, ...).
            x, noise: float tensors (B, ...).
            t: float tensor (B,).
            schedule: a ``Schedule``.
            weight: what a squared error weighs, float tensor (B,).
        """
        alpha, sigma = like(schedule.alpha(t), x), like(schedule.sigma(t), x)
        return row_mean(ops.square(output - self.target(x, noise, alpha, sigma))) * weight


def row_mean(values):
    """The mean of each row: (B, ...) to (B,)."""
    return ops.mean(ops.reshape(values, (ops.shape(values)[0], -1)), axis=-1)


def noise_of(data, x_t, alpha, sigma):
    """The noise that is in x_t if the data is ``data``."""
    return (x_t - alpha * data) / at_least(sigma, LEAST)


@keras.saving.register_keras_serializable(package="kgen")
class NoisePrediction(Prediction):
    """The network returns eps. Reference: Ho et al. 2020, Eq. 14, arXiv 2006.11239."""

    needs_data = True

    def target(self, x, noise, alpha, sigma):
        return noise

    def estimate(self, output, x_t, alpha, sigma):
        return Estimate((x_t - sigma * output) / at_least(alpha, LEAST), output)

    def data_weight(self, alpha, sigma):
        return ops.square(alpha / at_least(sigma, LEAST))


@keras.saving.register_keras_serializable(package="kgen")
class DataPrediction(Prediction):
    """The network returns x_0. Reference: Salimans & Ho 2022, section 4, arXiv 2202.00512."""

    def target(self, x, noise, alpha, sigma):
        return x

    def estimate(self, output, x_t, alpha, sigma):
        return Estimate(output, noise_of(output, x_t, alpha, sigma))

    def data_weight(self, alpha, sigma):
        return ops.ones_like(alpha)


@keras.saving.register_keras_serializable(package="kgen")
class VelocityPrediction(Prediction):
    """The network returns v = alpha eps - sigma x_0. Reference: Salimans & Ho 2022, appendix D, arXiv 2202.00512.

    There alpha^2 + sigma^2 = 1; elsewhere both estimates are divided by that sum.
    """

    def target(self, x, noise, alpha, sigma):
        return alpha * noise - sigma * x

    def estimate(self, output, x_t, alpha, sigma):
        total = ops.square(alpha) + ops.square(sigma)
        return Estimate((alpha * x_t - sigma * output) / total, (sigma * x_t + alpha * output) / total)

    def data_weight(self, alpha, sigma):
        return ops.square((ops.square(alpha) + ops.square(sigma)) / at_least(sigma, LEAST))


@keras.saving.register_keras_serializable(package="kgen")
class ScorePrediction(Prediction):
    """The network returns sigma times the score, sigma grad ln p(x_t) = -eps, so that its size does not depend on the noise's.

    Reference: Song et al. 2021, Eq. 7 with lambda(t) = sigma^2, arXiv 2011.13456.
    """

    needs_data = True

    def target(self, x, noise, alpha, sigma):
        return -noise

    def estimate(self, output, x_t, alpha, sigma):
        return Estimate((x_t + sigma * output) / at_least(alpha, LEAST), -output)

    def data_weight(self, alpha, sigma):
        return ops.square(alpha / at_least(sigma, LEAST))


@keras.saving.register_keras_serializable(package="kgen")
class FlowPrediction(Prediction):
    """The network returns eps - x_0: dx/dt on the straight line from data to noise.

    Reference: Liu et al. 2023, Eq. 1, arXiv 2209.03003 (time the other way round).
    """

    def target(self, x, noise, alpha, sigma):
        return noise - x

    def estimate(self, output, x_t, alpha, sigma):
        total = alpha + sigma
        return Estimate((x_t - sigma * output) / total, (x_t + alpha * output) / total)

    def data_weight(self, alpha, sigma):
        return ops.square((alpha + sigma) / at_least(sigma, LEAST))


def get(prediction):
    """A ``Prediction`` from itself, "noise", "data", "velocity", "score" or "flow", or its configuration."""
    aliases = {
        "noise": NoisePrediction,
        "data": DataPrediction,
        "velocity": VelocityPrediction,
        "score": ScorePrediction,
        "flow": FlowPrediction,
    }
    return resolve("prediction", prediction, Prediction, aliases)
