"""How a network is told its conditions: on symbolic tensors, while its layers are put together."""

import keras
from keras import layers, ops

from kgen.core.conditions import Conditions
from kgen.layers import CrossAttention, silu

TOKEN_WIDTH = 128


class Given:
    """The inputs of a network's conditions, and the ways by which they reach its layers.

    Args:
        conditions: ``Conditions``, or a list of conditions or their configurations.
    """

    def __init__(self, conditions):
        self.conditions = conditions if isinstance(conditions, Conditions) else Conditions(conditions)
        self._values = {
            name: keras.Input(spec.shape, dtype=spec.dtype, name=name) for name, spec in self.conditions.specs().items()
        }
        self._context = None

    @property
    def inputs(self):
        """Symbolic tensors, in the order of ``Conditions.specs``."""
        return list(self._values.values())

    def _of(self, *kinds):
        return [c for c in self.conditions if c.kind in kinds]

    def embedded(self, embedding):
        """``embedding`` (B, W), with labels and vectors added."""
        width = embedding.shape[-1]
        for c in self._of("label", "vector"):
            value, name = self._values[c.name], f"{c.name}_embedding"
            if c.kind == "label":
                start = keras.initializers.RandomNormal(0.0, 1.0)
                embedding = embedding + layers.Embedding(c.count + 1, width, start, name=name)(value)
            else:
                h = layers.Dense(width, activation=silu, name=f"{name}_1")(value)
                embedding = embedding + layers.Dense(width, name=f"{name}_2")(h)
        return embedding

    def stacked(self, x):
        """``x`` (B, H, W, C), with pictures as further channels."""
        maps = [x]
        for c in self._of("image"):
            value = self._values[c.name]
            if len(x.shape) != 4:
                raise ValueError(
                    f"conditions: a network of sequences takes labels, vectors and tokens, received the picture {c.name!r}. Pass network=."
                )
            factors = tuple(a // b for a, b in zip(x.shape[1:3], c.shape[:2], strict=True))
            if any(f < 1 or f * b != a for f, a, b in zip(factors, x.shape[1:3], c.shape[:2], strict=True)):
                raise ValueError(
                    f"{c.name}: expected a picture whose sides divide those of the image, {x.shape[1:3]}, received {c.shape}."
                )
            maps.append(value if factors == (1, 1) else layers.UpSampling2D(factors, name=f"{c.name}_enlarged")(value))
        return maps[0] if len(maps) == 1 else layers.Concatenate(name="join_pictures")(maps)

    def attended(self, h, heads, groups, name):
        """Features ``h`` (B, ..., C) that have looked at the sequences, where there are some."""
        context = self.context
        for i, c in enumerate(self._of("sequence")):
            h = CrossAttention(heads, groups, name=f"{name}_{c.name}")([h, *context[2 * i : 2 * i + 2]])
        return h

    @property
    def context(self):
        """What ``attended`` looks at: tokens and mask of each sequence in turn, symbolic tensors."""
        if self._context is None:
            self._context = [tensor for c in self._of("sequence") for tensor in self._tokens(c)]
        return self._context

    def _tokens(self, c):
        tokens, mask = self._values[c.name], self._values[c.mask_name]
        h = layers.Embedding(c.vocabulary_size, TOKEN_WIDTH, name=f"{c.name}_tokens")(tokens)
        places = layers.Embedding(c.length, TOKEN_WIDTH, name=f"{c.name}_places")(
            ops.cumsum(ops.ones_like(tokens), 1) - 1
        )
        h = layers.LayerNormalization(name=f"{c.name}_norm")(h + places)
        return h, mask
