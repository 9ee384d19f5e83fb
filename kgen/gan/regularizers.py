"""Penalties that are added to a player's loss: on the slope of a discriminator, or of a generator."""

import math

import keras
from keras import ops

from kgen import backend
from kgen.core import checks, random
from kgen.core.config import Configured, resolve


def squared_slope(function, x):
    """|df(x)/dx|^2 per example, which can be differentiated again.

    Args:
        function: from examples (B, ...) to one number each, (B,).
        x: float tensor (B, ...).
    Returns:
        float tensor (B,).
    """
    slope = backend.grad(function, x)
    return ops.sum(ops.square(slope), axis=tuple(range(1, len(slope.shape))))


class Regularizer(Configured):
    """Base class.

    Args:
        every: it is computed in each ``every``-th step of its player, from the first on, and weighs ``every`` times as much there (Karras
            et al. 2020, Analyzing and improving the image quality of StyleGAN, section 3.1: lazy regularisation, arXiv 1912.04958). In
            the steps between, its work is left out.
    """

    takes_slopes = False  # whether it differentiates with respect to rows, which no layer may mix
    observes = ()  # names of what it tells ``next_state``

    def __init__(self, every=1):
        self.every = checks.positive_int("every", every)

    def state(self):
        """What it remembers: a dict from a name to a first value. The model keeps it in variables, which are saved."""
        return {}

    def __call__(self, function, real, fake, seeds, step=0, state=None):
        """The penalty per example.

        Args:
            function: what the player computes, of one tensor: a discriminator maps examples (B, ...) to logits (B,), a generator latents to
                examples. Its layers run as they do after training: no dropout, no statistics that move.
            real, fake: its inputs: for a discriminator, data and samples; for a generator, None and latents.
            seeds: int32 (B, 2), row seeds.
            step: int or int scalar tensor: steps that the player has taken.
            state: dict of float32 tensors.
        Returns:
            float tensor (B,); with ``observes``, that and a dict of float tensors (B,).
        """
        raise NotImplementedError

    def next_state(self, state, means):
        """The state after a step in which it was computed, from the means of what it observed, over all replicas."""
        return state


@keras.saving.register_keras_serializable(package="kgen")
class GradientPenalty(Regularizer):
    """weight * (|dD(x)/dx| - 1)^2 at x = e * real + (1 - e) * fake, e uniform in [0, 1].

    Args:
        weight: lambda in the paper.
        every: as in ``Regularizer``.
    Reference:
        Gulrajani et al., Improved training of Wasserstein GANs, 2017, Eq. 3, arXiv 1704.00028.
    """

    takes_slopes = True

    def __init__(self, weight=10.0, every=1):
        super().__init__(every)
        self.weight = checks.in_range("weight", weight, 0.0, 1e6)

    def __call__(self, function, real, fake, seeds, step=0, state=None):
        share = random.uniform(seeds, (1,) * (len(real.shape) - 1))
        slope = squared_slope(function, share * real + (1.0 - share) * fake)
        # The square root's own slope is infinite at 0.
        return self.weight * ops.square(ops.sqrt(slope + 1e-12) - 1.0)


@keras.saving.register_keras_serializable(package="kgen")
class R1(Regularizer):
    """gamma / 2 * |dD(x)/dx|^2 at real examples: without it, training need not settle even where the generator is right.

    Args:
        gamma: the larger, the smoother the discriminator; small (0.001 to 0.1) for small data, 1 to 10 for photographs. A float, or a
            ``keras.optimizers.schedules.LearningRateSchedule`` of the discriminator's steps: much at first, so that the generator
            finds all of the data, and little later, so that it gets its details right.
        every: as in ``Regularizer``; StyleGAN2 takes 16.
    Reference:
        Mescheder et al., Which training methods for GANs do actually converge?, 2018, Eq. 9, arXiv 1801.04406.
    """

    takes_slopes = True

    def __init__(self, gamma=1.0, every=1):
        super().__init__(every)
        schedule = keras.optimizers.schedules.LearningRateSchedule
        if isinstance(gamma, dict):
            gamma = keras.saving.deserialize_keras_object(gamma)
        self.gamma = gamma if isinstance(gamma, schedule) else checks.in_range("gamma", gamma, 0.0, 1e6)

    def _half(self, step):
        return 0.5 * (self.gamma(step) if callable(self.gamma) else self.gamma)

    def __call__(self, function, real, fake, seeds, step=0, state=None):
        return self._half(step) * squared_slope(function, real)


@keras.saving.register_keras_serializable(package="kgen")
class R2(R1):
    """gamma / 2 * |dD(x)/dx|^2 at generated examples. Reference: Mescheder et al. 2018, Eq. 10."""

    def __call__(self, function, real, fake, seeds, step=0, state=None):
        return self._half(step) * squared_slope(function, fake)


@keras.saving.register_keras_serializable(package="kgen")
class PathLength(Regularizer):
    """weight * (|J^T y| - a)^2 for a generator of Jacobian J = dG(z)/dz, y normal noise of the shape of an example over the root of
    the number of its pixels; a is the running mean of |J^T y|. Equal steps in z then change samples by equally much, whatever the direction.

    Args:
        weight: StyleGAN2's code takes 2 of the mean over the layers; of one w in all layers that is 2 divided by their number.
        decay: a moves by 1 - decay towards the mean of a step; 0.99 in StyleGAN2.
        every: as in ``Regularizer``; StyleGAN2 takes 4.
    Reference:
        Karras et al. 2020, Eq. 4 and appendix B, arXiv 1912.04958. There the mean takes the present step in before it is compared with.
    """

    takes_slopes = True
    observes = ("length",)

    def __init__(self, weight=2.0, decay=0.99, every=4):
        super().__init__(every)
        self.weight = checks.in_range("weight", weight, 0.0, 1e6)
        self.decay = checks.in_range("decay", decay, 0.0, 1.0)

    def state(self):
        return {"mean": 0.0}

    def __call__(self, function, real, fake, seeds, step=0, state=None):
        examples, pull = backend.vjp(function, fake)
        shape = tuple(examples.shape[1:])
        noise = random.normal(seeds, shape) / math.sqrt(math.prod(shape[:-1]))
        slope = pull(noise)
        squared = ops.sum(ops.square(slope), axis=tuple(range(1, len(slope.shape))))
        length = ops.sqrt(squared + 1e-12)
        return self.weight * ops.square(length - state["mean"]), {"length": length}

    def next_state(self, state, means):
        return {"mean": self.decay * state["mean"] + (1.0 - self.decay) * means["length"]}


ALIASES = {"gradient_penalty": GradientPenalty, "r1": R1, "r2": R2, "path_length": PathLength}


def get(regularizers, name="regularizers"):
    """A tuple of regularizers from one or several names, configurations or objects."""
    several = regularizers if isinstance(regularizers, (list, tuple)) else [regularizers]
    return tuple(resolve(name, r, Regularizer, ALIASES) for r in several)
