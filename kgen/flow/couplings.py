"""Couplings: some values are transformed by parameters that depend on the others."""

import functools

import keras
import numpy as np
from keras import ops

from kgen.core import checks
from kgen.flow import transforms
from kgen.flow.chain import Step, rows_sum
from kgen.flow.conditioners import CONDITIONERS


def checkerboard(shape, parity=0):
    """The mask of Real NVP, Fig. 3: 1 where the sum of a value's coordinates (on images, without the channel) has this parity.

    Args:
        shape: shape of one row.
        parity: 0 or 1.
    Returns:
        numpy float32 array of that shape.
    """
    axes = shape[:2] if len(shape) == 3 else shape
    # One axis at a time: a preset's shape may have many, and a grid of all of them takes as many times the memory.
    board = (functools.reduce(np.add.outer, [np.arange(size) for size in axes]) + parity + 1) % 2
    return np.broadcast_to(board[..., None] if len(shape) == 3 else board, shape).astype("float32")


def channel_halves(shape, parity=0):
    """A mask of the last axis, Real NVP, section 3.6: 1 on its first half with parity 0, on the rest with parity 1; shaped as ``shape``."""
    first = np.arange(shape[-1]) < shape[-1] // 2
    return np.broadcast_to(first != bool(parity), shape).astype("float32")


@keras.saving.register_keras_serializable(package="kgen")
class Coupling(Step):
    """Keeps the values where ``mask`` is 1, and transforms the others by parameters that depend on those kept.

    With mask b:   z = b x + (1 - b) f(x; network(b x)).

    Args:
        transform: f: "affine", "spline", or a ``Transform``.
        mask: array of zeros and ones, shaped like a row.
        network: maps b x (B, *shape), or [b x, condition], to (B, *shape, transform.size): "dense", "convolutional" for images, or a
            ``keras.Model``.
        widths, dropout: of the networks with a name.
    Reference:
        Dinh et al., Density estimation using Real NVP, 2017, Eq. 9, arXiv 1605.08803.
    """

    def __init__(self, transform="affine", *, mask, network="dense", widths=(128, 128), dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        self.transform = transforms.get(transform)
        self.mask = np.asarray(mask, "float32")
        name = "dense" if network is None else network  # as a file of 0.1 has it
        self.network_name = checks.one_of("network", name, list(CONDITIONERS)) if isinstance(name, str) else None
        self.network = network if self.network_name is None else None
        self.widths = tuple(checks.positive_int("widths", w) for w in widths)
        self.dropout = checks.in_range("dropout", dropout, 0.0, 0.95)
        if not np.isin(self.mask, (0, 1)).all() or self.mask.min() == self.mask.max():
            raise ValueError("mask: expected zeros and ones, some of each: what is kept, and what is transformed.")

    def build(self, shape, condition_size=0):
        shape = tuple(shape)
        if self.mask.shape != shape:
            raise ValueError(f"mask: expected the shape of a row, {shape}, received {self.mask.shape}.")
        if self.network_name is not None:
            conditioner = CONDITIONERS[self.network_name]
            self.network = conditioner(shape, self.transform.size, condition_size, self.widths, self.dropout)
        x, wanted = ops.zeros((1, *shape)), (*shape, self.transform.size)
        received = tuple(self.network([x, ops.zeros((1, condition_size))] if condition_size else x).shape[1:])
        if received != wanted:
            raise ValueError(
                f"network: expected outputs (B, {', '.join(map(str, wanted))}), {self.transform.size} numbers for each value "
                f"({self.transform!r}), received (B, {', '.join(map(str, received))})."
            )

    def _bijector(self, kept, condition, training=False):
        inputs = kept if condition is None else [kept, condition]
        return self.transform.bijector(ops.cast(self.network(inputs, training=training), "float32"))

    def encode(self, x, condition=None, training=False):
        bijector = self._bijector(self.mask * x, condition, training)
        z = self.mask * x + (1.0 - self.mask) * bijector.inverse(x)
        return z, rows_sum((1.0 - self.mask) * bijector.inverse_log_det_jacobian(x, event_ndims=0))

    def decode(self, z, condition=None):
        return self.mask * z + (1.0 - self.mask) * self._bijector(self.mask * z, condition).forward(z)

    def get_config(self):
        return {
            **super().get_config(),
            "transform": keras.saving.serialize_keras_object(self.transform),
            "mask": self.mask.astype(int).tolist(),
            "network": self.network_name or keras.saving.serialize_keras_object(self.network),
            "widths": list(self.widths),
            "dropout": self.dropout,
        }

    @classmethod
    def from_config(cls, config):
        network = config["network"]
        return cls(
            **{
                **config,
                "network": keras.saving.deserialize_keras_object(network) if isinstance(network, dict) else network,
            }
        )
