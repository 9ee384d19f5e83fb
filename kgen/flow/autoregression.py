"""Autoregressive steps: each value is transformed by parameters that depend on the values before it."""

import keras
import numpy as np
from keras import ops

from kgen.core import checks
from kgen.flow import transforms
from kgen.flow.chain import Step
from kgen.flow.conditioners import MADE


@keras.saving.register_keras_serializable(package="kgen")
class MaskedAutoregressive(Step):
    """Transforms each value by parameters that depend on the values before it: z_i = f(x_i; made(x_1 ... x_{i-1})).

    ``encode`` takes one pass of the network, ``decode`` one for each value. Values are counted in row-major order.

    Args:
        transform: f: "affine", "spline", or a ``Transform``.
        widths: hidden widths of the masked network.
        direct: whether it connects its inputs straight to its outputs too.
    Reference:
        Papamakarios et al., Masked autoregressive flow for density estimation, 2017, Eq. 4 and 5, arXiv 1705.07057.
    """

    def __init__(self, transform="affine", *, widths=(128, 128), direct=True, **kwargs):
        super().__init__(**kwargs)
        self.transform = transforms.get(transform)
        self.widths = tuple(checks.positive_int("widths", w) for w in widths)
        self.direct = bool(direct)

    def build(self, shape, condition_size=0):
        self.shape, self.dim = tuple(shape), int(np.prod(shape))
        self.made = MADE(self.transform.size, condition_size, self.widths, direct=self.direct, name="made")
        self.made.build((None, self.dim))

    def _bijector(self, x, condition):
        return self.transform.bijector(ops.cast(self.made(x, condition), "float32"))

    def encode(self, x, condition=None, training=False):
        x = ops.reshape(x, (-1, self.dim))
        bijector = self._bijector(x, condition)
        log_det = ops.sum(bijector.inverse_log_det_jacobian(x, event_ndims=0), axis=-1)
        return ops.reshape(bijector.inverse(x), (-1, *self.shape)), log_det

    def decode(self, z, condition=None):
        z = ops.reshape(z, (-1, self.dim))
        # After i rounds the first i values are right, and with them the parameters of the next.
        x = ops.fori_loop(0, self.dim, lambda i, x: self._bijector(x, condition).forward(z), ops.zeros_like(z))
        return ops.reshape(x, (-1, *self.shape))

    def get_config(self):
        return {
            **super().get_config(),
            "transform": keras.saving.serialize_keras_object(self.transform),
            "widths": list(self.widths),
            "direct": self.direct,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**{"direct": False, **config})  # a file of 0.1 does not name it
