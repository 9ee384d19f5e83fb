"""PNDM: DDIM's steps along a combination of the noise estimated in the last four."""

import keras
import numpy as np
from keras import ops

from kgen import backend
from kgen.diffusion.heun import slopes_have_a_mean
from kgen.diffusion.multistep import MultistepSampler, log_ratio
from kgen.diffusion.predictions import LEAST
from kgen.diffusion.samplers import levels
from kgen.diffusion.schedules import at_least, like

# Of the differences eps_j - eps to the estimates one, two and three steps before, by how many there are.
WEIGHTS = np.array([[0, 0, 0], [-1 / 2, 0, 0], [-16 / 12, 5 / 12, 0], [-59 / 24, 37 / 24, -9 / 24]])


@keras.saving.register_keras_serializable(package="kgen")
class PNDMSampler(MultistepSampler):
    """Pseudo linear multistep (PLMS): deterministic given x_1, of order two.

    DDIM's step with eps' = (55 eps_0 - 59 eps_1 + 37 eps_2 - 9 eps_3)/24, where eps_j is the estimate of j steps before; the second and third
    step have Adams-Bashforth's shorter sums. These are of steps that are equal, in time or in another measure, as those of each grid are.
    The paper warms up with three Runge-Kutta steps; here, as in most implementations, the first step is Heun's, with one call more, and
    there are no others.

    Args:
        steps: number of steps, a call each, and one more.
        grid: as in ``Sampler``.
    Reference:
        Liu et al., Pseudo numerical methods for diffusion models on manifolds, 2022, Eq. 9 and 12, arXiv 2202.09778.
    """

    alias = "pndm"

    orders = (4,)

    def __init__(self, steps=50, grid="uniform"):
        super().__init__(steps, 4, grid)

    def calls(self, steps=None):
        steps = super().calls(steps)
        return steps + 1 if steps > 1 else 1

    def step(self, denoise, schedule, carry, t, s, seeds, i):
        x, past = carry[0], self.past(carry)
        data, noise, _ = denoise(x, t)
        (alpha_t, sigma_t), (alpha, sigma) = levels(schedule, t, x), levels(schedule, s, x)
        first = alpha * data + sigma * noise
        table = ops.convert_to_tensor(WEIGHTS.astype(keras.backend.standardize_dtype(x.dtype)))
        weights = ops.take(table, sum(ops.cast(one.known, "int32") for one in past), axis=0)
        change = sum(like(weights[:, j], x) * (one.value - noise) for j, one in enumerate(past))

        alone = ops.logical_and(ops.logical_not(past[0].known), s > 0)

        def heun():
            known = slopes_have_a_mean(alpha_t, sigma_t, alpha, sigma)
            half = ops.where(known, 0.5 * (denoise(first, s).noise - noise), 0.0)
            return ops.where(like(alone, x) > 0, half, change)

        change = backend.when(ops.any(alone), heun, lambda: change)
        moved = first + (sigma - alpha * sigma_t / at_least(alpha_t, LEAST)) * change
        return self.kept(ops.where(alpha_t > LEAST, moved, first), noise, log_ratio(schedule, t), carry)
