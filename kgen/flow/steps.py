"""The steps of a flow: layers that map x to z and back, with the logarithm of the Jacobian determinant.

Each step rests on TFP bijectors, made anew at each call from what its Keras layers return, so that their weights train, save and
average as those of any layer. Directions are TFP's: a bijector's ``forward`` maps z to x.
"""

import inspect

import keras
import numpy as np
from keras import ops

from kgen.backend import probability
from kgen.core import checks
from kgen.flow import transforms
from kgen.flow.conditioners import MADE, dense_conditioner


def rows_sum(log_det):
    """Sums each row: (B, ...) to (B,)."""
    return ops.sum(ops.reshape(log_det, (ops.shape(log_det)[0], -1)), axis=-1)


class Step(keras.layers.Layer):
    """Base class. A subclass makes its weights in ``build``, and gives ``encode`` and ``decode``."""

    def build(self, shape, condition_size=0):
        """Makes the weights: ``shape`` of one row, and the length of the condition, 0 for none."""

    def initialize(self, x, condition=None):
        """Sets weights from data (N, *shape) before training, where a step does so."""

    def encode(self, x, condition=None, training=False):
        """x to z.

        Args:
            x: float32 tensor (B, *shape).
            condition: float32 tensor (B, condition_size), or None.
            training: bool.
        Returns:
            ``(z, log_det)``: float32 tensors (B, *shape), and ln |det dz/dx| (B,).
        """
        raise NotImplementedError

    def decode(self, z, condition=None):
        """z to x: float32 tensors (B, *shape)."""
        raise NotImplementedError


@keras.saving.register_keras_serializable(package="kgen")
class Chain(Step):
    """Steps in order: the first is nearest to the data.

    Args:
        steps: list of ``Step``.
    """

    def __init__(self, steps, **kwargs):
        super().__init__(**kwargs)
        self.steps = list(steps)

    def build(self, shape, condition_size=0):
        for step in self.steps:
            if not step.built:
                step.build(shape, condition_size)

    def initialize(self, x, condition=None):
        for step in self.steps:
            step.initialize(x, condition)
            x, _ = step.encode(x, condition)

    def encode(self, x, condition=None, training=False):
        total = 0.0
        for step in self.steps:
            x, log_det = step.encode(x, condition, training)
            total = total + log_det
        return x, total

    def decode(self, z, condition=None):
        for step in reversed(self.steps):
            z = step.decode(z, condition)
        return z

    def get_config(self):
        return {**super().get_config(), "steps": [keras.saving.serialize_keras_object(s) for s in self.steps]}

    @classmethod
    def from_config(cls, config):
        steps = [keras.saving.deserialize_keras_object(s) for s in config["steps"]]
        return cls(**{**config, "steps": steps})


@keras.saving.register_keras_serializable(package="kgen")
class BijectorStep(Step):
    """Any bijector of TFP.

    Args:
        make: function of no arguments that returns a TFP bijector whose ``forward`` maps z to x. What it returns is fixed: weights that
            train need a ``Step``. A file keeps the function's name alone, so a flow that is to be saved needs one that is decorated with
            ``@keras.saving.register_keras_serializable()``.
    """

    def __init__(self, make, **kwargs):
        super().__init__(**kwargs)
        self.make = make

    def build(self, shape, condition_size=0):
        self.event_ndims = len(shape)

    def encode(self, x, condition=None, training=False):
        bijector = self.make()
        log_det = bijector.inverse_log_det_jacobian(x, event_ndims=self.event_ndims)
        return bijector.inverse(x), ops.broadcast_to(log_det, (ops.shape(x)[0],))

    def decode(self, z, condition=None):
        return self.make().forward(z)

    def get_config(self):
        name = getattr(self.make, "__name__", None)
        if name is None or keras.saving.get_registered_name(self.make) == name:
            raise ValueError(
                f"steps: {self.make!r} is a plain function, which no file can hold. Define it by a name and decorate it with "
                "@keras.saving.register_keras_serializable() to save, copy (ema=) or export this flow."
            )
        return {**super().get_config(), "make": keras.saving.serialize_keras_object(self.make)}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "make": keras.saving.deserialize_keras_object(config["make"])})


@keras.saving.register_keras_serializable(package="kgen")
class Permutation(Step):
    """Puts the values of a row, counted in row-major order, in another order: z_i = x_order[i].

    Args:
        order: list of ints, a permutation of 0 to D - 1; or "reverse".
    """

    def __init__(self, order="reverse", **kwargs):
        super().__init__(**kwargs)
        self.order = checks.one_of("order", order, ["reverse"]) if isinstance(order, str) else [int(i) for i in order]

    def build(self, shape, condition_size=0):
        self.shape, d = tuple(shape), int(np.prod(shape))
        order = list(range(d))[::-1] if self.order == "reverse" else self.order
        if sorted(order) != list(range(d)):
            raise ValueError(f"order: expected a permutation of 0 to {d - 1}, since rows have shape {self.shape}.")
        self.inverse_order = [int(i) for i in np.argsort(order)]

    def _bijector(self):
        return probability.bijectors().Permute(self.inverse_order, axis=-1)

    def encode(self, x, condition=None, training=False):
        batch = ops.shape(x)[0]
        z = self._bijector().inverse(ops.reshape(x, (batch, -1)))
        return ops.reshape(z, (batch, *self.shape)), ops.zeros((batch,), dtype="float32")

    def decode(self, z, condition=None):
        batch = ops.shape(z)[0]
        return ops.reshape(self._bijector().forward(ops.reshape(z, (batch, -1))), (batch, *self.shape))

    def get_config(self):
        return {**super().get_config(), "order": self.order}


