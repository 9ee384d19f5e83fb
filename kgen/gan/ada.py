"""ADA: augmentation of what a discriminator sees, as strong as its overfitting asks for.

Each transformation is applied with probability p. Once every four steps of the discriminator p moves by a fixed amount, up where

    r_t = E[sign(D(x))],  x data,

is above its target and down where it is below: a discriminator that knows all of its data has r_t = 1, one that knows nothing 0.

Reference:
    Karras et al., Training generative adversarial networks with limited data, 2020, section 3.1, Eq. 1, appendix B, and 2.2 on leaks,
    arXiv 2006.06676.
"""

import math
import typing

import keras
import numpy as np
from keras import ops

from kgen import backend
from kgen.core import checks, random
from kgen.gan.augmentation import Augmentation
from kgen.gan.networks import is_image

# What is applied with probability p, or not at all, and how many numbers say how.
APPLIED = (
    "flip", "turn", "shift by pixels", "scale", "rotation", "stretch", "rotation again", "shift",
    "brightness", "contrast", "reversal", "hue", "saturation",
)  # fmt: skip
VALUES, NORMALS = 8, 7
# Matrices (9,) of what a row of colours is multiplied by: it stays, goes to the direction of grey, to its cross product with that.
COLOURS = np.eye(3).ravel(), np.full(9, 1 / 3), 3**-0.5 * np.array([0, 1, -1, -1, 0, 1, 1, -1, 0])
# Either of the two is applied with probability p.
ROTATIONS = np.array([name.startswith("rotation") for name in APPLIED])
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

    # Transformations. Each is few operations, whatever it moves: a backend without a compiler pays for each.

    def __call__(self, x, seeds, state):
        p, sizes = state["p"], (len(APPLIED), VALUES, NORMALS, NORMALS)
        applied, values, radii, angles = ops.split(
            random.uniform(seeds, (sum(sizes),)), np.cumsum(sizes)[:-1].tolist(), axis=1
        )
        chances = ops.where(ROTATIONS, 1.0 - ops.sqrt(1.0 - p), p)
        on = ops.cast(applied < chances, "float32")
        # By Box and Muller, so that one call of the cipher is for all.
        normals = ops.sqrt(-2.0 * ops.log(radii)) * ops.cos(2.0 * math.pi * angles)
        draws = _Draws({name: on[:, i : i + 1] for i, name in enumerate(APPLIED)}, values, normals)
        if self.pixel or self.geometric:
            x = _moved(x, *self._motion(draws, *x.shape[1:3]))
        return _coloured(x, draws) if self.colour else x

    def _motion(self, draws, height, width):
        """Where each pixel of the result comes from: matrices (B, 2, 2) and shifts (B, 2), in pixels from the centre, (x, y)."""
        on, values, normals = draws
        size, motion, shift = ops.convert_to_tensor([float(width), float(height)]), None, None
        if self.pixel:
            flip = 1.0 - 2.0 * on["flip"] * ops.floor(2.0 * values[:, 0:1])
            turns = on["turn"] * ops.floor(4.0 * values[:, 1:2])  # quarter turns: cosine and sine are whole numbers
            c, s = ops.abs(turns - 2.0) - 1.0, 1.0 - ops.abs(turns - 1.0)
            motion = _matrices(flip * c, -flip * s, s, c)
            pixels = ops.round(0.125 * size * (2.0 * values[:, 2:4] - 1.0)) * on["shift by pixels"]
            shift = _after(motion, pixels[:, :, None])[:, :, 0]
        if self.geometric:
            sides = 0.2 * (
                normals[:, 1:2] * on["stretch"] * ops.convert_to_tensor([-1.0, 1.0]) - normals[:, 0:1] * on["scale"]
            )
            before, then = (
                _rotations(on[name] * math.pi * (2.0 * values[:, i : i + 1] - 1.0))
                for i, name in ((4, "rotation"), (5, "rotation again"))
            )
            turned = _after(before * ops.exp2(sides)[:, None, :], then)
            moved = _after(turned, (0.125 * size * normals[:, 2:4] * on["shift"])[:, :, None])[:, :, 0]
            if motion is None:
                return turned, moved
            shift = shift + _after(motion, moved[:, :, None])[:, :, 0]
            motion = _after(motion, turned)
        return motion, shift


