"""A learned variance of the ancestral steps, beside any prediction."""

import keras
from keras import ops

from kgen.core import checks
from kgen.diffusion import predictions
from kgen.diffusion.bound import STEPS, divergence
from kgen.diffusion.predictions import Prediction
from kgen.diffusion.schedules import like


@keras.saving.register_keras_serializable(package="kgen")
class LearnedVariance(Prediction):
    """The network returns as many channels again: where between its bounds, in logarithms, the variance of x_s given x_t lies.

    The bounds are the variances of q(x_s | x_t, x_0) and q(x_t | x_s). The loss is the prediction's own, which a model's ``weight=`` is of, plus
    ``weight`` times the divergence of the step, whose gradient reaches the variance alone; both ancestral sampling and the bound use it.

    Args:
        prediction: a ``Prediction`` or its name.
        weight: lambda of the paper, times the 1000 terms of the bound.
    Reference:
        Nichol & Dhariwal, Improved denoising diffusion probabilistic models, 2021, Eq. 15 and 16, arXiv 2102.09672.
    """

    outputs = 2

    def __init__(self, prediction="noise", weight=1.0):
        self.prediction = predictions.get(prediction)
        self.weight = checks.in_range("weight", weight, 0.0, 1e6)

    @property
    def needs_data(self):
        return self.prediction.needs_data

    def _halves(self, output):
        first, second = ops.split(output, 2, axis=-1)
        return first, ops.sigmoid(second)  # the paper's (v + 1)/2 leaves [0, 1] unbounded; a sigmoid keeps it

    def inputs(self, x_t, t, alpha, sigma):
        return self.prediction.inputs(x_t, t, alpha, sigma)

    def target(self, x, noise, alpha, sigma):
        return self.prediction.target(x, noise, alpha, sigma)

    def estimate(self, output, x_t, alpha, sigma):
        output, variance = self._halves(output)
        return self.prediction.estimate(output, x_t, alpha, sigma)._replace(variance=variance)

    def data_weight(self, alpha, sigma):
        return self.prediction.data_weight(alpha, sigma)

    def loss(self, output, x, noise, t, schedule, weight=1.0):
        simple = self.prediction.loss(self._halves(output)[0], x, noise, t, schedule, weight)
        steps = schedule.num_steps or STEPS
        # L_0 has another form; its variance is that of the step before.
        t = ops.maximum(t, 2.0 / steps)
        x_t = schedule.add_noise(x, t, noise)
        alpha, sigma = like(schedule.alpha(t), x), like(schedule.sigma(t), x)
        estimate = self.estimate(output, x_t, alpha, sigma)
        estimate = estimate._replace(data=ops.stop_gradient(estimate.data), noise=None)
        bound = predictions.row_mean(divergence(schedule, x, estimate, t, t - 1.0 / steps))
        return simple + self.weight * bound
