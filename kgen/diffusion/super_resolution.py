"""Super-resolution: a diffusion model conditioned on a smaller picture of what it draws."""

import keras
import numpy as np
from keras import ops

from kgen.core import checks
from kgen.core.conditions import ImageCondition
from kgen.diffusion.ddpm import DDPM


@keras.saving.register_keras_serializable(package="kgen")
class SmallerPicture(ImageCondition):
    """The picture itself, reduced by averages over blocks: it is made from the data, and ``fit`` is not asked for it.

    Args:
        shape: of the smaller picture.
        factor: side of a block.
        name, dropout: as in ``Condition``.
    """

    given = False

    def __init__(self, shape, factor=2, name="low", dropout=0.0):
        super().__init__(shape, name, dropout)
        self.factor = factor

    def made(self, x, seeds):
        return {
            self.name: ops.average_pool(
                ops.cast(x, "float32"), self.factor, strides=self.factor, data_format="channels_last"
            )
        }


@keras.saving.register_keras_serializable(package="kgen")
class SuperResolution(DDPM):
    """A diffusion model that draws what a small picture may have been: ``fit(images)``, then ``upscale(small)``.

    Args:
        image_shape: (H, W, C) of the large pictures.
        factor: how many times smaller the given pictures are; divides both sides.
        **kwargs: ``network``, ``num_classes``, ``schedule`` ... as in ``DDPM``.
    Reference:
        Saharia et al., Image super-resolution via iterative refinement, 2021, section 2, arXiv 2104.07636.
    """

    def __init__(self, image_shape, factor=2, *, name="super_resolution", **kwargs):
        image_shape = checks.shape("image_shape", image_shape)
        factor = checks.positive_int("factor", factor)
        if len(image_shape) != 3 or any(s % factor for s in image_shape[:2]):
            raise ValueError(f"factor: expected a divisor of both sides of {image_shape}, received {factor}.")
        low = (image_shape[0] // factor, image_shape[1] // factor, image_shape[2])
        super().__init__(image_shape, conditions=[SmallerPicture(low, factor)], name=name, **kwargs)
        self.factor = factor

    def upscale(self, x, *, seed=None, **kwargs):
        """Draws large pictures of small ones.

        Args:
            x: float array (B, H / factor, W / factor, C), in [-1, 1].
            seed: int, or None for another result each time.
            **kwargs: ``labels``, ``guidance``, ``steps``, ``sampler``, ``batch_size`` as in ``sample``.
        Returns:
            numpy float32 array (B, H, W, C).
        """
        x = checks.data_array("x", x)
        checks.images("x", x, self.conditions["low"].shape)
        return self.sample(len(x), seed=seed, low=np.asarray(x, "float32"), **kwargs)

    def get_config(self):
        config = super().get_config()
        del config["conditions"]
        return {**config, "factor": self.factor}
