"""Text as tokens."""

from kgen.text.tokenizers import BPETokenizer, ByteTokenizer, Tokenizer

__all__ = ["BPETokenizer", "ByteTokenizer", "Tokenizer"]
