"""Tokenizers give back every text, and refuse what is none."""

import json
import string

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kgen.text import BPETokenizer, ByteTokenizer

CORPUS = "def area(radius):\n    return 3.14159 * radius**2\n\n\ndef length(radius):\n    return 6.28318 * radius\n" * 3
BPE = BPETokenizer.train(CORPUS, 290, specials=("<|end|>", "<|pad|>"))
TOKENIZERS = {"bytes": ByteTokenizer(("<|end|>",)), "bpe": BPE}
each = pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)


@each
@given(text=st.text(st.characters(exclude_categories=("Cs",)), max_size=60))
@settings(max_examples=100, deadline=None)
def test_any_unicode_comes_back(tokenizer, text):
    tokens = tokenizer.encode(text)
    assert tokens.dtype == np.int32 and (len(text) == 0 or tokens.max() < tokenizer.vocabulary_size)
    assert tokenizer.decode(tokens) == text
    assert b"".join(tokenizer.token_bytes(int(t)) for t in tokens) == text.encode()


@each
@pytest.mark.parametrize(
    "text", ["", CORPUS, string.printable, "naïve café ☕ 日本語 🏳️‍🌈 \x00\ufeff\r\n\t end", "  \n  x", "<|end|>"]
)
def test_chosen_texts_come_back(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


@each
def test_specials_are_never_made_from_text(tokenizer):
    end = tokenizer.specials["<|end|>"]
    assert end not in tokenizer.encode("a <|end|> b")
    assert tokenizer.token_bytes(end) == b"" and tokenizer.decode([end]) == ""
    assert len(tokenizer.encode("a <|end|> b")) > 3


@each
def test_half_a_character_waits_for_its_other_half(tokenizer):
    text = "é☕🙂e"
    tokens = ByteTokenizer().encode(text) if isinstance(tokenizer, ByteTokenizer) else tokenizer.encode(text)
    decode = tokenizer.stream()
    pieces = [decode(tokens[i : i + 1]) for i in range(len(tokens))] + [decode((), final=True)]
    assert "".join(pieces) == text and "\ufffd" not in "".join(pieces)
    assert tokenizer.decode(tokenizer.encode("☕")[:-1]).endswith("\ufffd")


@each
def test_configuration_round_trip(tokenizer):
    config = keras.saving.serialize_keras_object(tokenizer)
    again = keras.saving.deserialize_keras_object(json.loads(json.dumps(config)))
    assert again == tokenizer and again.specials == tokenizer.specials
    np.testing.assert_array_equal(again.encode(CORPUS), tokenizer.encode(CORPUS))


def test_bytes_are_the_utf8_encoding():
    np.testing.assert_array_equal(ByteTokenizer().encode("aé"), [97, 195, 169])
    assert (
        ByteTokenizer(("<|a|>", "<|b|>")).vocabulary_size == 258
        and ByteTokenizer(("<|a|>", "<|b|>")).specials["<|b|>"] == 257
    )


def test_bpe_merges_the_most_frequent_pair_first():
    # "ab" comes four times, every other pair less often.
    tokenizer = BPETokenizer.train("abc abd abe abf", 257)
    assert [tokenizer.token_bytes(i) for i in range(257)].count(b"ab") == 1
    assert [tokenizer.token_bytes(int(t)) for t in tokenizer.encode("xabc")] == [b"x", b"ab", b"c"]


def test_bpe_has_every_byte_and_the_size_that_was_asked_for():
    assert BPE.vocabulary_size == 290 and set(BPE.specials) == {"<|end|>", "<|pad|>"}
    assert {bytes([b]) for b in range(256)} <= {BPE.token_bytes(i) for i in range(290)}
    assert len(BPE.encode(CORPUS)) < 0.6 * len(CORPUS)


@each
def test_errors(tokenizer):
    with pytest.raises(TypeError, match="text: expected a str, received bytes"):
        tokenizer.encode(b"abc")
    with pytest.raises(ValueError, match="text: expected Unicode text, received a lone surrogate at position 1"):
        tokenizer.encode("a\ud800")
    with pytest.raises(
        ValueError, match=f"tokens: expected tokens in \\[0, {tokenizer.vocabulary_size}\\), .*from -1 to 5"
    ):
        tokenizer.decode([5, -1])
    with pytest.raises(TypeError, match="tokens: expected integer tokens, received float64"):
        tokenizer.decode([1.0])


def test_errors_of_bpe():
    with pytest.raises(
        ValueError, match="vocabulary_size: expected at least 257 .256 bytes, 1 specials., received 200"
    ):
        BPETokenizer.train("abc", 200, specials=("<|end|>",))
    with pytest.raises(ValueError, match="vocabulary_size: the texts give no more than 258 tokens, received 5000"):
        BPETokenizer.train("abab", 5000)
    with pytest.raises(ValueError, match="definition: expected the JSON text of a tokenizer"):
        BPETokenizer("no json")
