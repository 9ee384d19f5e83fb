"""DDIM inversion: the noise from which a diffusion model draws a given example."""

import numpy as np
from keras import ops

from kgen.core import checks
from kgen.diffusion.ddpm import DDPM
from kgen.diffusion.samplers import DDIMSampler


def invert(model, x, *, labels=None, steps=50, batch_size=None, **conditions):
    """x_1 of examples: DDIM's steps with eta = 0, taken upwards, from data to noise.

    ``model.sample_rows(seeds, values, sampler=DDIMSampler(steps), x=x_1)`` returns the examples, up to the error of the steps, which falls as
    1/steps. The first step begins at the schedule's last time above 0, since nothing can be said of the noise where there is none.

    Args:
        model: a ``DDPM``, trained as always.
        x: float array (N, *image_shape).
        labels, conditions: as in ``DDPM.sample``: those of the examples.
        steps: number of steps, in equal steps of time.
        batch_size: rows per compiled call.
    Returns:
        numpy float32 array (N, *image_shape), for examples of the model of next to N(0, prior_scale^2).
    Raises:
        TypeError: the model is none.
        ValueError: x, labels, conditions or steps out of range.
    Reference:
        Song et al., Denoising diffusion implicit models, 2021, section 4.3, arXiv 2010.02502.
    """
    if not isinstance(model, DDPM):
        raise TypeError(f"model: expected a DDPM, received {type(model).__name__}.")
    x = model.examples(checks.data_array("x", x))
    sampler = DDIMSampler(steps)
    asked = model.asked(len(x), 0, {"labels": labels, **conditions}, None, sampler, None)
    asked.arrays["x"] = x
    times = np.linspace(0.0, 1.0, steps + 1, dtype="float32")
    times[0] = min(model.schedule.last_time, 0.5 * times[1])

    def rows(seeds, values, strength, *, sampler, guide):
        values = dict(values)
        x = ops.cast(values.pop("x"), "float32")
        grid = ops.repeat(ops.convert_to_tensor(times[None]), ops.shape(x)[0], axis=0)
        return sampler.run(model.denoise(values, strength, guide), model.schedule, seeds, x, grid)

    return asked.run(model, "invert", rows, batch_size)
