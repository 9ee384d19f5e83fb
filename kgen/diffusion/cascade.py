"""Cascades: a diffusion model of small pictures, and others that each draw a larger picture of what the one before drew."""

import itertools

import keras
import numpy as np
from keras import ops

from kgen.core import Endpoint, GenerativeModel, TensorSpec, checks, random
from kgen.diffusion import samplers
from kgen.diffusion.ddpm import check_model
from kgen.diffusion.super_resolution import SuperResolution

LATER = 0x5CA1E000  # what names the seeds of later models: no step of a sampler has this number


@keras.saving.register_keras_serializable(package="kgen")
class Cascade(GenerativeModel):
    """Several trained models as one: it samples, is saved and is served; each of them is trained by itself.

    Labels and other conditions go to all that take them, guidance to the first: what is in the picture is decided there.

    Args:
        models: a ``DDPM`` of images, and ``SuperResolution`` models, each of which enlarges what the one before draws. The more noise
            they have learnt to ignore (their ``augmentation``), the less it matters that a model drew what they enlarge.
    Reference:
        Ho et al., Cascaded diffusion models for high fidelity image generation, 2022, sections 3 and 4, arXiv 2106.15282.
    """

    def __init__(self, models, *, name="cascade", dtype=None):
        models = [keras.saving.deserialize_keras_object(m) if isinstance(m, dict) else m for m in models]
        _check(models)
        super().__init__(conditions=models[0].conditions, name=name, dtype=dtype)
        self.models = models
        self.shape = models[-1].shape
        levels = [m.augmentation for m in models[1:] if m.augmentation > 0]
        self.augmentation = min(levels, default=0.0)

    def objective(self, batch, training):
        raise NotImplementedError("Cascade: train each of its models by itself, by its own fit.")

    def sample(self, n, *, augmentation=0.0, sampler=None, steps=None, **sampling):
        """Draws samples, in one compiled call.

        Args:
            n: how many.
            augmentation: the noise that is given to pictures before they are enlarged, by those models that were trained with it: a time
                in [0, ``augmentation``], where that of the cascade is the least of theirs.
            sampler, steps: of every model; each one's own by default.
            **sampling: ``seed``, ``labels``, ``guidance`` (of the first model), ``batch_size`` and conditions, as in ``DDPM.sample``.
        Returns:
            numpy float32 array (n, *shape), in [-1, 1]. Row i depends on (seed, i) alone, and is a larger picture of row i of
            ``models[0].sample(n, seed=seed)``.
        Raises:
            ValueError: as in ``DDPM.sample``; augmentation out of range.
        """
        level = checks.in_range("augmentation", augmentation, 0.0, self.augmentation)
        chosen = tuple(samplers.get(m.sampler if sampler is None else sampler, steps) for m in self.models)
        asked = self.models[0].asked(n, **sampling)

        def rows(seeds, values, strength, *, sampler, guide, level):
            return self.sample_rows(seeds, values, strength, level, chosen=chosen, guide=guide)

        return asked.run(self, ("sample", chosen), rows, level=np.full((n,), level, "float32"))

    def sample_rows(self, seeds, values=None, strength=None, level=None, *, chosen=None, guide=None, steps=None):
        """Samples of row seeds: float32 tensor (B, *shape).

        Args:
            seeds, values, strength, guide: as in ``DDPM.sample_rows``, of the first model.
            level: float tensor (B,), the noise given to what is enlarged; none by default.
            chosen: a ``Sampler`` for each model; their own by default.
            steps: int tensor (B,), the steps of each row; a model takes at most those of its sampler, which is the default.
        """
        values, chosen = values or {}, chosen or [m.sampler for m in self.models]
        level = ops.zeros((ops.shape(seeds)[0],)) if level is None else level
        counts = [None if steps is None else ops.minimum(steps, sampler.steps) for sampler in chosen]
        x = self.models[0].sample_rows(seeds, values, strength, sampler=chosen[0], guide=guide, steps=counts[0])
        for i, model in enumerate(self.models[1:], 1):
            known = {**values, "low": x, "augmentation": level[:, None]}
            own = {name: known[name] for name in model.conditions.specs()}
            x = model.sample_rows(random.fold_in(seeds, LATER + i), own, sampler=chosen[i], steps=counts[i])
        return x

    def endpoints(self):
        inputs = {k: spec for k, spec in self.models[0].endpoints()[0].inputs.items() if k != "steps"}
        if self.augmentation > 0:
            doc = "time of the noise given to pictures before they are enlarged"
            inputs["augmentation"] = TensorSpec((), "float32", doc, 0.0, self.augmentation, 0.0, kind="number")
        most = max(m.sampler.steps for m in self.models)
        if most > 1:
            doc = "number of sampling steps of each model, which takes at most its own"
            inputs["steps"] = TensorSpec((), "int32", doc, 1, most, most, kind="number")

        def sample(seed, guidance=None, augmentation=None, steps=None, **values):
            return {"images": self.sample_rows(seed, values, guidance, augmentation, steps=steps)}

        return [Endpoint("sample", sample, inputs, {"images": "samples in [-1, 1]"}, images=("images",))]

    def get_config(self):
        config = super().get_config()
        del config["ema"]
        return {**config, "models": [keras.saving.serialize_keras_object(m) for m in self.models]}


def _check(models):
    """Raises unless each model enlarges what the one before draws, and takes no condition that the first does not know."""
    if len(models) < 2:
        raise ValueError(
            f"models: expected a model of small images and those that enlarge them, received {len(models)}."
        )
    check_model(models[0])
    first = models[0].conditions.specs()
    for i, (before, model) in enumerate(itertools.pairwise(models), 1):
        if not isinstance(model, SuperResolution):
            raise TypeError(f"models[{i}]: expected a SuperResolution, received {type(model).__name__}.")
        low = model.conditions["low"].shape
        if low != before.shape:
            raise ValueError(f"models[{i}]: it enlarges {low}; expected {before.shape}, what models[{i - 1}] draws.")
        for name, spec in model.conditions.specs().items():
            if name not in ("low", "augmentation") and first.get(name) != spec:
                raise ValueError(
                    f"models[{i}]: its condition {name!r} is none of the first model's, which has {list(first)}."
                )
