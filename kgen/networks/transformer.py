"""The causal transformer of language models."""

import math
import random

import keras
from keras import layers, ops

from kgen.core import checks
from kgen.layers import MaskedAttention, rotary_angles


@keras.saving.register_keras_serializable(package="kgen")
class TransformerBlock(layers.Layer):
    """One pre-norm block: h = x + attention(norm(x)), y = h + W_2 gelu(W_1 norm(h)), with W_1 four times as wide.

    Args:
        heads: number of heads; divides the width.
        dropout: rate, of attention weights and of what is added to x.
        depth: number of blocks in the network: what is added starts smaller by sqrt(2 depth), so that x keeps its scale.
    Call:
        as in ``MaskedAttention``.
    Reference:
        Radford et al., Language models are unsupervised multitask learners (GPT-2), 2019, section 2.3.
    """

    def __init__(self, heads, dropout=0.0, depth=1, **kwargs):
        super().__init__(**kwargs)
        self.heads, self.dropout, self.depth = heads, dropout, depth

    def build(self, input_shape):
        width, policy = input_shape[-1], self.dtype_policy

        def normal(deviation):
            return keras.initializers.RandomNormal(deviation, seed=random.getrandbits(30))

        small = 0.02 / math.sqrt(2 * self.depth)
        self.attention_norm = layers.LayerNormalization(epsilon=1e-5, dtype=policy, name="attention_norm")
        self.attention = MaskedAttention(self.heads, self.dropout, normal(small), dtype=policy, name="attention")
        self.dense_norm = layers.LayerNormalization(epsilon=1e-5, dtype=policy, name="dense_norm")
        self.expand = layers.Dense(4 * width, kernel_initializer=normal(0.02), dtype=policy, name="expand")
        self.contract = layers.Dense(width, kernel_initializer=normal(small), dtype=policy, name="contract")
        for layer in (self.attention_norm, self.attention, self.dense_norm, self.expand):
            layer.build(input_shape)
        self.contract.build((*input_shape[:-1], 4 * width))
        self.drop = layers.Dropout(self.dropout, seed=random.getrandbits(30)) if self.dropout else None

    def call(self, x, visible, rotation=None, cache=None, slot=None, training=False):
        def dropped(h):
            return h if self.drop is None else self.drop(h, training=training)

        h, kept = self.attention(self.attention_norm(x), visible, rotation, cache, slot, training=training)
        x = x + dropped(h)
        h = self.contract(ops.gelu(self.expand(self.dense_norm(x)), approximate=True))
        return x + dropped(h), kept

    def get_config(self):
        return {**super().get_config(), "heads": self.heads, "dropout": self.dropout, "depth": self.depth}


