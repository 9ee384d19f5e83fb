"""Functional networks that are made again from their arguments, and whose blocks may be computed again in the backward pass."""

import functools

import keras
from keras import ops

from kgen.core.config import own_copy


class ConfiguredNetwork(keras.Model):
    """A functional model whose configuration is the arguments it was made with, ``self._arguments``.

    Its layers are made under the policy ``dtype``, as a layer of one piece would be: Keras's own functional models leave theirs at the
    global policy, whatever they are told.
    """

    _pieces = None

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "__init__" in cls.__dict__:
            cls.__init__ = under_policy(cls.__init__)

    def call(self, inputs, training=None, mask=None):
        if training and self._pieces is not None:
            return self._pieces.run(inputs)
        return super().call(inputs, training=training, mask=mask)

    def get_config(self):
        config = own_copy(self._arguments)
        if self.dtype_policy.name != "float32":
            config["dtype"] = keras.dtype_policies.serialize(self.dtype_policy)
        return config

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**config)


class Pieces:
    """A functional network cut into pieces, some of which are computed again in the backward pass ("gradient checkpointing").

    Training then keeps what passes from piece to piece, and what is inside of one piece at a time. The layers are those of the network, so
    that weights, their names and files are the same with it and without. No piece that is computed again may draw random numbers, which would
    be others the second time: ``dropped`` is for these.

    Args:
        inputs: the network's symbolic inputs.
    Reference:
        Chen et al., Training deep nets with sublinear memory cost, 2016, arXiv 1604.06174.
    """

    def __init__(self, inputs):
        self._inputs, self._all = inputs, []

    def add(self, inputs, outputs, again=True):
        """Marks what leads from ``inputs``, outputs of earlier pieces, to ``outputs``, symbolic tensors; returns ``outputs``."""
        self._all.append((inputs, outputs, again, None))
        return outputs

    def dropped(self, x, layer):
        """``layer(x)``, where it is a dropout: a piece of its own, computed once."""
        out = layer(x)
        self._all.append(([x], out, False, functools.partial(layer, training=True)))
        return out

    def ready(self):
        """Itself, when all pieces are there."""
        self._all = [
            (inputs, outputs, again, _between(inputs, outputs) if compute is None else compute)
            for inputs, outputs, again, compute in self._all
        ]
        return self

    def run(self, values):
        """The network's output for its inputs: a list of tensors in their order, or a dict of them by name."""
        values = [values[k.name] for k in self._inputs] if isinstance(values, dict) else values
        known = {id(k): ops.convert_to_tensor(v, k.dtype) for k, v in zip(self._inputs, values, strict=True)}
        for inputs, outputs, again, compute in self._all:
            found = (keras.remat(compute) if again else compute)(*(known[id(k)] for k in inputs))
            pairs = zip(keras.tree.flatten(outputs), keras.tree.flatten(found), strict=True)
            known.update((id(k), v) for k, v in pairs)
        return found


def _between(inputs, outputs):
    function = keras.Function(inputs, outputs)
    return lambda *values: function(list(values))


def under_policy(init):
    """A network's ``__init__`` whose layers are made under the policy ``dtype``."""

    @functools.wraps(init)
    def made(self, *args, dtype=None, **kwargs):
        before = keras.config.dtype_policy()
        policy = before if dtype is None else keras.dtype_policies.get(dtype)
        keras.config.set_dtype_policy(policy)
        try:
            init(self, *args, dtype=policy, **kwargs)
        finally:
            keras.config.set_dtype_policy(before)

    return made
