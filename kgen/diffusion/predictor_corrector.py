"""Predictor-corrector sampling: steps of the reverse SDE, and Langevin dynamics in between."""

import keras
from keras import ops

from kgen import backend
from kgen.core import checks, random
from kgen.diffusion.predictions import LEAST
from kgen.diffusion.samplers import Sampler, levels, noise_like, transition
from kgen.diffusion.schedules import at_least


@keras.saving.register_keras_serializable(package="kgen")
class PredictorCorrectorSampler(Sampler):
    """The reverse diffusion predictor, and at each new time Langevin steps, which the score alone determines.

    With c = alpha_t/alpha_s, w^2 the variance of q(x_t | x_s), and the score g = -eps/sigma, the predictor is
    x_s = (2 - c) x_t + w^2 g(x_t) + w z, and a corrector step at s

        x = x + e g(x) + sqrt(2 e) z,  e = 2 (snr sigma_s)^2.

    The authors' e = 2 (snr |z|/|g|)^2 takes both norms from the batch; here they are what they are on average, so that a row depends on
    itself alone, and in few dimensions, where |g| varies, samples are not widened. The last step gives the estimate of the data. The
    predictor needs steps over which alpha changes little: take many.

    Args:
        steps: number of steps.
        snr: how large the corrector's steps are: what the score moves is snr times what the noise moves; 0 leaves the predictor alone.
        corrections: Langevin steps at each time, a call each.
        grid: as in ``Sampler``.
    Reference:
        Song et al., Score-based generative modeling through stochastic differential equations, 2021, Algorithms 2, 3 and 4 and appendix E,
        arXiv 2011.13456; without the factor 1 - beta in the variance preserving e of Algorithm 5, which is next to 1.
    """

    alias = "predictor_corrector"
    stochastic = True

    def __init__(self, steps=500, snr=0.16, corrections=1, grid="uniform"):
        super().__init__(steps, grid)
        self.snr = checks.in_range("snr", snr, 0.0, 10.0)
        self.corrections = checks.positive_int("corrections", corrections)

    def calls(self, steps=None):
        steps = super().calls(steps)
        return steps + (steps - 1) * self.corrections

    def step(self, denoise, schedule, carry, t, s, seeds, i):
        (x,) = carry
        data, noise, _ = denoise(x, t)
        (alpha_t, sigma_t), (alpha, sigma) = levels(schedule, t, x), levels(schedule, s, x)
        variance = transition(schedule, t, s, x)[3]
        predicted = (2.0 - alpha_t / alpha) * x - variance / at_least(sigma_t, LEAST) * noise
        predicted = predicted + ops.sqrt(variance) * noise_like(x, seeds)

        def corrected(k, x):
            z = noise_like(x, random.fold_in(seeds, k + 1))
            noise = denoise(x, s).noise
            return x - 2.0 * sigma * self.snr**2 * noise + 2.0 * sigma * self.snr * z

        x = backend.when(
            ops.any(s > 0), lambda: ops.fori_loop(0, self.corrections, corrected, predicted), lambda: predicted
        )
        return (ops.where(sigma > 0, x, alpha * data),)
