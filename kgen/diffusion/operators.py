"""Linear operators on images: what a camera, a mask or a printer may have done to a picture.

``Restoration`` learns to undo one, and ``posterior_sample`` undoes any with a model that was trained on whole pictures. The images are
(B, H, W, C); each operator keeps them in [-1, 1].
"""

import keras
import numpy as np
from keras import ops

from kgen.core import checks
from kgen.core.config import Configured


class Operator(Configured):
    """Base class of linear functions of images that are data: what holds one can be saved."""

    def __call__(self, x):
        """A x: float tensor (B, ...) of images (B, H, W, C), arrays or tensors."""
        return self.apply(ops.convert_to_tensor(x))

    def apply(self, x):
        """``__call__`` of a tensor."""
        raise NotImplementedError

    def shape(self, shape):
        """The shape of A x for one image (H, W, C); raises ValueError where there is none."""
        return shape


@keras.saving.register_keras_serializable(package="kgen")
class Masking(Operator):
    """The pixels that are known; zeros where they are not.

    Args:
        mask: bool array (H, W), True where a pixel is known.
    """

    def __init__(self, mask):
        mask = np.asarray(mask)
        if mask.dtype != bool or mask.ndim != 2:
            raise ValueError(f"mask: expected bools of shape (H, W), received {mask.dtype} of shape {mask.shape}.")
        self.mask = mask.tolist()

    def apply(self, x):
        return x * ops.convert_to_tensor(np.array(self.mask)[None, :, :, None].astype("float32"))

    def shape(self, shape):
        sides = (len(self.mask), len(self.mask[0]))
        if tuple(shape[:2]) != sides:
            raise ValueError(f"mask: expected shape {tuple(shape[:2])}, that of the images, received {sides}.")
        return shape


@keras.saving.register_keras_serializable(package="kgen")
class AveragePooling(Operator):
    """Averages over blocks: a smaller picture.

    Args:
        factor: side of a block.
    """

    def __init__(self, factor):
        self.factor = checks.positive_int("factor", factor)

    def apply(self, x):
        return ops.average_pool(x, self.factor, strides=self.factor, data_format="channels_last")

    def shape(self, shape):
        if any(s % self.factor for s in shape[:2]):
            raise ValueError(f"factor: expected a divisor of both sides of {shape}, received {self.factor}.")
        return (*(s // self.factor for s in shape[:2]), shape[2])


@keras.saving.register_keras_serializable(package="kgen")
class GaussianBlur(Operator):
    """Each pixel is the average of those around it, weighted by exp(-distance^2 / (2 deviation^2)); beyond the border there are none.

    Args:
        deviation: in pixels.
    """

    def __init__(self, deviation):
        self.deviation = checks.in_range("deviation", deviation, 1e-3, 1e3)

    def apply(self, x):
        rows, columns = (ops.convert_to_tensor(self._weights(size)) for size in x.shape[1:3])
        return ops.einsum("ih,bhwc,jw->bijc", rows, x, columns)

    def _weights(self, size):
        distance = np.arange(size)[:, None] - np.arange(size)
        weights = np.exp(-0.5 * (distance / self.deviation) ** 2)
        return (weights / weights.sum(1, keepdims=True)).astype("float32")


@keras.saving.register_keras_serializable(package="kgen")
class Grey(Operator):
    """The luma of colours: 0.299 red + 0.587 green + 0.114 blue, one channel. Reference: ITU-R BT.601."""

    def apply(self, x):
        return ops.sum(x * ops.convert_to_tensor(np.array([0.299, 0.587, 0.114], "float32")), axis=-1, keepdims=True)

    def shape(self, shape):
        if shape[2] != 3:
            raise ValueError(f"operator: {self!r} is of images with red, green and blue, received images {shape}.")
        return (*shape[:2], 1)
