"""What a discriminator sees of the other rows of its batch, so that it tells samples that are too much alike.

Rows are taken in groups of neighbours, ``group`` at a time, the last group with what is left. So two replicas, each with a multiple of ``group``
rows, compute what one device with all rows does; and what a row is told depends on its group alone.
"""

import keras
from keras import layers, ops

from kgen.core import checks


def _together(x, group):
    """1 where two rows of a batch are of one group, else 0: float32 (B, B)."""
    numbers = ops.arange(ops.shape(x)[0], dtype="int32") // group
    return ops.cast(ops.equal(numbers[:, None], numbers[None]), "float32")


@keras.saving.register_keras_serializable(package="kgen")
class MinibatchStandardDeviation(layers.Layer):
    """Adds a channel: the standard deviation over the rows of a group, averaged over places and channels.

    Args:
        group: rows of a group; 4 in StyleGAN2's code, the whole batch in the paper.
    Call:
        x: float (B, ..., C). Returns float (B, ..., C + 1).
    Reference:
        Karras et al., Progressive growing of GANs for improved quality, stability, and variation, 2018, section 3, arXiv 1710.10196.
    """

    def __init__(self, group=4, **kwargs):
        super().__init__(**kwargs)
        self.group = checks.positive_int("group", group)

    def call(self, x):
        rows = ops.cast(ops.reshape(x, (ops.shape(x)[0], -1)), "float32")
        shares = _together(x, self.group)
        shares = shares / ops.sum(shares, axis=1, keepdims=True)
        centred = rows - ops.matmul(shares, rows)
        deviation = ops.mean(ops.sqrt(ops.matmul(shares, ops.square(centred)) + 1e-8), axis=1)
        like = ops.reshape(ops.cast(deviation, x.dtype), (-1, *[1] * (len(x.shape) - 1)))
        return ops.concatenate([x, ops.ones_like(x[..., :1]) * like], axis=-1)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], input_shape[-1] + 1)

    def get_config(self):
        return {**super().get_config(), "group": self.group}


@keras.saving.register_keras_serializable(package="kgen")
class MinibatchDiscrimination(layers.Layer):
    """Adds to features f_i how near the other rows are: o_ib = sum_j exp(-|M_ib - M_jb|_1), M_i = f_i T of shape (kernels, dim), j not i.

    Args:
        kernels: how many numbers b there are; 100 in the paper's code.
        dim: length of each M_ib; 5 in the paper's code.
        group: rows of a group; the whole batch in the paper.
    Call:
        x: float (B, F). Returns float (B, F + kernels).
    Reference:
        Salimans et al., Improved techniques for training GANs, 2016, section 3.2, arXiv 1606.03498. There the sum has j = i too, which is 1.
    """

    def __init__(self, kernels=32, dim=5, group=16, **kwargs):
        super().__init__(**kwargs)
        self.kernels, self.dim = checks.positive_int("kernels", kernels), checks.positive_int("dim", dim)
        self.group = checks.positive_int("group", group)

    def build(self, input_shape):
        shape = (input_shape[-1], self.kernels * self.dim)
        self.kernel = self.add_weight(shape=shape, initializer="glorot_uniform", name="kernel")

    def call(self, x):
        m = ops.reshape(ops.matmul(x, self.kernel), (-1, self.kernels, self.dim))
        distance = ops.sum(ops.abs(m[:, None] - m[None]), axis=-1)  # (B, B, kernels)
        others = _together(x, self.group)
        others = ops.cast(others - ops.cast(ops.eye(ops.shape(x)[0]), "float32"), x.dtype)
        near = ops.sum(ops.exp(-distance) * others[..., None], axis=1)
        return ops.concatenate([x, near], axis=-1)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], input_shape[-1] + self.kernels)

    def get_config(self):
        return {**super().get_config(), "kernels": self.kernels, "dim": self.dim, "group": self.group}