@keras.saving.register_keras_serializable(package="kgen")
class ActNorm(Step):
    """Activation normalisation: z = (x - loc) exp(-log_scale), which starts with mean 0 and standard deviation 1.

    ``initialize`` sets the weights from data, and training goes on from there.

    Reference:
        Kingma & Dhariwal, Glow: Generative flow with invertible 1x1 convolutions, 2018, section 3.1, arXiv 1807.03039.
    """

    def build(self, shape, condition_size=0):
        self.loc = self.add_weight(shape=shape, initializer="zeros", dtype="float32", name="loc")
        self.log_scale = self.add_weight(shape=shape, initializer="zeros", dtype="float32", name="log_scale")

    def initialize(self, x, condition=None):
        x = ops.convert_to_numpy(x)
        scale = x.std(0)
        self.loc.assign(x.mean(0))
        self.log_scale.assign(np.log(np.where(scale > 0, scale, 1.0)))

    def _bijector(self):
        tfb = probability.bijectors()
        scale = tfb.Scale(log_scale=ops.convert_to_tensor(self.log_scale))
        return tfb.Shift(ops.convert_to_tensor(self.loc))(scale)

    def encode(self, x, condition=None, training=False):
        log_det = -ops.sum(ops.convert_to_tensor(self.log_scale))
        return self._bijector().inverse(x), ops.broadcast_to(log_det, (ops.shape(x)[0],))

    def decode(self, z, condition=None):
        return self._bijector().forward(z)


def checkerboard(shape, parity=0):
    """The mask of Real NVP, Fig. 3: 1 where the sum of a value's coordinates (on images, without the channel) has this parity.

    Args:
        shape: shape of one row.
        parity: 0 or 1.
    Returns:
        numpy float32 array of that shape.
    """
    axes = shape[:2] if len(shape) == 3 else shape
    board = (np.indices(axes).sum(0) + parity + 1) % 2
    return np.broadcast_to(board[..., None] if len(shape) == 3 else board, shape).astype("float32")


@keras.saving.register_keras_serializable(package="kgen")
class Coupling(Step):
    """Keeps the values where ``mask`` is 1, and transforms the others by parameters that depend on those kept.

    With mask b:   z = b x + (1 - b) f(x; network(b x)).

    Args:
        transform: f: "affine", "spline", or a ``Transform``.
        mask: array of zeros and ones, shaped like a row.
        network: maps b x (B, *shape), or [b x, condition], to (B, *shape, transform.size); dense layers by default.
        widths, dropout: of the default network.
    Reference:
        Dinh et al., Density estimation using Real NVP, 2017, Eq. 9, arXiv 1605.08803.
    """

    def __init__(self, transform="affine", *, mask, network=None, widths=(128, 128), dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        self.transform = transforms.get(transform)
        self.mask = np.asarray(mask, "float32")
        self.network, self.own_network = network, network is None
        self.widths = tuple(checks.positive_int("widths", w) for w in widths)
        self.dropout = checks.in_range("dropout", dropout, 0.0, 0.95)
        if not np.isin(self.mask, (0, 1)).all() or self.mask.min() == self.mask.max():
            raise ValueError("mask: expected zeros and ones, some of each: what is kept, and what is transformed.")

    def build(self, shape, condition_size=0):
        shape = tuple(shape)
        if self.mask.shape != shape:
            raise ValueError(f"mask: expected the shape of a row, {shape}, received {self.mask.shape}.")
        if self.own_network:
            self.network = dense_conditioner(shape, self.transform.size, condition_size, self.widths, self.dropout)
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
            "network": None if self.own_network else keras.saving.serialize_keras_object(self.network),
            "widths": list(self.widths),
            "dropout": self.dropout,
        }

    @classmethod
    def from_config(cls, config):
        network = config["network"]
        return cls(**{**config, "network": network and keras.saving.deserialize_keras_object(network)})


@keras.saving.register_keras_serializable(package="kgen")
class MaskedAutoregressive(Step):
    """Transforms each value by parameters that depend on the values before it: z_i = f(x_i; made(x_1 ... x_{i-1})).

    ``encode`` takes one pass of the network, ``decode`` one for each value. Values are counted in row-major order.

    Args:
        transform: f: "affine", "spline", or a ``Transform``.
        widths: hidden widths of the masked network.
    Reference:
        Papamakarios et al., Masked autoregressive flow for density estimation, 2017, Eq. 4 and 5, arXiv 1705.07057.
    """

    def __init__(self, transform="affine", *, widths=(128, 128), **kwargs):
        super().__init__(**kwargs)
        self.transform = transforms.get(transform)
        self.widths = tuple(checks.positive_int("widths", w) for w in widths)

    def build(self, shape, condition_size=0):
        self.shape, self.dim = tuple(shape), int(np.prod(shape))
        self.made = MADE(self.transform.size, condition_size, self.widths, name="made")
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
        }


def as_step(i, value):
    """A ``Step`` from itself or from a function of no arguments that makes a TFP bijector."""
    if isinstance(value, Step):
        return value
    expected = f"steps[{i}]: expected a Step, or a function of no arguments that makes a TFP bijector,"
    if isinstance(value, probability.bijectors().Bijector):
        raise TypeError(f"{expected} received the bijector {value.name!r} itself. Pass lambda: bijector.")
    try:
        inspect.signature(value).bind()
    except TypeError:
        raise TypeError(f"{expected} received {value!r}.") from None
    return BijectorStep(value)
