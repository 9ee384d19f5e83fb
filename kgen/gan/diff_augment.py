"""DiffAugment: the same few changes for data and samples alike, in each step."""

import keras
from keras import ops

from kgen.core import checks, random
from kgen.gan.augmentation import Augmentation
from kgen.gan.networks import is_image

POLICIES = ("flip", "color", "translation", "cutout")


@keras.saving.register_keras_serializable(package="kgen")
class DiffAugment(Augmentation):
    """Changes images at random, always: ``GAN(..., augmentation=DiffAugment())``. ``ADA`` changes them as often as it has to.

    - "color": brightness + U(-1/2, 1/2); the distance from a pixel's mean, saturation, times U(0, 2); that from the image's, contrast, times
      U(1/2, 3/2);
    - "translation": by whole pixels, up to an eighth of each side, zeros coming in;
    - "cutout": a square of half of each side, its middle anywhere, becomes zeros;
    - "flip": left and right are exchanged in half of the images (not the paper's).

    Args:
        policy: which of these, a tuple of names.
    Reference:
        Zhao et al., Differentiable augmentation for data-efficient GAN training, 2020, section 3.2 and its code, arXiv 2006.10738.
    """

    def __init__(self, policy=("color", "translation", "cutout")):
        policy = [policy] if isinstance(policy, str) else list(policy)
        self.policy = [checks.one_of("policy", p, POLICIES) for p in policy]

    def check(self, shape):
        if not is_image(shape):
            raise ValueError(f"augmentation: DiffAugment changes images, (H, W, C), received shape {tuple(shape)}.")

    def __call__(self, x, seeds, state):
        for i, name in enumerate(POLICIES):
            if name in self.policy:
                x = CHANGES[name](x, random.fold_in(seeds, i))
        return x


def _uniform(seeds, n):
    """n uniform numbers for each row, each (B, 1, 1, 1)."""
    drawn = random.uniform(seeds, (n,))
    return [drawn[:, i][:, None, None, None] for i in range(n)]


def _flip(x, seeds):
    (u,) = _uniform(seeds, 1)
    return ops.where(u < 0.5, ops.flip(x, axis=2), x)


def _color(x, seeds):
    brightness, saturation, contrast = _uniform(seeds, 3)
    x = x + (brightness - 0.5)
    mean = ops.mean(x, axis=3, keepdims=True)
    x = (x - mean) * (2.0 * saturation) + mean
    mean = ops.mean(x, axis=(1, 2, 3), keepdims=True)
    return (x - mean) * (contrast + 0.5) + mean


def _translation(x, seeds):
    # By products with matrices of zeros and ones, exact in any precision: each row of the result takes one row of the image, or none.
    for axis, u in enumerate(_uniform(seeds, 2), start=1):
        size = x.shape[axis]
        most = int(size / 8 + 0.5)
        shift = ops.floor(u[..., 0] * (2 * most + 1)) - most  # (B, 1, 1)
        places = ops.arange(size, dtype="float32")
        takes = ops.cast(ops.equal(places[None, :, None] + shift, places[None, None, :]), x.dtype)  # (B, to, from)
        x = ops.einsum("bij,bjwc->biwc" if axis == 1 else "bij,bhjc->bhic", takes, x)
    return x


def _cutout(x, seeds):
    inside = 1.0
    for axis, u in enumerate(_uniform(seeds, 2), start=1):
        size = x.shape[axis]
        side = int(size * 0.5 + 0.5)
        middle = ops.floor(u * (size + 1 - side % 2))
        places = ops.reshape(ops.arange(size, dtype="float32"), (1, -1, 1, 1) if axis == 1 else (1, 1, -1, 1))
        low = middle - side // 2
        inside = inside * ops.cast(ops.logical_and(places >= low, places < low + side), x.dtype)
    return x * (1.0 - inside)


CHANGES = {"flip": _flip, "color": _color, "translation": _translation, "cutout": _cutout}
