"""What a network predicts of x_t = alpha x_0 + sigma eps: the noise, the data, or the velocity."""

import keras

from kgen.core.config import Configured, resolve


class Prediction(Configured):
    """Base class: how an output becomes an estimate of x_0, and what the output should have been.

    ``alpha`` and ``sigma`` are floats or tensors that broadcast against x (B, ...).
    """

    def target(self, x, noise, alpha, sigma):
        """What the network should have returned: a tensor like ``x``."""
        raise NotImplementedError

    def data(self, output, x_t, alpha, sigma):
        """The estimate of x_0 from the network's output: a tensor like ``x_t``."""
        raise NotImplementedError


@keras.saving.register_keras_serializable(package="kgen")
class NoisePrediction(Prediction):
    """The network returns eps. Reference: Ho et al. 2020, Eq. 14, arXiv 2006.11239."""

    def target(self, x, noise, alpha, sigma):
        return noise

    def data(self, output, x_t, alpha, sigma):
        return (x_t - sigma * output) / alpha


@keras.saving.register_keras_serializable(package="kgen")
class DataPrediction(Prediction):
    """The network returns x_0. Reference: Salimans & Ho 2022, section 4, arXiv 2202.00512."""

    def target(self, x, noise, alpha, sigma):
        return x

    def data(self, output, x_t, alpha, sigma):
        return output


@keras.saving.register_keras_serializable(package="kgen")
class VelocityPrediction(Prediction):
    """The network returns v = alpha eps - sigma x_0. Reference: Salimans & Ho 2022, appendix D, arXiv 2202.00512."""

    def target(self, x, noise, alpha, sigma):
        return alpha * noise - sigma * x

    def data(self, output, x_t, alpha, sigma):
        return alpha * x_t - sigma * output


def get(prediction):
    """A ``Prediction`` from itself, "noise", "data" or "velocity", or its configuration."""
    aliases = {"noise": NoisePrediction, "data": DataPrediction, "velocity": VelocityPrediction}
    return resolve("prediction", prediction, Prediction, aliases)
