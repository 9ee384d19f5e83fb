"""ADA: augmentation of what a discriminator sees, as strong as its overfitting asks for.

Each transformation is applied with probability p. Once every four steps of the discriminator p moves by a fixed amount, up where

    r_t = E[sign(D(x))],  x data,

is above its target and down where it is below: a discriminator that knows all of its data has r_t = 1, one that knows nothing 0.

Reference:
    Karras et al., Training generative adversarial networks with limited data, 2020, section 3.1, Eq. 1, appendix B, and 2.2 on leaks,
    arXiv 2006.06676.
"""

import math

import keras
import numpy as np
from keras import ops

from kgen.core import checks, random
from kgen.gan.augmentation import Augmentation
from kgen.gan.networks import is_image

LUMA = np.full((3, 1), 3**-0.5, "float32")  # the direction of grey
UNIFORMS, NORMALS = 21, 7  # that one image takes
STEPS = 4  # of the discriminator, between two changes of p
SAFE = 0.8  # up to which p samples are not seen to take over the transformations (section 2.2)


@keras.saving.register_keras_serializable(package="kgen")
class ADA(Augmentation):
    """Pixel blitting, geometric and colour transformations, the set with which the paper trains: ``GAN(..., augmentation=ADA())``.

    Images of one channel get what of the colour transformations they have: brightness, contrast and its reversal. Where the paper moves
    pixels at twice the resolution, between two passes of an orthogonal wavelet's low-pass filter, this one doubles the resolution by Lanczos'
    window, which leaves the pixels themselves as they are, and reads the result bilinearly. With p = 0 images are as they were.

    Args:
        target: of r_t.
        images: how many the discriminator sees while p goes from 0 to 1, of which it stops at 0.8; 500,000 in the paper. Small and short trainings
            take fewer.
        p: the first p, in [0, 1]; with ``images`` None it stays.
        pixel, geometric, colour: which transformations there are.
    """

    def __init__(self, target=0.6, images=500_000, p=0.0, pixel=True, geometric=True, colour=True):
        self.target = checks.in_range("target", target, -1.0, 1.0)
        self.images = None if images is None else checks.positive_int("images", images)
        self.p = checks.in_range("p", p, 0.0, 1.0)
        self.pixel, self.geometric, self.colour = bool(pixel), bool(geometric), bool(colour)

    def check(self, shape):
        if not is_image(shape) or shape[-1] not in (1, 3):
            raise ValueError(f"augmentation: ADA changes images of 1 or 3 channels, (H, W, C), received shape {shape}.")

    # p.

    def state(self):
        return {"p": self.p, "signs": 0.0, "rows": 0.0, "steps": 0.0}

    def observe(self, real_logits):
        return {"sign": ops.sign(real_logits)}

    def next_state(self, state, means, rows):
        signs, seen = state["signs"] + means["sign"] * rows, state["rows"] + rows
        steps, p = state["steps"] + 1.0, state["p"]
        due = steps >= STEPS
        if self.images is not None:
            r_t = signs / ops.maximum(seen, 1.0)
            p = ops.where(due, ops.clip(p + ops.sign(r_t - self.target) * seen / self.images, 0.0, SAFE), p)
        kept = ops.where(due, 0.0, 1.0)
        return {"p": p, "signs": kept * signs, "rows": kept * seen, "steps": kept * steps}

    # Transformations.

    def __call__(self, x, seeds, state):
        draws = _Draws(seeds, state["p"])
        if self.pixel or self.geometric:
            x = _moved(x, self._motion(draws, *x.shape[1:3]))
        return _coloured(x, draws) if self.colour else x

    def _motion(self, draws, height, width):
        """Where each pixel of the result comes from: matrices (B, 2, 3), in pixels from the centre, (x, y, 1)."""
        motion = _matrix(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, like=draws.p)
        size = (float(width), float(height))
        if self.pixel:
            flip = 1.0 - 2.0 * draws.floor(2)
            motion = _after(motion, _matrix(flip, 0.0, 0.0, 0.0, 1.0, 0.0, like=flip))
            turns = draws.floor(4)  # quarter turns: cosine and sine are whole numbers
            c = ops.where(turns == 0, 1.0, ops.where(turns == 2, -1.0, 0.0))
            s = ops.where(turns == 1, 1.0, ops.where(turns == 3, -1.0, 0.0))
            motion = _after(motion, _matrix(c, -s, 0.0, s, c, 0.0, like=c))
            on = draws.applied()
            shifts = [ops.round((2.0 * draws.uniform() - 1.0) * 0.125 * n) * on for n in size]
            motion = _after(motion, _matrix(1.0, 0.0, shifts[0], 0.0, 1.0, shifts[1], like=on))
        if self.geometric:
            scale = ops.exp2(-0.2 * draws.normal() * draws.applied())
            motion = _after(motion, _matrix(scale, 0.0, 0.0, 0.0, scale, 0.0, like=scale))
            turned = 1.0 - ops.sqrt(1.0 - draws.p)  # so that either of two rotations is applied with probability p
            motion = _after(motion, _rotation(draws.angle(turned)))
            stretch = 0.2 * draws.normal() * draws.applied()
            wider, taller = ops.exp2(-stretch), ops.exp2(stretch)
            motion = _after(motion, _matrix(wider, 0.0, 0.0, 0.0, taller, 0.0, like=wider))
            motion = _after(motion, _rotation(draws.angle(turned)))
            on = draws.applied()
            shifts = [0.125 * n * draws.normal() * on for n in size]
            motion = _after(motion, _matrix(1.0, 0.0, shifts[0], 0.0, 1.0, shifts[1], like=on))
        return motion


