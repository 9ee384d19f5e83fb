"""The network of a PixelCNN over maps of codes: codes have no order, and so each is a vector of its own and has a logit of its own."""

import math

import keras
from keras import layers, ops

from kgen.core import random
from kgen.layers import silu
from kgen.networks.configured import under_policy
from kgen.networks.pixelnet import PixelNet


def as_map(shape):
    """(h, w) of a map of codes (h, w), (w,) or ()."""
    return (1,) * (2 - len(shape)) + tuple(shape)


@keras.saving.register_keras_serializable(package="kgen")
class CodeNet(keras.Model):
    """Logits of each code given those before it: a ``PixelNet`` for each level's map, which sees the maps of all levels above it whole.

    Args:
        code_shapes: shapes of the maps from the top, two numbers or fewer each.
        num_codes: K, of every level.
        channels, blocks: as in ``PixelNet``, of every level, or a sequence with one for each.
        num_classes, dropout: as in ``PixelNet``, of every level.
        width: length of the vectors that stand for codes.
    Call:
        codes, or [codes, label] where there are classes: int (B, n), all maps from the top, row by row; int (B,).
        Returns float32 (B, n, K).
    Reference:
        Razavi et al., VQ-VAE-2, 2019, section 3.2 and appendix A.2, arXiv 1906.00446 (no attention; convolutions over the maps above).
    """

    @under_policy
    def __init__(
        self,
        code_shapes,
        num_codes,
        channels=64,
        blocks=5,
        num_classes=None,
        dropout=0.0,
        width=16,
        name="codenet",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        self.maps = [as_map(shape) for shape in code_shapes]
        self.sizes = [math.prod(shape) for shape in self.maps]
        self.num_codes, self.num_classes = num_codes, num_classes
        self._arguments = {
            "code_shapes": [list(shape) for shape in code_shapes],
            "num_codes": num_codes,
            "channels": channels if isinstance(channels, int) else list(channels),
            "blocks": blocks if isinstance(blocks, int) else list(blocks),
            "num_classes": num_classes,
            "dropout": dropout,
            "width": width,
            "name": name,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
        }
        start = keras.initializers.RandomNormal(stddev=1.0)
        self.vectors = [
            layers.Embedding(num_codes, width, start, dtype="float32", name=f"vectors_{i}")
            for i in range(len(self.maps))
        ]
        for embedding in self.vectors:
            embedding.build()
        channels, blocks = ([n] * len(self.maps) if isinstance(n, int) else n for n in (channels, blocks))
        self.looks, self.pixels = [], []
        for i, ((h, w), wide, deep) in enumerate(zip(self.maps, channels, blocks, strict=True)):
            context = None
            if i:
                seen = keras.Input((h, w, i * width), name="above")
                f = layers.Conv2D(wide, 3, padding="same", name="conv_in")(seen)
                for j in range(2):
                    more = layers.Conv2D(wide, 3, padding="same", name=f"conv_{j}_1")(silu(f))
                    f = f + layers.Conv2D(wide, 3, padding="same", name=f"conv_{j}_2")(silu(more))
                self.looks.append(keras.Model(seen, f, name=f"looks_{i}"))
                context = wide
            settings = (num_codes, wide, deep, num_classes, dropout, context)
            # The code itself is a channel beside its vector, so that ``generate``, whose pixels are both, can tell what it drew.
            self.pixels.append(PixelNet((h, w, 1 + width), *settings, dtype=self.dtype_policy, name=f"pixels_{i}"))
        self.built = True

    def _pixels(self, i, codes):
        """Codes (B, ...) of level i as pixels (B, ..., 1 + width)."""
        number = 2.0 * ops.cast(codes, "float32") / max(self.num_codes - 1, 1) - 1.0
        return ops.concatenate([number[..., None], ops.cast(self.vectors[i](codes), "float32")], axis=-1)

    def _context(self, i, above):
        """What level i sees of the levels above, pixels (B, h, w, 1 + width) each."""
        if not i:
            return None
        h, w = self.maps[i]
        parts = [ops.repeat(ops.repeat(p[..., 1:], h // p.shape[1], axis=1), w // p.shape[2], axis=2) for p in above]
        return self.looks[i - 1](ops.concatenate(parts, axis=-1))

    def _maps(self, codes):
        """Pixels of each level's map that codes (B, n) hold, of all levels or of the first ones."""
        parts, start = [], 0
        for i, (shape, size) in enumerate(zip(self.maps, self.sizes, strict=True)):
            if start < codes.shape[1]:
                parts.append(self._pixels(i, ops.reshape(codes[:, start : start + size], (-1, *shape))))
            start += size
        return parts

    def call(self, inputs, training=False):
        codes, label = (inputs, None) if self.num_classes is None else inputs
        parts, logits = self._maps(codes), []
        for i, x in enumerate(parts):
            given = [t for t in (x, label, self._context(i, parts[:i])) if t is not None]
            found = self.pixels[i](given if len(given) > 1 else x, training=training)
            logits.append(ops.reshape(found, (-1, self.sizes[i], self.num_codes)))
        return ops.concatenate(logits, axis=1)

    def generate(self, seeds, label=None, above=None):
        """Draws codes, int32 (B, n), level by level and code by code, for row seeds (B, 2); ``above`` (B, m) are those of the first levels."""
        parts = [] if above is None else self._maps(above)
        for i in range(len(parts), len(self.maps)):
            noise = random.gumbel(random.fold_in(seeds, i), (*self.maps[i], self.num_codes))

            def draw(logits, inputs, i=i):
                return self._pixels(i, random.argmax(logits + inputs[0]))

            parts.append(self.pixels[i].generate(draw, [noise], label, self._context(i, parts)))
        half = (self.num_codes - 1) / 2.0
        codes = [ops.cast(ops.round((p[..., 0] + 1.0) * half), "int32") for p in parts]
        return ops.concatenate([ops.reshape(c, (-1, n)) for c, n in zip(codes, self.sizes, strict=True)], axis=1)

    def get_config(self):
        return dict(self._arguments)

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**config)
