"""Tokenizers: text to integers and back, byte for byte."""

import codecs
import functools
import json

import keras
import numpy as np
import tokenizers

from kgen.core import checks


class Tokenizer:
    """Text as tokens, each of which stands for some bytes of its UTF-8 encoding, or is a special that stands for no text.

    ``decode(encode(text)) == text`` for any text. Specials, such as "<|end|>", are never made from text; their numbers are in ``specials``.
    """

    specials = {}  # a special's name to its token

    @property
    def vocabulary_size(self):
        """The number of different tokens."""
        raise NotImplementedError

    def encode(self, text):
        """Tokens of a text: int32 array (n,).

        Raises:
            TypeError: ``text`` is not a str.
            ValueError: ``text`` holds a lone surrogate, which no Unicode encoding has.
        """
        raise NotImplementedError

    def token_bytes(self, token):
        """The bytes that one token stands for; none for a special."""
        raise NotImplementedError

    def decode(self, tokens):
        """The text of tokens (n,); bytes that are no UTF-8, which a model can write, become U+FFFD.

        Raises:
            ValueError: a token is not in [0, vocabulary_size).
        """
        decoder = self.stream()
        return decoder(tokens) + decoder((), final=True)

    def stream(self):
        """A function that decodes a text piece by piece: ``decoder(tokens, final=False)`` keeps back what is half a character."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")

        def decode(tokens, final=False):
            tokens = token_array("tokens", tokens, self.vocabulary_size)
            return decoder.decode(b"".join(self.token_bytes(int(t)) for t in tokens), final)

        return decode

    def _bytes(self, text):
        if not isinstance(text, str):
            raise TypeError(f"text: expected a str, received {type(text).__name__}.")
        try:
            return text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(
                f"text: expected Unicode text, received a lone surrogate at position {error.start}. "
                "Replace it: text.encode('utf-8', 'replace').decode('utf-8')."
            ) from None

    def __eq__(self, other):
        return type(other) is type(self) and other.get_config() == self.get_config()

    def __hash__(self):
        return hash(json.dumps(self.get_config(), sort_keys=True))

    def __repr__(self):
        return f"{type(self).__name__}(vocabulary_size={self.vocabulary_size})"

    @classmethod
    def from_config(cls, config):
        return cls(**config)


@keras.saving.register_keras_serializable(package="kgen")
class ByteTokenizer(Tokenizer):
    """One token for each byte of UTF-8, 0 to 255; specials follow.

    Args:
        specials: names of tokens that stand for no text, numbered from 256.
    """

    def __init__(self, specials=()):
        self.specials = {name: 256 + i for i, name in enumerate(specials)}

    @property
    def vocabulary_size(self):
        return 256 + len(self.specials)

    def encode(self, text):
        return np.frombuffer(self._bytes(text), "uint8").astype("int32")

    def token_bytes(self, token):
        return bytes([token]) if token < 256 else b""

    def get_config(self):
        return {"specials": list(self.specials)}


@keras.saving.register_keras_serializable(package="kgen")
class BPETokenizer(Tokenizer):
    """Byte-pair encoding: the 256 bytes, and what the most frequent pairs merge to, learned by ``train``.

    The tokens are those of Hugging Face's ``tokenizers``; any byte-level BPE file of that library can be given.

    Args:
        definition: the JSON text of the ``tokenizers`` library, which a model keeps in its own file.
    Reference:
        Sennrich et al., Neural machine translation of rare words with subword units, 2016, arXiv 1508.07909; on bytes by Radford
        et al. 2019 (GPT-2), section 2.2.
    """

    def __init__(self, definition):
        try:
            self._tokenizer = tokenizers.Tokenizer.from_str(definition)
        except Exception as error:  # the library raises Exception itself
            raise ValueError(
                f"definition: expected the JSON text of a tokenizer, received what fails: {error}."
            ) from None
        # A model pads and cuts its own rows; a definition from elsewhere may ask for padding of any length.
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        added = self._tokenizer.get_added_tokens_decoder()
        self.specials = {added[i].content: i for i in sorted(added) if added[i].special}
        # Text that looks like a special is text: nobody who types a prompt writes specials.
        self._tokenizer.encode_special_tokens = True
        self.definition = definition

    @classmethod
    def train(cls, texts, vocabulary_size, specials=()):
        """Learns the merges from texts.

        Args:
            texts: a str, or an iterable of them.
            vocabulary_size: number of tokens, the 256 bytes and the specials among them.
            specials: names of tokens that stand for no text.
        Raises:
            ValueError: ``vocabulary_size`` is too small, or larger than what the texts have pairs for.
        """
        least = 256 + len(specials)
        if checks.positive_int("vocabulary_size", vocabulary_size) < least:
            raise ValueError(
                f"vocabulary_size: expected at least {least} (256 bytes, {len(specials)} specials), received {vocabulary_size}."
            )
        tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
        tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = tokenizers.decoders.ByteLevel()
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=vocabulary_size,
            special_tokens=list(specials),
            initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator([texts] if isinstance(texts, str) else texts, trainer)
        found = tokenizer.get_vocab_size()
        if found < vocabulary_size:
            raise ValueError(
                f"vocabulary_size: the texts give no more than {found} tokens, received {vocabulary_size}. "
                "Train on more text, or ask for fewer tokens."
            )
        return cls(tokenizer.to_str())

    @property
    def vocabulary_size(self):
        return self._tokenizer.get_vocab_size()

    def encode(self, text):
        self._bytes(text)
        return np.array(self._tokenizer.encode(text, add_special_tokens=False).ids, "int32")

    def token_bytes(self, token):
        return self._all_bytes[token]

    @functools.cached_property
    def _all_bytes(self):
        """The bytes of each token: in the library a byte is written as a printable character."""
        byte_of = {c: b for b, c in _characters_of_bytes().items()}
        found = [b""] * self.vocabulary_size
        for text, token in self._tokenizer.get_vocab().items():
            if text not in self.specials:
                found[token] = bytes(byte_of[c] for c in text)
        return found

    def get_config(self):
        return {"definition": self.definition}


def _characters_of_bytes():
    """GPT-2's table: printable Latin-1 characters stand for themselves, the other bytes for U+0100 and what follows."""
    own = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [b for b in range(256) if b not in own]
    return {b: chr(b) for b in own} | {b: chr(256 + i) for i, b in enumerate(others)}


def token_array(name, tokens, vocabulary_size):
    """Checks tokens of any shape; returns them as int32.

    Raises:
        TypeError: they are not integers.
        ValueError: one of them is not in [0, vocabulary_size).
    """
    tokens = np.asarray(tokens)
    if tokens.size == 0:
        return tokens.astype("int32")
    if not np.issubdtype(tokens.dtype, np.integer):
        raise TypeError(f"{name}: expected integer tokens, received {tokens.dtype}.")
    low, high = int(tokens.min()), int(tokens.max())
    if low < 0 or high >= vocabulary_size:
        raise ValueError(
            f"{name}: expected tokens in [0, {vocabulary_size}), the vocabulary, received values from {low} to {high}."
        )
    return tokens.astype("int32")