class _Draws:
    """Numbers (B,) from row seeds, each another one, and whether a transformation is applied."""

    def __init__(self, seeds, p):
        uniforms = random.uniform(seeds, (UNIFORMS,), draw=0)
        self.uniforms = iter(ops.unstack(uniforms, UNIFORMS, axis=1))
        self.normals = iter(ops.unstack(random.normal(seeds, (NORMALS,), draw=1), NORMALS, axis=1))
        self.p = p + ops.zeros_like(uniforms[:, 0])

    def uniform(self):
        return next(self.uniforms)

    def normal(self):
        return next(self.normals)

    def applied(self, p=None):
        """1 with probability p, else 0."""
        return ops.cast(self.uniform() < (self.p if p is None else p), "float32")

    def floor(self, n):
        """0 to n - 1, where applied; else 0."""
        return ops.minimum(ops.floor(self.uniform() * n), n - 1.0) * self.applied()

    def angle(self, p=None):
        return (2.0 * self.uniform() - 1.0) * math.pi * self.applied(p)


def _matrix(*entries, like):
    return ops.reshape(ops.stack([e + ops.zeros_like(like) for e in entries], axis=-1), (-1, 2, 3))


def _rotation(angle):
    c, s = ops.cos(angle), ops.sin(angle)
    return _matrix(c, -s, 0.0, s, c, 0.0, like=angle)


def _after(first, second):
    """The motion ``second`` of what ``first`` has moved, both (B, 2, 3), read from the result's pixels back to the image's."""
    turned = ops.sum(first[:, :, :2, None] * second[:, None, :, :], axis=2)  # exact where the entries are whole
    return ops.concatenate([turned[..., :2], turned[..., 2:] + first[..., 2:]], axis=-1)


def _doubled(size):
    """The matrix (2 n - 1, n) that puts a value between each two of a line of n, by Lanczos' window of three to each side, reflected at the
    ends. Read bilinearly from there, noise keeps 0.80 of its variance, and 0.67 from the line itself."""
    matrix = np.zeros((2 * size - 1, size))
    matrix[::2] = np.eye(size)
    away = np.arange(-2, 4) - 0.5
    weights = np.sinc(away) * np.sinc(away / 3)
    near = np.pad(np.arange(size), (2, 3), mode="reflect")
    for row in range(size - 1):
        np.add.at(matrix[2 * row + 1], near[row : row + 6], weights / weights.sum())
    return matrix.astype("float32")


