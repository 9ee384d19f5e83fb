"""Denoisers: estimates of what is in x_t. The one path of training, sampling, likelihood and serving."""

import copy

from keras import ops

from kgen.diffusion.predictions import Estimate, noise_of
from kgen.diffusion.schedules import like


class Denoiser:
    """A network, and what its output means.

    Args:
        network: maps [x_t, t, *conditions] to a tensor like x_t (or what the prediction wants).
        schedule: a ``Schedule``.
        prediction: a ``Prediction``: what the network is given and returns.
        clip: whether the estimate of x_0 is clipped to [-1, 1], the range of images; "data" leaves the noise as it was before.
    """

    def __init__(self, network, schedule, prediction, clip=False):
        self.network, self.schedule, self.prediction, self.clip = network, schedule, prediction, clip

    def output(self, x_t, t, conditions, training=False):
        """The network's output.

        Args:
            x_t: float tensor (B, ...).
            t: float tensor (B,), in [0, 1].
            conditions: dict from the name of each condition's tensors to a tensor (B, ...), in the network's order.
            training: bool.
        Returns:
            tensor (B, ...) of the dtype of x_t.
        """
        alpha, sigma = self.levels(t, x_t)
        inputs = self.prediction.inputs(x_t, t, alpha, sigma)
        return ops.cast(self.network([*inputs, *conditions.values()], training=training), x_t.dtype)

    def levels(self, t, x):
        """alpha and sigma at times t (B,), shaped to multiply x."""
        return like(self.schedule.alpha(t), x), like(self.schedule.sigma(t), x)

    def estimate(self, output, x_t, t):
        """The ``Estimate`` that an output makes; with ``clip``, of the data that is clipped."""
        return self.clipped(self.prediction.estimate(output, x_t, *self.levels(t, x_t)), x_t, t)

    def clipped(self, found, x_t, t):
        """An ``Estimate``; with ``clip``, of the data that is clipped."""
        if not self.clip:
            return found
        data = ops.clip(found.data, -1.0, 1.0)
        return found._replace(data=data) if self.clip == "data" else self.of_data(data, found, x_t, t)

    def of_data(self, data, found, x_t, t):
        """The ``Estimate`` ``found`` with other data, and the noise that is in x_t then."""
        return Estimate(data, noise_of(data, x_t, *self.levels(t, x_t)), found.variance)

    def unclipped(self):
        """The denoiser without ``clip``."""
        other = copy.copy(self)
        other.clip = False
        return other

    def __call__(self, x_t, t, conditions):
        """Estimates x_0 and eps.

        Args:
            x_t, conditions: as in ``output``.
            t: float tensor, a scalar or (B,).
        Returns:
            ``Estimate``, with x_t = alpha data + sigma noise, unless ``clip`` is "data".
        """
        t = ops.broadcast_to(t, (ops.shape(x_t)[0],))
        return self.estimate(self.output(x_t, t, conditions), x_t, t)
