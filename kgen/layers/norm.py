"""Normalisation."""

import math

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kgen")
class GroupNormalization(keras.layers.GroupNormalization):
    """Group normalisation of feature maps: Keras's layer, with the same weights and options, in fewer operations.

    y = a x + b, where a = gamma / sqrt(var + epsilon) and b = beta - mean a are one number per row and channel: the map itself is
    read three times and written once, where separate centring, scaling and shifting take a pass each.

    Args:
        groups: number of groups; divides the channels.
        epsilon: what is added to the variance.
    Call:
        x: float tensor (B, ..., C): maps (B, H, W, C), sequences (B, T, C). Returns the same shape.
    Reference:
        Wu & He, Group normalization, 2018, Eq. 1 and 2, arXiv 1803.08494.
    """

    def __init__(self, groups=8, epsilon=1e-5, **kwargs):
        super().__init__(groups, epsilon=epsilon, **kwargs)

    def call(self, x):
        count, channels = math.prod(x.shape[1:-1]), x.shape[-1]
        size = channels // self.groups
        pixels = ops.reshape(ops.cast(x, "float32"), (-1, count, channels))

        def group_means(sums):
            means = ops.sum(ops.reshape(sums, (-1, self.groups, size)), axis=-1, keepdims=True) / (count * size)
            # (B, 1, C). Neither by ops.repeat nor by indices with None: they and their gradients are many operations on TensorFlow.
            return ops.reshape(ops.tile(means, (1, 1, size)), (-1, 1, channels))

        centred = pixels - group_means(ops.sum(pixels, axis=1))
        variance = group_means(ops.sum(ops.square(centred), axis=1))
        scale = ops.rsqrt(variance + self.epsilon) * ops.cast(self.gamma, "float32")
        normal = centred * scale + ops.cast(self.beta, "float32")
        return ops.cast(ops.reshape(normal, ops.shape(x)), self.compute_dtype)
