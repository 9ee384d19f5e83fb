"""Pictures from captions: a diffusion model conditioned on a masked sequence of tokens."""

import keras

from kgen.core import checks
from kgen.core.conditions import SequenceCondition
from kgen.diffusion.ddpm import DDPM


@keras.saving.register_keras_serializable(package="kgen")
class CaptionedDiffusion(DDPM):
    """A diffusion model that draws what a caption says: ``fit({"image": x, "text": model.tokens(texts)})``, ``sample(4, text="a red hat")``.

    The default network attends to the tokens beside its self-attention.

    Args:
        shape: (H, W, C).
        tokenizer: a ``kgen.text`` tokenizer.
        length: tokens of a caption at most; longer ones are cut off.
        text_dropout: share of training examples whose caption is hidden, which guidance needs.
        **kwargs: ``network``, ``num_classes``, ``schedule`` ... as in ``DDPM``.
    Reference:
        Nichol et al., GLIDE, 2022, section 3, arXiv 2112.10741; Rombach et al. 2022, section 3.3 (cross-attention), arXiv 2112.10752.
    """

    def __init__(self, shape, tokenizer, length=32, text_dropout=0.1, *, name="captioned_diffusion", **kwargs):
        if isinstance(tokenizer, dict):
            tokenizer = keras.saving.deserialize_keras_object(tokenizer)
        if not hasattr(tokenizer, "vocabulary_size"):
            raise TypeError(f"tokenizer: expected one of kgen.text, such as ByteTokenizer(), received {tokenizer!r}.")
        size = tokenizer.vocabulary_size
        text = SequenceCondition(  # one token more, which fills rows and is no text
            checks.positive_int("length", length),
            size + 1,
            padding=size,
            tokenizer=tokenizer,
            dropout=text_dropout,
        )
        super().__init__(shape, conditions=[text], name=name, **kwargs)
        self.tokenizer, self.length, self.text_dropout = tokenizer, text.length, text.dropout

    def tokens(self, texts):
        """int32 tokens (N, length) of texts, to train on: the shorter ones filled up by a token that does not count."""
        return self.conditions["text"].encode([texts] if isinstance(texts, str) else list(texts))

    def get_config(self):
        config = super().get_config()
        del config["conditions"]
        tokenizer = keras.saving.serialize_keras_object(self.tokenizer)
        return {**config, "tokenizer": tokenizer, "length": self.length, "text_dropout": self.text_dropout}
