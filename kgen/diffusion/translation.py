"""SDEdit: a picture is noised up to some time, and a diffusion model draws what it may have been from there."""

import numpy as np
from keras import ops

from kgen.core import checks, random
from kgen.diffusion.ddpm import check_model
from kgen.diffusion.schedules import at_least, like


def translate(model, x, strength=0.5, **sampling):
    """Draws examples near given ones: x_t = alpha(t) x + sigma(t) eps at t = ``strength``, and the sampler's steps from there to 0.

    The noise hides what is smaller than itself, and the model draws that anew, as its data has it: of a sketch a picture, of an example
    of one class one of another (``labels``). The noise is that of ``sample``: at strength 1, where next to nothing of x is left,
    ``translate(model, x, 1.0, seed=0)`` is next to ``model.sample(len(x), seed=0)``.

    Args:
        model: a ``DDPM``, trained as always.
        x: float array (N, *shape).
        strength: the time to which x is noised, in [0, 1]: 0 leaves x as it is, at 1 next to nothing of it stays.
        **sampling: ``seed``, ``labels``, ``guidance``, ``steps`` (all of them are taken, from ``strength`` on), ``sampler``,
            ``batch_size`` and conditions, as in ``DDPM.sample``.
    Returns:
        numpy float32 array (N, *shape). Row i depends on (seed, i) and its ``x`` alone.
    Raises:
        TypeError: the model is none.
        ValueError: x, strength or what ``sample`` takes out of range.
    Reference:
        Meng et al., SDEdit: guided image synthesis and editing with stochastic differential equations, 2022, Algorithm 1, arXiv 2108.01073.
    """
    check_model(model)
    start = checks.in_range("strength", strength, 0.0, 1.0)
    x = model.examples(x)

    def rows(seeds, values, strength, *, sampler, guide, x, start):
        return translate_rows(model, seeds, x, start, values, strength, sampler=sampler, guide=guide)

    start = np.full((len(x),), start, "float32")
    return model.asked(len(x), **sampling).run(model, "translate", rows, x=x, start=start)


def translate_rows(model, seeds, x, start, values=None, strength=None, **options):
    """``translate`` of row seeds: float32 tensor (B, *shape).

    Args:
        model: a ``DDPM``.
        x: float tensor (B, *shape).
        start: float tensor (B,), the time to which each row is noised, in [0, 1].
        seeds, values, strength: as in ``DDPM.sample_rows``, as are its ``sampler``, ``guide`` and ``steps``.
    """
    later = at_least(start, max(model.schedule.last_time, 1e-3))  # grids begin above 0
    x_t = model.schedule.add_noise(x, later, random.normal(seeds, model.shape, draw=0))
    drawn = model.sample_rows(seeds, values, strength, x=x_t, start=later, **options)
    return ops.where(like(start, x) > 0, drawn, x)
