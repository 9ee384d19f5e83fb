"""Super-resolution: a diffusion model conditioned on a smaller picture of what it draws."""

import dataclasses

import keras
import numpy as np
from keras import ops

from kgen.core import TensorSpec, checks, random, views
from kgen.core.conditions import ImageCondition, VectorCondition
from kgen.diffusion.ddpm import DDPM
from kgen.diffusion.schedules import like
from kgen.diffusion.variance_preserving import CosineSchedule


@keras.saving.register_keras_serializable(package="kgen")
class SmallerPicture(ImageCondition):
    """The picture itself, reduced by averages over blocks: it is made from the data, and ``fit`` is not asked for it.

    Args:
        shape: of the smaller picture.
        factor: side of a block.
        augmentation: the most noise that it is given, as in ``SuperResolution``; which, ``AugmentationLevel`` says.
        name, dropout: as in ``Condition``.
    """

    given = False

    def __init__(self, shape, factor=2, augmentation=0.0, name="low", dropout=0.0):
        super().__init__(shape, name, dropout)
        self.factor, self.augmentation = factor, augmentation

    def made(self, x, seeds):
        low = ops.average_pool(ops.cast(x, "float32"), self.factor, strides=self.factor, data_format="channels_last")
        if self.augmentation > 0:
            low = noised(low, self.augmentation * drawn_level(seeds)[:, 0], seeds)
        return {self.name: low}


@keras.saving.register_keras_serializable(package="kgen")
class AugmentationLevel(VectorCondition):
    """How much noise the smaller picture was given: a time of ``CosineSchedule``, from 0 to ``high``, in training a random one.

    Args:
        high: the most.
        name, dropout: as in ``Condition``.
    """

    given = False

    def __init__(self, high, name="augmentation", dropout=0.0):
        super().__init__(1, 0.0, high, "time of the noise in the smaller picture", name, dropout)

    def made(self, x, seeds):
        return {self.name: self.high * drawn_level(seeds)}


def drawn_level(seeds):
    """A number in (0, 1) for each row, of which both conditions are made: float32 tensor (B, 1)."""
    return random.uniform(seeds, (1,), draw=0xA06)


def noised(low, level, seeds):
    """Pictures with the noise of a level (B,), drawn from row seeds: what it is in training and in sampling."""
    noise = random.normal(seeds, tuple(low.shape[1:]), draw=0xA07)
    schedule = CosineSchedule()
    # At level 0 there is none, though a schedule has a little.
    return ops.where(like(level, low) > 0, schedule.add_noise(low, level, noise), low)


@keras.saving.register_keras_serializable(package="kgen")
class SuperResolution(DDPM):
    """A diffusion model that draws what a small picture may have been: ``fit(images)``, then ``upscale(small)``.

    What another model drew is not as clean as data made smaller. With ``augmentation``, the small pictures get noise of a random time of
    the cosine schedule in training, which the network is told; in sampling, as much as is asked for hides what is wrong with them.

    Args:
        shape: (H, W, C) of the large pictures.
        factor: how many times smaller the given pictures are; divides both sides.
        augmentation: the latest of these times, in [0, 1]; 0 for none. 0.3 to 0.5 are usual.
        **kwargs: ``network``, ``num_classes``, ``schedule`` ... as in ``DDPM``.
    Reference:
        Saharia et al., Image super-resolution via iterative refinement, 2021, section 2, arXiv 2104.07636; Ho et al., Cascaded diffusion
        models for high fidelity image generation, 2022, section 4 (conditioning augmentation), arXiv 2106.15282.
    """

    def __init__(self, shape, factor=2, *, augmentation=0.0, name="super_resolution", **kwargs):
        shape = checks.shape("shape", shape)
        factor = checks.positive_int("factor", factor)
        augmentation = checks.in_range("augmentation", augmentation, 0.0, 1.0)
        if len(shape) != 3 or any(s % factor for s in shape[:2]):
            raise ValueError(f"factor: expected a divisor of both sides of {shape}, received {factor}.")
        low = (shape[0] // factor, shape[1] // factor, shape[2])
        conditions = [SmallerPicture(low, factor, augmentation)]
        if augmentation > 0:
            conditions.append(AugmentationLevel(augmentation))
        super().__init__(shape, conditions=conditions, name=name, **kwargs)
        self.factor, self.augmentation = factor, augmentation

    def conditioned(self, values, seeds):
        if "augmentation" not in values:
            return values
        return {**values, "low": noised(values["low"], values["augmentation"][:, 0], seeds)}

    def upscale(self, x, *, augmentation=0.0, **sampling):
        """Draws large pictures of small ones.

        Args:
            x: float array (B, H / factor, W / factor, C), in [-1, 1].
            augmentation: the time to which x is noised first, in [0, ``augmentation`` of the model].
            **sampling: ``seed``, ``labels``, ``guidance``, ``steps``, ``sampler``, ``batch_size`` as in ``sample``.
        Returns:
            numpy float32 array (B, H, W, C).
        """
        x = checks.data_array("x", x)
        checks.images("x", x, self.conditions["low"].shape)
        level = checks.in_range("augmentation", augmentation, 0.0, self.augmentation)
        given = {"augmentation": [level]} if self.augmentation > 0 else {}
        return self.sample(len(x), low=np.asarray(x, "float32"), **given, **sampling)

    def views(self):
        x = views.picture(self.conditions["low"].shape, "smaller picture")
        found = views.drawn_from(self, "upscale", "Enlarge", {"x": x}, ("guidance", "steps"))
        if self.augmentation == 0:
            return [found]
        doc = "time of the noise that the smaller picture is given"
        level = TensorSpec((), "float32", doc, 0.0, self.augmentation, 0.0, kind="number")
        return [dataclasses.replace(found, options={**found.options, "augmentation": level})]

    def get_config(self):
        config = super().get_config()
        del config["conditions"]
        return {**config, "factor": self.factor, "augmentation": self.augmentation}
