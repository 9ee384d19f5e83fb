"""Penalties on the slope of the discriminator, added to its loss."""

import keras
from keras import ops

from kgen import backend
from kgen.core import checks
from kgen.core.config import Configured, resolve


def squared_slope(discriminator, x):
    """|dD(x)/dx|^2 per example, which can be differentiated again.

    Args:
        discriminator: function from examples (B, ...) to logits (B,).
        x: float tensor (B, ...).
    Returns:
        float tensor (B,).
    """
    slope = backend.grad(discriminator, x)
    return ops.sum(ops.square(slope), axis=tuple(range(1, len(slope.shape))))


class Regularizer(Configured):
    """Base class."""

    def __call__(self, discriminator, real, fake, seed, step=0):
        """The penalty per example.

        Args:
            discriminator: function from examples (B, ...) to logits (B,).
            real, fake: float tensors (B, ...).
            seed: int or ``keras.random.SeedGenerator``.
            step: int or int scalar tensor: steps that the discriminator has taken.
        Returns:
            float tensor (B,), at least 0.
        """
        raise NotImplementedError


@keras.saving.register_keras_serializable(package="kgen")
class GradientPenalty(Regularizer):
    """weight * (|dD(x)/dx| - 1)^2 at x = e * real + (1 - e) * fake, e uniform in [0, 1].

    Args:
        weight: lambda in the paper.
    Reference:
        Gulrajani et al., Improved training of Wasserstein GANs, 2017, Eq. 3, arXiv 1704.00028.
    """

    def __init__(self, weight=10.0):
        self.weight = checks.in_range("weight", weight, 0.0, 1e6)

    def __call__(self, discriminator, real, fake, seed, step=0):
        shape = (ops.shape(real)[0], *[1] * (len(real.shape) - 1))
        share = keras.random.uniform(shape, seed=seed)
        slope = squared_slope(discriminator, share * real + (1.0 - share) * fake)
        # The square root's own slope is infinite at 0.
        return self.weight * ops.square(ops.sqrt(slope + 1e-12) - 1.0)


@keras.saving.register_keras_serializable(package="kgen")
class R1(Regularizer):
    """gamma / 2 * |dD(x)/dx|^2 at real examples: without it, training need not settle even where the generator is right.

    Args:
        gamma: the larger, the smoother the discriminator; small (0.001 to 0.1) for small data, 1 to 10 for photographs. A float, or a
            ``keras.optimizers.schedules.LearningRateSchedule`` of the discriminator's steps: much at first, so that the generator
            finds all of the data, and little later, so that it gets its details right.
    Reference:
        Mescheder et al., Which training methods for GANs do actually converge?, 2018, Eq. 9, arXiv 1801.04406.
    """

    def __init__(self, gamma=1.0):
        schedule = keras.optimizers.schedules.LearningRateSchedule
        if isinstance(gamma, dict):
            gamma = keras.saving.deserialize_keras_object(gamma)
        self.gamma = gamma if isinstance(gamma, schedule) else checks.in_range("gamma", gamma, 0.0, 1e6)

    def _half(self, step):
        return 0.5 * (self.gamma(step) if callable(self.gamma) else self.gamma)

    def __call__(self, discriminator, real, fake, seed, step=0):
        return self._half(step) * squared_slope(discriminator, real)


@keras.saving.register_keras_serializable(package="kgen")
class R2(R1):
    """gamma / 2 * |dD(x)/dx|^2 at generated examples. Reference: Mescheder et al. 2018, Eq. 10."""

    def __call__(self, discriminator, real, fake, seed, step=0):
        return self._half(step) * squared_slope(discriminator, fake)


ALIASES = {"gradient_penalty": GradientPenalty, "r1": R1, "r2": R2}


def get(regularizers):
    """A tuple of regularizers from one or several names, configurations or objects."""
    several = regularizers if isinstance(regularizers, (list, tuple)) else [regularizers]
    return tuple(resolve("regularizers", r, Regularizer, ALIASES) for r in several)