@keras.saving.register_keras_serializable(package="kgen")
class CausalTransformer(keras.Model):
    """A transformer of causal self-attention alone ("decoder-only"): tokens to the logits of the token that follows each of them.

    With ``positions="learned"`` it computes the same function as GPT-2 of the same sizes: pre-norm, biases everywhere, gelu by tanh, one
    table for embedding and logits.

    Args:
        vocabulary_size: V.
        context: the largest number of tokens at once.
        layers: number of blocks.
        heads: attention heads; they divide the width.
        width: W, numbers per token.
        positions: "rotary" (angles of queries and keys) or "learned" (a table that is added to the embeddings).
        dropout: rate, of embeddings, of attention weights and of what each block adds.
    Call:
        tokens: int tensor (B, T), T <= context, in [0, V). Returns float32 (B, T, V).
    Raises:
        ValueError: sizes that do not fit each other, or another kind of positions.
    Reference:
        Radford et al. 2019 (GPT-2); Press & Wolf, Using the output embedding to improve language models, 2017, arXiv 1608.05859;
        Su et al. 2021 (rotary positions), arXiv 2104.09864.
    """

    def __init__(
        self,
        vocabulary_size,
        context,
        layers=4,
        heads=4,
        width=128,
        positions="rotary",
        dropout=0.0,
        name="transformer",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        self.vocabulary_size = checks.positive_int("vocabulary_size", vocabulary_size)
        self.context = checks.positive_int("context", context)
        self.depth = checks.positive_int("layers", layers)
        self.heads = checks.positive_int("heads", heads)
        self.width = checks.positive_int("width", width)
        self.positions = checks.one_of("positions", positions, ("rotary", "learned"))
        self.rate = checks.in_range("dropout", dropout, 0.0, 0.99)
        if width % heads or (positions == "rotary" and (width // heads) % 2):
            even = " to an even size, since rotary positions turn pairs of numbers" if positions == "rotary" else ""
            raise ValueError(f"heads: expected to divide width={width}{even}, received {heads}.")
        self._make()
        self.built = True

    def _make(self):
        policy = self.dtype_policy

        def table(rows, name):
            initializer = keras.initializers.RandomNormal(0.02, seed=random.getrandbits(30))
            kind = layers.ReversibleEmbedding if name == "embedding" else layers.Embedding
            layer = kind(rows, self.width, embeddings_initializer=initializer, dtype=policy, name=name)
            layer.build((None, None))
            return layer

        self.embedding = table(self.vocabulary_size, "embedding")
        self.position_embedding = table(self.context, "position_embedding") if self.positions == "learned" else None
        self.drop = layers.Dropout(self.rate, seed=random.getrandbits(30)) if self.rate else None
        self.blocks = [
            TransformerBlock(self.heads, self.rate, self.depth, dtype=policy, name=f"block_{i}")
            for i in range(self.depth)
        ]
        for block in self.blocks:
            block.build((None, None, self.width))
        self.norm = layers.LayerNormalization(epsilon=1e-5, dtype=policy, name="norm")
        self.norm.build((None, None, self.width))

    def call(self, tokens, training=False):
        slots = ops.arange(ops.shape(tokens)[1], dtype="int32")
        h, _ = self._run(tokens, slots[None], slots[:, None] >= slots[None], training=training)
        return self._logits(h)

    def prefill(self, tokens, start, slots):
        """Reads prompts of different lengths at once, all of which end in the last column.

        Args:
            tokens: int tensor (B, P).
            start: int32 tensor (B,): the column where each prompt begins; what stands before it is not seen.
            slots: number of slots in the cache, at least P.
        Returns:
            ``(logits, cache)``: float32 (B, V), of the token that follows; a flat tuple of 2 * layers float tensors (B, heads, slots, W / heads).
        """
        length = tokens.shape[1]
        columns = ops.arange(length, dtype="int32")
        visible = (columns[:, None] >= columns) & (columns >= start[:, None, None, None])
        h, kept = self._run(tokens, ops.maximum(columns - start[:, None], 0), visible)
        room = ((0, 0), (0, 0), (0, slots - length), (0, 0))
        return self._logits(h[:, -1]), tuple(ops.pad(t, room) for pair in kept for t in pair)

    def step(self, token, slot, start, cache):
        """Reads one more token of each row.

        Args:
            token: int tensor (B,).
            slot: int32 scalar tensor: where in the cache it goes, the same for every row.
            start: int32 tensor (B,), as in ``prefill``.
            cache: what ``prefill`` or the step before returned.
        Returns:
            ``(logits, cache)``: float32 (B, V), and the cache with the token in it.
        """
        columns = ops.arange(cache[0].shape[2], dtype="int32")
        visible = (columns <= slot) & (columns >= start[:, None, None, None])
        pairs = list(zip(cache[::2], cache[1::2], strict=True))
        h, kept = self._run(token[:, None], (slot - start)[:, None], visible, pairs, slot)
        return self._logits(h[:, 0]), tuple(t for pair in kept for t in pair)

    def _run(self, tokens, positions, visible, cache=None, slot=None, training=False):
        h = self.embedding(tokens)
        rotation = None
        if self.positions == "learned":
            h = h + self.position_embedding(positions)
        else:
            rotation = rotary_angles(positions, self.width // self.heads)
        if self.drop is not None:
            h = self.drop(h, training=training)
        kept = []
        for i, block in enumerate(self.blocks):
            h, pair = block(h, visible, rotation, None if cache is None else cache[i], slot, training=training)
            kept.append(pair)
        return self.norm(h), kept

    def _logits(self, h):
        return ops.cast(self.embedding(h, reverse=True), "float32")

    def get_config(self):
        return {
            "vocabulary_size": self.vocabulary_size,
            "context": self.context,
            "layers": self.depth,
            "heads": self.heads,
            "width": self.width,
            "positions": self.positions,
            "dropout": self.rate,
            "name": self.name,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
        }


@keras.saving.register_keras_serializable(package="kgen")
class Transformer(CausalTransformer):
    """``CausalTransformer`` under the name that it has in files of kgen 0.1: Keras stores weights under their class's name."""
