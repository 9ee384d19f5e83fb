"""Residual dense layers."""

import keras
from keras import layers

from kgen.layers import SinusoidalEmbedding, silu
from kgen.networks.configured import ConfiguredNetwork
from kgen.networks.given import Given


@keras.saving.register_keras_serializable(package="kgen")
class ResidualMLP(ConfiguredNetwork):
    """Residual blocks of dense layers over a vector; the embedding of time, labels and vectors is added inside each.

    Args:
        dim: length D of the vector.
        width: width of the layers.
        blocks: number of blocks.
        conditions: ``kgen.core.conditions``: labels and vectors.
        outputs: numbers of the output for each of the vector's.
    Call:
        [x, t, *conditions]: float (B, D), float (B,) in [0, 1], and the conditions' tensors. Returns float32 (B, D * outputs).
    """

    def __init__(self, dim, width=256, blocks=3, conditions=(), outputs=1, name="residual_mlp", **kwargs):
        given = Given(conditions)
        unused = [c.name for c in given.conditions if c.kind not in ("label", "vector")]
        if unused:
            raise ValueError(
                f"conditions: a network of vectors takes labels and vectors, received {unused}. Pass network=."
            )
        x, t = keras.Input((dim,), name="x"), keras.Input((), name="t")
        embedding = layers.Dense(width, name="time_dense")(SinusoidalEmbedding(64, name="time")(t))
        embedding = silu(given.embedded(embedding))
        h = layers.Dense(width, name="dense_in")(x)
        for i in range(blocks):
            out = layers.LayerNormalization(name=f"norm_{i}")(h)
            out = layers.Dense(width, name=f"dense_{i}_1")(out) + layers.Dense(width, name=f"embedding_{i}")(embedding)
            h = h + layers.Dense(width, kernel_initializer="zeros", name=f"dense_{i}_2")(silu(out))
        h = layers.LayerNormalization(name="norm_out")(h)
        out = layers.Dense(dim * outputs, dtype="float32", name="dense_out")(h)
        super().__init__([x, t, *given.inputs], out, name=name, **kwargs)
        self._arguments = {
            "dim": dim,
            "width": width,
            "blocks": blocks,
            "conditions": given.conditions.get_config(),
            "outputs": outputs,
            "name": name,
        }
