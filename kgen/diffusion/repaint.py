"""RePaint: parts of an example are known, and a diffusion model that was trained on whole examples draws the rest."""

import numpy as np
from keras import ops

from kgen import backend
from kgen.core import checks, random
from kgen.diffusion.ddpm import check_model
from kgen.diffusion.samplers import Sampler, levels, noise_like, transition


class RePaintSampler(Sampler):
    """A sampler around a sampler: after each step, what is known is put in its place, with the noise of the new time.

    x_s = alpha_s x + sigma_s eps where the mask is true, the step of the other sampler elsewhere. What was drawn does not yet agree with
    what was put beside it. So x_s is noised to time t again, x_t = alpha_t/alpha_s x_s + noise, and the step taken anew, ``resamples``
    times in all: the more, the closer to what the model says of the rest given the known part. The last step, which ends in ``x`` itself
    where it is known, is taken once. A sampler that remembers steps before begins anew each time: what it remembers is of another x.

    ``x`` and ``mask`` are tensors, so that it is no configuration, as other samplers are: it is made where a model samples, by ``inpaint``.

    Args:
        sampler: a ``Sampler``; its steps and its grid are taken.
        x: float tensor (B, ...), the data; whatever it holds where it is not known has no effect.
        mask: bool tensor (B, ...), true where it is known.
        resamples: how often each step is taken.
    Reference:
        Lugmayr et al., RePaint: inpainting using denoising diffusion probabilistic models, 2022, Algorithm 1, arXiv 2201.09865, with
        jumps of one step.
    """

    def __init__(self, sampler, x, mask, resamples=10):
        super().__init__(sampler.steps, sampler.grid)
        self.sampler, self.x, self.mask, self.resamples = sampler, x, mask, resamples

    def calls(self, steps=None):
        last = self.sampler.calls(1)
        steps = self.steps if steps is None else steps
        return (steps - 1) * self.resamples * (self.sampler.calls(2) - last) + last

    def step(self, denoise, schedule, carry, t, s, seeds, i):
        (alpha_t, _), (alpha_s, sigma_s) = levels(schedule, t, self.x), levels(schedule, s, self.x)
        spread = ops.sqrt(transition(schedule, t, s, self.x)[3])  # of x_t given x_s

        def once(x, own):
            """x at s, from x at t."""
            new = self.sampler.step(denoise, schedule, self.sampler.init(x), t, s, random.fold_in(own, 0), 0)[0]
            noised = alpha_s * self.x + sigma_s * noise_like(x, random.fold_in(own, 1))
            return ops.where(self.mask, ops.where(sigma_s > 0, noised, self.x), new)

        def again(u, x):
            own = random.fold_in(seeds, u)
            back = alpha_t / alpha_s * once(x, own) + spread * noise_like(x, random.fold_in(own, 2))
            return ops.where(sigma_s > 0, back, x)

        def settled():
            return ops.fori_loop(0, self.resamples - 1, again, carry[0])

        x = backend.when(ops.any(s > 0), settled, lambda: carry[0])
        return (once(x, random.fold_in(seeds, self.resamples - 1)),)


def inpaint(model, x, mask, *, resamples=10, **sampling):
    """Completes examples: draws what is not known, given what is. See ``RePaintSampler``.

    Args:
        model: a ``DDPM``, trained as always.
        x: float array (N, *shape); what it holds where it is not known is ignored.
        mask: bool array (H, W) for all images, or (N, H, W): True where a pixel is known and stays as it is. For vectors (D,) or (N, D).
        resamples: how often each step is taken: 1 is fast and sees little of the known part; the paper's 10 take ten times as long.
        **sampling: ``seed``, ``labels``, ``guidance``, ``steps``, ``sampler``, ``batch_size`` and conditions, as in ``DDPM.sample``.
    Returns:
        numpy float32 array (N, *shape), ``x`` itself where it is known. Row i depends on (seed, i) and its ``x`` and mask alone.
    Raises:
        TypeError: the model is none.
        ValueError: x, mask, resamples or what ``sample`` takes out of range.
    """
    check_model(model, " Autoregressive models have an inpaint of their own.")
    resamples, x = checks.positive_int("resamples", resamples), checks.data_array("x", x)
    mask = _mask(mask, model, len(x))
    x = model.examples(np.where(mask, x, x.dtype.type(0)) if x.shape == mask.shape else x)

    def rows(seeds, values, strength, *, sampler, guide, x, mask):
        return inpaint_rows(model, seeds, x, mask, resamples, values, strength, sampler=sampler, guide=guide)

    return model.asked(len(x), **sampling).run(model, ("inpaint", resamples), rows, x=x, mask=mask)


def inpaint_rows(model, seeds, x, mask, resamples, values=None, strength=None, *, sampler=None, **options):
    """``inpaint`` of row seeds: float32 tensor (B, *shape).

    Args:
        model: a ``DDPM``.
        x: float tensor (B, *shape).
        mask: bool tensor of the same shape, true where x is known.
        resamples: as in ``RePaintSampler``.
        seeds, values, strength, sampler: as in ``DDPM.sample_rows``, as are its ``guide`` and ``steps``.
    """
    around = RePaintSampler(model.sampler if sampler is None else sampler, x, mask, resamples)
    return model.sample_rows(seeds, values, strength, sampler=around, **options)


def _mask(mask, model, n):
    """The checked mask: bool (n, *shape)."""
    mask = np.asarray(mask)
    shape = model.shape[:-1] if model.is_image else model.shape
    if mask.dtype != bool or mask.shape not in (shape, (n, *shape)):
        raise ValueError(
            f"mask: expected bools of shape {shape} or {(n, *shape)}, True where x is known; received {mask.dtype} of shape {mask.shape}."
        )
    mask = mask[..., None] if model.is_image else mask
    return np.array(np.broadcast_to(mask, (n, *model.shape)))
