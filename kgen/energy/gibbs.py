"""Free energies and Gibbs sampling of a restricted Boltzmann machine, as functions of its weights."""

import typing

import keras
from keras import ops

from kgen.core import random


class Weights(typing.NamedTuple):
    """Tensors ``visible_bias`` b (D,), ``hidden_bias`` c (H,), ``kernel`` W (D, H)."""

    visible_bias: typing.Any
    hidden_bias: typing.Any
    kernel: typing.Any


@keras.saving.register_keras_serializable(package="kgen")
class Couplings(keras.layers.Layer):
    """Holds the weights of D visible and H hidden units.

    Args:
        visible, hidden: D and H.
    """

    def __init__(self, visible, hidden, name="couplings", **kwargs):
        super().__init__(name=name, **kwargs)
        self.visible, self.hidden = visible, hidden
        small = keras.initializers.RandomNormal(stddev=0.01)  # Hinton 2010, section 8
        self.visible_bias = self.add_weight(shape=(visible,), initializer="zeros", dtype="float32", name="visible_bias")
        self.hidden_bias = self.add_weight(shape=(hidden,), initializer="zeros", dtype="float32", name="hidden_bias")
        self.kernel = self.add_weight(shape=(visible, hidden), initializer=small, dtype="float32", name="kernel")
        self.built = True

    def tensors(self):
        """The present values, as ``Weights``."""
        return Weights(*[ops.convert_to_tensor(w) for w in (self.visible_bias, self.hidden_bias, self.kernel)])

    def get_config(self):
        return {**super().get_config(), "visible": self.visible, "hidden": self.hidden}


def hidden_input(visible, weights, v):
    """c + u(v) W, the log-odds of each hidden unit: (B, H), for states v (B, D)."""
    return weights.hidden_bias + ops.matmul(visible.seen(v), weights.kernel)


def field(weights, h):
    """f = W h: (B, D), for hidden states h (B, H)."""
    return ops.matmul(h, ops.transpose(weights.kernel))


def free_energy(visible, weights, v):
    """F(v) = -ln sum_h exp(-E(v, h)) = -g(v) - sum_j ln(1 + exp(c_j + (u(v) W)_j)): (B,), for v (B, D)."""
    hidden = ops.sum(ops.softplus(hidden_input(visible, weights, v)), axis=-1)
    return -visible.log_base(v, weights.visible_bias) - hidden


def draw_hidden(visible, weights, v, seeds, draw):
    """A draw from p(h | v): (B, H)."""
    return random.bernoulli(seeds, ops.sigmoid(hidden_input(visible, weights, v)), draw)


def step(visible, weights, v, seeds, draw):
    """One step of block Gibbs sampling, h from p(h | v), then v from p(v | h); its random numbers are ``draw`` and ``draw + 1``."""
    h = draw_hidden(visible, weights, v, seeds, draw)
    return visible.sample(weights.visible_bias, field(weights, h), seeds, draw + 1)


def run(visible, weights, v, seeds, steps, known=None):
    """Block Gibbs sampling in one loop. What is differentiated around it sees a constant.

    Args:
        visible: ``Visible``.
        weights: ``Weights``.
        v: float32 tensor (B, D), where the chains start.
        seeds: int32 tensor (B, 2), row seeds.
        steps: number of steps; their random numbers are the draws 0 to 2 steps - 1.
        known: bool tensor (B, D) of the units that keep their state, or None.
    Returns:
        float32 tensor (B, D).
    """
    weights, start = Weights(*[ops.stop_gradient(w) for w in weights]), ops.stop_gradient(v)

    def body(i, v):
        v = step(visible, weights, v, seeds, 2 * i)
        return v if known is None else ops.where(known, start, v)

    return ops.fori_loop(0, steps, body, start)
