"""Likelihoods p(x | z): what a decoder's output says about the data.

A decoder returns ``parameters`` numbers for each value of x, as the last axis after a reshape: output (B, *shape[:-1], shape[-1] *
parameters) becomes (B, *shape, parameters). x is in [-1, 1].
"""

import math

import keras
from keras import ops

from kgen import backend, distributions
from kgen.core import random
from kgen.core.config import resolve

MEMORY = 0.9  # decay of the moving average of a measured scale
SMALLEST = 1e-6  # of measured variances, as where all values of a batch are met exactly


class Likelihood(keras.layers.Layer):
    """Base class. A layer, so that it can hold weights, such as a learned scale."""

    parameters = 1

    def measure(self, parameters, x, weight=None):
        """Called in training, before ``log_prob``: a likelihood that measures something on batches, rather than train it, does it here.

        Args:
            parameters, x: as in ``log_prob``.
            weight: sample weights (B,), or None.
        """

    def log_prob(self, parameters, x):
        """ln p(x | z).

        Args:
            parameters: float tensor (B, *shape, parameters).
            x: float tensor (B, *shape), in [-1, 1].
        Returns:
            float32 tensor (B,), nats.
        """
        raise NotImplementedError

    def mean(self, parameters):
        """E[x | z]: float tensor (B, *shape), from parameters (B, *shape, parameters)."""
        raise NotImplementedError

    def sample(self, parameters, seeds, draw):
        """A draw of x given z: float tensor (B, *shape), with row seeds (B, 2)."""
        raise NotImplementedError

    def split(self, output):
        """A decoder's output (B, ..., C * parameters) as float32 parameters (B, ..., C, parameters)."""
        shape = (*output.shape[1:-1], output.shape[-1] // self.parameters, self.parameters)
        return ops.reshape(ops.cast(output, "float32"), (-1, *shape))


def _total(values):
    """Sums everything but the batch axis."""
    return ops.sum(ops.reshape(values, (ops.shape(values)[0], -1)), axis=-1)


@keras.saving.register_keras_serializable(package="kgen")
class BernoulliLikelihood(Likelihood):
    """(x + 1)/2 is 1 with probability sigmoid(output).

    Grey values between -1 and 1 count as the probability of a 1: the loss is then the mean over random binarisations of x.
    """

    def log_prob(self, parameters, x):
        # Written out, because torch's Bernoulli refuses values between 0 and 1.
        logits, target = parameters[..., 0], (ops.cast(x, "float32") + 1.0) / 2.0
        return _total(target * logits - ops.softplus(logits))

    def mean(self, parameters):
        return 2.0 * ops.sigmoid(parameters[..., 0]) - 1.0

    def sample(self, parameters, seeds, draw):
        return 2.0 * random.bernoulli(seeds, ops.sigmoid(parameters[..., 0]), draw) - 1.0


@keras.saving.register_keras_serializable(package="kgen")
class GaussianLikelihood(Likelihood):
    """x is normal around the output; a density, in nats with respect to x in [-1, 1].

    The analytic scale is the best one at each moment, the root mean squared error of the last batches (a moving average of some ten of
    them, which starts at ``initial_scale``). It gives better reconstructions and likelihoods than a learned scale does in a short
    training, whose scale is on its way from ``initial_scale`` for long, and for the same reason worse samples from the prior.

    Args:
        scale: standard deviation; None to learn one for all values (a weight of this layer); or "analytic" to measure it in training.
        initial_scale: where a learned or measured scale starts.
    Reference:
        Rybkin et al., Simple and effective VAE training with calibrated decoders, 2021, Eq. 4 and 5, arXiv 2006.13202.
    """

    def __init__(self, scale=None, initial_scale=1.0, **kwargs):
        super().__init__(**kwargs)
        analytic = isinstance(scale, str) and scale == "analytic"
        for name, value in (("scale", scale), ("initial_scale", initial_scale)):
            if value is not None and not (analytic and name == "scale") and (isinstance(value, str) or not value > 0):
                what = "a number above 0, None or 'analytic'" if name == "scale" else "a number above 0"
                raise ValueError(f"{name}: expected {what}, received {value!r}.")
        self.scale, self.initial_scale = scale, initial_scale
        self.log_scale = self.variance = None
        if scale is None:
            start = keras.initializers.Constant(math.log(initial_scale))
            self.log_scale = self.add_weight(shape=(), initializer=start, name="log_scale", dtype="float32")
        if analytic:
            start = keras.initializers.Constant(initial_scale**2)
            self.variance = self.add_weight(
                shape=(), initializer=start, trainable=False, dtype="float32", aggregation="mean", name="variance"
            )
        self.built = True

    def _scale(self):
        if self.variance is not None:
            return ops.sqrt(ops.convert_to_tensor(self.variance))
        return ops.exp(ops.convert_to_tensor(self.log_scale)) if self.scale is None else self.scale

    def measure(self, parameters, x, weight=None):
        if self.variance is None or not self.trainable:
            return
        errors = ops.square(ops.stop_gradient(parameters[..., 0]) - ops.cast(x, "float32"))
        errors = ops.mean(ops.reshape(errors, (ops.shape(x)[0], math.prod(x.shape[1:]))), axis=-1)
        weight = ops.ones_like(errors) if weight is None else ops.cast(weight, errors.dtype)
        total, count = (backend.replica_sum(ops.sum(v)) for v in (errors * weight, weight))
        found = ops.maximum(total / ops.maximum(count, 1e-12), SMALLEST)
        self.variance.assign(MEMORY * self.variance + (1.0 - MEMORY) * found)

    def log_prob(self, parameters, x):
        loc = parameters[..., 0]
        scale = self._scale() * ops.ones_like(loc)
        return _total(distributions.Normal(loc, scale).log_prob(ops.cast(x, "float32")))

    def mean(self, parameters):
        return parameters[..., 0]

    def sample(self, parameters, seeds, draw):
        loc = parameters[..., 0]
        return loc + self._scale() * random.normal(seeds, tuple(loc.shape[1:]), draw)

    def get_config(self):
        return {**super().get_config(), "scale": self.scale, "initial_scale": self.initial_scale}


class _Levels(Likelihood):
    """Base of the likelihoods of values quantised to ``levels`` equally spaced levels in [-1, 1]."""

    def __init__(self, levels=256, **kwargs):
        super().__init__(**kwargs)
        if levels < 2:
            raise ValueError(f"levels: expected at least 2, received {levels!r}.")
        self.levels = levels
        self.built = True

    def get_config(self):
        return {**super().get_config(), "levels": self.levels}


@keras.saving.register_keras_serializable(package="kgen")
class CategoricalLikelihood(_Levels):
    """Each value is one of ``levels`` levels, with a probability of its own each: ``levels`` numbers per value.

    Args:
        levels: number of equally spaced levels in [-1, 1].
    Reference:
        van den Oord et al., Pixel recurrent neural networks, 2016, section 3.1, arXiv 1601.06759.
    """

    @property
    def parameters(self):
        return self.levels

    def log_prob(self, parameters, x):
        level = ops.cast(ops.round((ops.cast(x, "float32") + 1.0) * ((self.levels - 1) / 2.0)), "int32")
        return _total(distributions.Categorical(logits=parameters).log_prob(level))

    def _values(self):
        return ops.arange(self.levels, dtype="float32") * (2.0 / (self.levels - 1)) - 1.0

    def mean(self, parameters):
        return ops.sum(ops.softmax(parameters, axis=-1) * self._values(), axis=-1)

    def sample(self, parameters, seeds, draw):
        return ops.take(self._values(), random.categorical(seeds, parameters, draw))


@keras.saving.register_keras_serializable(package="kgen")
class DiscretizedLogisticLikelihood(_Levels):
    """Each value is a level drawn from a mixture of logistics, rounded to the levels: 3 numbers per component.

    Args:
        components: number of logistics.
        levels: number of equally spaced levels in [-1, 1].
    Reference:
        Salimans et al., PixelCNN++, 2017, Eq. 2 (a mixture for each channel), arXiv 1701.05517.
    """

    def __init__(self, components=5, levels=256, **kwargs):
        super().__init__(levels, **kwargs)
        if components < 1:
            raise ValueError(f"components: expected at least 1, received {components!r}.")
        self.components = components

    @property
    def parameters(self):
        return 3 * self.components

    def _parts(self, parameters):
        logits, loc, log_scale = ops.split(parameters, 3, axis=-1)
        return (
            logits,
            ops.tanh(loc) * 1.5,
            ops.maximum(log_scale - 2.0, -7.0),
        )  # starts broad, never narrower than a cell's part

    def log_prob(self, parameters, x):
        logits, loc, log_scale = self._parts(parameters)
        x = ops.cast(x, "float32")
        return _total(distributions.discretized_logistic_mixture_log_prob(x, logits, loc, log_scale, self.levels))

    def mean(self, parameters):
        return distributions.discretized_logistic_mixture_mean(*self._parts(parameters), self.levels)

    def sample(self, parameters, seeds, draw):
        logits, loc, log_scale = self._parts(parameters)
        seeds = random.fold_in(seeds, draw)
        chosen = ops.one_hot(random.categorical(seeds, logits, 0), self.components)
        u = random.uniform(seeds, tuple(loc.shape[1:-1]), 1)
        x = ops.sum(chosen * loc, axis=-1) + ops.exp(ops.sum(chosen * log_scale, axis=-1)) * (
            ops.log(u) - ops.log1p(-u)
        )
        half = (self.levels - 1) / 2.0
        return ops.round((ops.clip(x, -1.0, 1.0) + 1.0) * half) / half - 1.0

    def get_config(self):
        return {**super().get_config(), "components": self.components}


@keras.saving.register_keras_serializable(package="kgen")
class MeanAndLevelsLikelihood(DiscretizedLogisticLikelihood):
    """Levels from a mixture of logistics around a mean that the decoder gives beside it: 1 + 3 numbers per component.

    A Gaussian of one deviation makes codes that keep what a picture needs, but it is a poor account of grey levels: a background that is
    always black costs as many bits as a face. A mixture of logistics is a good one, and makes codes that keep the background. So the first
    comes first; then, with encoder and decoder as they are, this likelihood is trained: the decoder's output, which minimises squared
    errors, is the first number, and a second decoder gives the rest (``recipes/vae_fashion_mnist.py``).

    ``mean`` is the first number, not the mean of the mixture, and no gradient of the likelihood reaches it. Both estimate E[x | z]; of a decoder
    that is trained further by a mixture alone, the means are worse pictures (on Fashion-MNIST a Fréchet distance of 11.9 instead of 9.1).

    Args:
        components, levels: as in ``DiscretizedLogisticLikelihood``.
    """

    @property
    def parameters(self):
        return 1 + 3 * self.components

    def _parts(self, parameters):
        mean = ops.clip(ops.stop_gradient(parameters[..., :1]), -1.0, 1.0)
        logits, offset, log_scale = ops.split(parameters[..., 1:], 3, axis=-1)
        return logits, ops.clip(mean + offset, -1.5, 1.5), ops.maximum(log_scale - 2.0, -7.0)

    def mean(self, parameters):
        return ops.clip(parameters[..., 0], -1.0, 1.0)


def get(observation):
    """A ``Likelihood`` from itself, its configuration, or "gaussian", "bernoulli", "categorical", "discretized_logistic"."""
    aliases = {
        "gaussian": GaussianLikelihood,
        "bernoulli": BernoulliLikelihood,
        "categorical": CategoricalLikelihood,
        "discretized_logistic": DiscretizedLogisticLikelihood,
    }
    return resolve("observation", observation, Likelihood, aliases)
