"""DDIM inversion: the noise from which a diffusion model draws a given example, and the ways between examples that it gives."""

import dataclasses

import numpy as np
from keras import ops

from kgen.core import checks
from kgen.core.sphere import slerp, slerp_rows
from kgen.diffusion.ddpm import check_model
from kgen.diffusion.samplers import DDIMSampler


def invert(model, x, *, labels=None, steps=50, batch_size=None, **conditions):
    """x_1 of examples: DDIM's steps with eta = 0, taken upwards, from data to noise.

    ``model.sample_rows(seeds, values, sampler=DDIMSampler(steps), x=x_1)`` returns the examples, up to the error of the steps, which falls as
    1/steps. The first step begins at the schedule's last time above 0, since nothing can be said of the noise where there is none.

    Args:
        model: a ``DDPM``, trained as always.
        x: float array (N, *shape).
        labels, conditions: as in ``DDPM.sample``: those of the examples.
        steps: number of steps, in equal steps of time.
        batch_size: rows per compiled call.
    Returns:
        numpy float32 array (N, *shape), for examples of the model of next to N(0, prior_scale^2).
    Raises:
        TypeError: the model is none.
        ValueError: x, labels, conditions or steps out of range.
    Reference:
        Song et al., Denoising diffusion implicit models, 2021, section 4.3, arXiv 2010.02502.
    """
    check_model(model)
    x = model.examples(x)
    given = {"labels": labels, "batch_size": batch_size, **conditions}

    def rows(seeds, values, strength, *, sampler, guide, x):
        return invert_rows(model, x, values, sampler.steps)

    sampler = DDIMSampler(checks.positive_int("steps", steps))
    return model.asked(len(x), seed=0, sampler=sampler, **given).run(model, "invert", rows, x=x)


def invert_rows(model, x, values, steps, taken=None):
    """As ``invert``, of tensors: float tensor (B, *shape), for x (B, *shape) and the tensors of conditions by name.

    ``taken`` is how many steps each row takes, int tensor (B,), at most ``steps``, which is the default for all.
    """
    taken = steps if taken is None else ops.cast(ops.reshape(taken, (-1, 1)), "float32")
    times = ops.minimum(ops.arange(steps + 1, dtype="float32") / taken, 1.0)  # a row that has arrived stays
    first = ops.minimum(model.schedule.last_time, 0.5 / taken) * ops.ones((ops.shape(x)[0], 1))
    grid = ops.concatenate([first, ops.broadcast_to(times, (ops.shape(x)[0], steps + 1))[:, 1:]], axis=1)
    seeds = ops.zeros((ops.shape(x)[0], 2), dtype="int32")  # nothing is drawn
    return DDIMSampler(steps).run(model.denoise(values), model.schedule, seeds, x, grid)


def interpolate_rows(model, a, b, share, values, steps, taken=None):
    """An example of each way of ``interpolate``, of tensors: float tensor (B, *shape).

    Args:
        model: a ``DDPM`` of images.
        a, b: float tensors (B, *shape).
        share: float tensor (B,), of the way from a to b, in [0, 1].
        values: the tensors of conditions by name.
        steps: int, up and down.
        taken: as in ``invert_rows``.
    """
    first, second = (invert_rows(model, x, values, steps, taken) for x in (a, b))
    z = slerp_rows(*(ops.reshape(v, (ops.shape(v)[0], -1)) for v in (first, second)), share)
    z = ops.reshape(z, (-1, *model.shape))
    seeds = ops.zeros((ops.shape(a)[0], 2), dtype="int32")
    return model.sample_rows(seeds, values, sampler=DDIMSampler(steps), x=z, steps=taken)


def interpolate(model, a, b, frames=8, *, labels=None, steps=50, batch_size=None, **conditions):
    """Examples between pairs of examples: both are inverted, and the noises on the great circle between theirs are drawn from.

    A straight line between two draws of noise passes through what is no such draw, but much shorter. Both ends are ``a`` and ``b``, up to
    the error of the steps, which falls as 1/steps.

    Args:
        model: a ``DDPM``, trained as always.
        a, b: float arrays (N, *shape).
        frames: number of examples of each way, ends included, at least 2.
        labels, conditions: as in ``DDPM.sample``: those of the whole way.
        steps: number of DDIM's steps, up and down.
        batch_size: rows per compiled call.
    Returns:
        numpy float32 array (N, frames, *shape).
    Raises:
        TypeError: the model is none.
        ValueError: a, b, frames, steps, labels or conditions out of range.
    Reference:
        Song et al., Denoising diffusion implicit models, 2021, section 5.3 and appendix D.5, arXiv 2010.02502.
    """
    check_model(model)
    if checks.positive_int("frames", frames) < 2:
        raise ValueError(f"frames: expected at least 2, both ends included, received {frames}.")
    a, b = model.examples(a), model.examples(b)
    checks.pairs(a, b, frames)
    n, given = len(a), {"labels": labels, "batch_size": batch_size, **conditions}
    asked = model.asked(n, seed=0, sampler=DDIMSampler(steps), **given)
    noises = [invert(model, x, steps=steps, **given).reshape(n, -1) for x in (a, b)]
    z = slerp(*noises, frames).reshape(n * frames, *model.shape)

    def rows(seeds, values, strength, *, sampler, guide, x):
        return model.sample_rows(seeds, values, strength, sampler=sampler, guide=guide, x=x)

    each = {name: np.repeat(value, frames, axis=0) for name, value in asked.arrays.items()}
    drawn = dataclasses.replace(asked, arrays=each).run(model, "interpolate", rows, x=z)
    return drawn.reshape(n, frames, *model.shape)