class _Draws(typing.NamedTuple):
    """What says what is done to each image: for each of ``APPLIED`` a column (B, 1) of 0 or 1, uniform and normal numbers."""

    on: dict
    values: typing.Any
    normals: typing.Any


def _matrices(*columns):
    """(B, 2, 2) of four columns (B, 1), row by row."""
    return ops.reshape(ops.concatenate(columns, axis=1), (-1, 2, 2))


def _rotations(angle):
    c, s = ops.cos(angle), ops.sin(angle)
    return _matrices(c, -s, s, c)


def _after(first, second):
    """The product of matrices (B, 2, 2) and (B, 2, N), exact where the entries are whole, on a GPU too."""
    return first[:, :, 0:1] * second[:, 0:1] + first[:, :, 1:] * second[:, 1:]


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


def _moved(x, motion, shift):
    """Images (B, H, W, C) read at other places, between pixels as ``ADA`` says, beyond the edges in reflection."""
    height, width, channels = x.shape[1:]
    tall, wide = 2 * height - 1, 2 * width - 1
    # Along the width as one product of two matrices, of all channels: products for each row and channel take longer.
    x = ops.matmul(_doubled(height), ops.reshape(x, (-1, height, width * channels)))
    across = np.kron(_doubled(width), np.eye(channels, dtype="float32"))
    x = ops.matmul(ops.reshape(x, (-1, width * channels)), across.T)
    sizes = ops.convert_to_tensor([[float(width)], [float(height)]])
    columns, rows = np.meshgrid(np.arange(width) - (width - 1) / 2, np.arange(height) - (height - 1) / 2)
    grid = ops.convert_to_tensor(np.stack([columns.ravel(), rows.ravel()])[None].astype("float32"))
    places = _after(motion, grid) + shift[:, :, None] + (sizes - 1) / 2  # (B, 2, H W)
    places = 2.0 * _reflected(places, sizes)
    before = ops.floor(places)
    part = places - before
    neighbours = [ops.cast(n, "int32") for n in (before, ops.minimum(before + 1.0, 2.0 * (sizes - 1.0)))]
    flat = ops.reshape(x, (-1, tall * wide, channels))

    def line(row):
        left, right = (backend.take_rows(flat, wide * row[:, 1] + column[:, 0]) for column in neighbours)
        return left + part[:, 0, :, None] * (right - left)

    upper, lower = map(line, neighbours)
    return ops.reshape(upper + part[:, 1, :, None] * (lower - upper), (-1, height, width, channels))


def _reflected(place, size):
    """Places on lines of ``size`` pixels, reflected at the centres of their first and last."""
    period = 2.0 * (size - 1.0)
    place = place - period * ops.floor(place / ops.maximum(period, 1.0))
    # What rounding leaves below 0, and where there is one pixel alone.
    return ops.clip(ops.minimum(place, period - place), 0.0, size - 1.0)


def _coloured(x, draws):
    """Brightness, contrast, reversal of luma; of three channels also rotation of hue, and saturation."""
    on, values, normals = draws
    brightness = 0.2 * normals[:, 4:5] * on["brightness"]
    contrast = ops.exp2(0.5 * normals[:, 5:6] * on["contrast"])
    luma = 1.0 - 2.0 * ops.floor(2.0 * values[:, 6:7]) * on["reversal"]
    x = x + _like_images(brightness)
    if x.shape[-1] == 1:
        return x * _like_images(contrast * luma)
    angle = math.pi * (2.0 * values[:, 7:8] - 1.0) * on["hue"]
    saturation = ops.exp2(normals[:, 6:7] * on["saturation"])
    # A rotation about the direction of grey leaves grey, and turns the rest towards its cross product with that direction. The entries of
    # the matrix (B, 9) are exact where nothing is applied.
    kept, crossed = saturation * ops.cos(angle), saturation * ops.sin(angle)
    same, grey, across = (ops.convert_to_tensor(m.astype("float32")) for m in COLOURS)
    matrix = contrast * (kept * same + (luma - kept) * grey + crossed * across)
    matrix = ops.reshape(matrix, (-1, 1, 1, 3, 3))
    return x[..., 0:1] * matrix[..., 0, :] + x[..., 1:2] * matrix[..., 1, :] + x[..., 2:3] * matrix[..., 2, :]


def _like_images(values):
    return ops.reshape(values, (-1, 1, 1, 1))
