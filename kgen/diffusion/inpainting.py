"""Inpainting by a model that was trained for it: a class and a picture with a hole condition it at once."""

import keras
import numpy as np
from keras import ops

from kgen.core import Endpoint, TensorSpec, checks, random, views
from kgen.core.conditions import ImageCondition
from kgen.diffusion.ddpm import DDPM


@keras.saving.register_keras_serializable(package="kgen")
class KnownRegion(ImageCondition):
    """The picture with zeros where it is not known, and beside it the mask of what is: made from the data with rectangular holes.

    Args:
        shape: (H, W, C + 1).
        name, dropout: as in ``Condition``.
    """

    given = False

    def __init__(self, shape, name="known", dropout=0.0):
        super().__init__(shape, name, dropout)

    def specs(self):
        # Of no kind that a file could hold: a hole is 0, and the mask 0 or 1.
        doc = "picture in [-1, 1], 0 where it is not known, and the mask: 1 where it is"
        return {self.name: TensorSpec(self.shape, "float32", doc, -1.0, 1.0)}

    def made(self, x, seeds):
        x = ops.cast(x, "float32")
        (height, width), u = self.shape[:2], random.uniform(seeds, (4,), draw=0x401E)

        def inside(low, high, size):
            """Pixels between two random edges, at least one of them."""
            first, last = ops.minimum(low, high) * size, ops.maximum(low, high) * size
            places = ops.arange(size, dtype="float32")[None]
            return ops.logical_and(places >= ops.floor(first)[:, None], places <= last[:, None])

        rows, columns = inside(u[:, 0], u[:, 1], height), inside(u[:, 2], u[:, 3], width)
        hole = ops.logical_and(rows[:, :, None], columns[:, None, :])
        mask = 1.0 - ops.cast(hole, "float32")[..., None]
        return {self.name: ops.concatenate([x * mask, mask], axis=-1)}


@keras.saving.register_keras_serializable(package="kgen")
class InpaintingModel(DDPM):
    """A diffusion model that draws what is missing of a picture: ``fit(images)`` or ``fit(images, labels)``, then ``inpaint``.

    Args:
        shape: (H, W, C).
        **kwargs: ``network``, ``num_classes``, ``schedule`` ... as in ``DDPM``.
    Reference:
        Saharia et al., Palette: Image-to-image diffusion models, 2022, section 4.2, arXiv 2111.05826.
    """

    def __init__(self, shape, *, name="inpainting_model", **kwargs):
        shape = checks.shape("shape", shape)
        known = KnownRegion((*shape[:2], shape[2] + 1))
        super().__init__(shape, conditions=[known], name=name, **kwargs)

    def inpaint(self, x, mask, *, seed=None, **kwargs):
        """Draws the unknown pixels.

        Args:
            x: float array (B, *shape), in [-1, 1]; what it holds where nothing is known does not matter.
            mask: bool array (H, W) for all images, or (B, H, W): True where the pixel is known and stays as it is.
            seed: int, or None for another result each time.
            **kwargs: ``labels``, ``guidance``, ``steps``, ``sampler``, ``batch_size`` as in ``sample``.
        Returns:
            numpy float32 array (B, *shape), equal to ``x`` where it is known.
        Raises:
            ValueError: x or mask are not as above.
        """
        x, mask = checks.data_array("x", x), np.asarray(mask)
        shape = self.shape[:2]
        if mask.dtype != bool or mask.shape not in (shape, (len(x), *shape)):
            raise ValueError(
                f"mask: expected bools of shape {shape} or {(len(x), *shape)}, True where a pixel is known; received {mask.dtype} of "
                f"shape {mask.shape}."
            )
        mask = np.broadcast_to(mask, (len(x), *shape))[..., None]
        if x.shape[1:] == self.shape:  # before the check: what is not known may hold anything
            x = np.where(mask, x, 0.0).astype("float32")
        checks.images("x", x, self.shape)
        known = np.concatenate([x, mask.astype("float32")], axis=-1)
        return np.where(mask, x, self.sample(len(x), seed=seed, known=known, **kwargs))

    def endpoints(self):
        found = super().endpoints()
        sample = found[0]

        def inpaint(x, mask, **inputs):
            mask = mask[..., None]
            x = ops.where(mask, x, 0.0)
            inputs["known"] = ops.concatenate([x, ops.cast(mask, x.dtype)], axis=-1)
            inputs = {name: inputs[name] for name in sample.inputs if name in inputs}  # conditions in their order
            return {"images": ops.where(mask, x, sample.function(**inputs)["images"])}

        x = TensorSpec(self.shape, "float32", "picture in [-1, 1]", -1.0, 1.0, kind="image")
        told = "true where a pixel of x is known and stays as it is"
        mask = TensorSpec(self.shape[:2], "bool", told, kind="mask")
        rest = {name: spec for name, spec in sample.inputs.items() if name != "known"}
        outputs = {"images": f"x with the rest drawn, {self.sampler!r}"}
        return [*found, Endpoint("inpaint", inpaint, {"x": x, "mask": mask, **rest}, outputs, images=("images",))]

    def further_endpoints(self):
        """None: RePaint and SDEdit are for models that know of no hole."""
        return []

    def views(self):
        mask = TensorSpec(self.shape[:2], "bool", "true where a pixel is known and stays as it is", kind="mask")
        given = {"x": views.picture(self.shape), "mask": mask}
        return [views.drawn_from(self, "inpaint", "Inpaint", given, ("guidance", "steps"))]

    def get_config(self):
        config = super().get_config()
        del config["conditions"]
        return config
