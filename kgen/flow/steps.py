"""Steps without a network: TFP's bijectors, permutations, activation normalisation."""

import inspect

import keras
import numpy as np
from keras import ops

from kgen.backend import probability
from kgen.core import checks
from kgen.flow.chain import Step


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

    def output_shape(self, shape):
        try:
            return tuple(int(size) for size in self.make().inverse_event_shape(shape))
        except Exception:  # a bijector that does not take such rows: the chain's check says why
            return tuple(shape)

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


def check_varies(x):
    """Raises ValueError where one of the values of rows ``x`` (N, *shape) is always the same."""
    constant = np.argwhere((x == x[:1]).all(axis=0))
    if len(constant):
        raise ValueError(
            f"x: expected values that vary, received {len(x)} rows of which {len(constant)} values of {x[0].size} are always the same, such "
            f"as x[:, {', '.join(map(str, constant[0]))}]. There is no density there: a likelihood would grow without bound. Leave "
            "them out, pass more rows, or for images of few levels set dequantize=."
        )


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