def _moved(x, motion):
    """Images (B, H, W, C) read at other places, between pixels as ``ADA`` says, beyond the edges in reflection."""
    height, width = x.shape[1:3]
    x = ops.einsum("vh,bhwc->bvwc", _doubled(height), x)
    x = ops.einsum("vw,bhwc->bhvc", _doubled(width), x)
    rows, columns = np.meshgrid(np.arange(height) - (height - 1) / 2, np.arange(width) - (width - 1) / 2, indexing="ij")
    grid = np.stack([columns, rows, np.ones_like(rows)]).reshape(3, -1)
    grid = ops.convert_to_tensor(grid[None, None].astype("float32"))
    places = ops.sum(motion[:, :, :, None] * grid, axis=2)  # (B, 2, H W)
    column = 2.0 * _reflected(places[:, 0] + (width - 1) / 2, width)
    row = 2.0 * _reflected(places[:, 1] + (height - 1) / 2, height)
    left, top = ops.floor(column), ops.floor(row)
    tall, wide = x.shape[1:3]
    flat = ops.reshape(x, (-1, tall * wide, x.shape[3]))

    def read(r, c):
        r = ops.cast(ops.minimum(r, tall - 1.0), "int32")
        c = ops.cast(ops.minimum(c, wide - 1.0), "int32")
        return ops.take_along_axis(flat, ops.repeat((r * wide + c)[..., None], x.shape[3], axis=-1), axis=1)

    right, below = (column - left)[..., None], (row - top)[..., None]
    upper = read(top, left) * (1.0 - right) + read(top, left + 1.0) * right
    lower = read(top + 1.0, left) * (1.0 - right) + read(top + 1.0, left + 1.0) * right
    return ops.reshape(upper * (1.0 - below) + lower * below, (-1, height, width, x.shape[3]))


def _reflected(place, size):
    """Places on a line of ``size`` pixels, reflected at the centres of its first and last."""
    if size == 1:
        return ops.zeros_like(place)
    period = 2.0 * (size - 1)
    place = ops.abs(place) - period * ops.floor(ops.abs(place) / period)
    return ops.minimum(place, period - place)


def _coloured(x, draws):
    """Brightness, contrast, reversal of luma; of three channels also rotation of hue, and saturation."""
    brightness = 0.2 * draws.normal() * draws.applied()
    contrast = ops.exp2(0.5 * draws.normal() * draws.applied())
    reversal = draws.floor(2)
    x = (x + _like_images(brightness)) * _like_images(contrast)
    if x.shape[-1] == 1:
        return x * _like_images(1.0 - 2.0 * reversal)
    angle = draws.angle()
    saturation = ops.exp2(draws.normal() * draws.applied())
    grey = ops.matmul(x, LUMA @ LUMA.T)
    rest = x - grey
    # A rotation about the direction of grey leaves ``grey``, and turns the rest towards its cross product with that direction.
    l = float(LUMA[0, 0])
    across = np.array([[0, -l, l], [l, 0, -l], [-l, l, 0]], "float32").T
    turned = rest * _like_images(ops.cos(angle)) + ops.matmul(rest, across) * _like_images(ops.sin(angle))
    # Where nothing is applied the sum gives the image back only to rounding: it is taken as it was.
    changed = grey * _like_images(1.0 - 2.0 * reversal) + turned * _like_images(saturation)
    same = ops.logical_and(ops.equal(reversal, 0.0), ops.logical_and(ops.equal(angle, 0.0), ops.equal(saturation, 1.0)))
    return ops.where(_like_images(same), x, changed)


def _like_images(values):
    return ops.reshape(values, (-1, 1, 1, 1))
