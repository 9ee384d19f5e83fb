"""Windows of a long row of tokens, to train a language model on."""

import keras
import numpy as np

from kgen.core import checks


class TokenWindows(keras.utils.PyDataset):
    """Random windows of a long row of tokens, new ones each epoch: what ``fit`` takes.

    Keras ends an epoch after each ``evaluate`` too, and after each validation: data to measure on takes ``anew=False``.

    Args:
        tokens: int array (n,).
        length: tokens of one window, at most n.
        batch_size: windows of one step.
        steps: steps of one epoch; as many as would cover the tokens once, if None.
        seed: int; the windows depend on it, the epoch and the step alone.
        anew: whether each epoch has other windows; False for data to evaluate on, which are the same each time.
    """

    def __init__(self, tokens, length, *, batch_size=32, steps=None, seed=0, anew=True):
        super().__init__()
        self.tokens = np.asarray(tokens)
        if self.tokens.ndim != 1 or not np.issubdtype(self.tokens.dtype, np.integer):
            raise ValueError(
                f"tokens: expected integers (n,), received {self.tokens.dtype} of shape {self.tokens.shape}. A text becomes tokens by "
                "tokenizer.encode(text)."
            )
        self.length = checks.positive_int("length", length)
        if self.length > len(self.tokens):
            raise ValueError(
                f"length: expected at most the {len(self.tokens)} tokens that there are, received {length}."
            )
        self.batch_size = checks.positive_int("batch_size", batch_size)
        covering = -(-len(self.tokens) // (self.length * self.batch_size))
        self.steps = covering if steps is None else checks.positive_int("steps", steps)
        self.seed, self.epoch, self.anew = seed, 0, anew

    def __len__(self):
        return self.steps

    def __getitem__(self, index):
        """One batch: ``(x,)``, int32 (batch_size, length)."""
        generator = np.random.default_rng([self.seed, self.epoch, index])
        starts = generator.integers(0, len(self.tokens) - self.length + 1, self.batch_size)
        return (self.tokens[starts[:, None] + np.arange(self.length)].astype("int32"),)

    def on_epoch_end(self):
        self.epoch += self.anew
