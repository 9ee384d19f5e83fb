"""A distance of images by what a network sees in them."""

import keras
from keras import ops


def perceptual_distance(features, a, b):
    """sum_l mean_hw |u_l(a) - u_l(b)|^2, u_l features of a pixel scaled to length 1, (B,).

    It is LPIPS with all channels weighing the same (Zhang et al., The unreasonable effectiveness of deep features as a perceptual metric,
    2018, Eq. 1, arXiv 1801.03924), by whatever network is at hand.

    Args:
        features: a network of images, whose outputs are features (B, ..., C), or a list of them.
        a, b: float tensors (B, H, W, C).
    Returns:
        float32 tensor (B,); at most 4 for each of the outputs.
    """

    def of_unit_length(image):
        for h in keras.tree.flatten(features(image, training=False)):
            h = ops.cast(h, "float32")
            yield h * ops.rsqrt(ops.sum(ops.square(h), axis=-1, keepdims=True) + 1e-10)

    total = 0.0
    for u, v in zip(of_unit_length(a), of_unit_length(b), strict=True):
        squares = ops.sum(ops.square(u - v), axis=-1)
        total = total + (
            ops.mean(squares, axis=tuple(range(1, len(squares.shape)))) if len(squares.shape) > 1 else squares
        )
    return total
