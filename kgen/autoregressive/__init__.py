"""Autoregressive models."""

from kgen.autoregressive.gpt import GPT
from kgen.autoregressive.pixelcnn import PixelCNN
from kgen.text import BPETokenizer, ByteTokenizer, Tokenizer

__all__ = ["GPT", "BPETokenizer", "ByteTokenizer", "PixelCNN", "Tokenizer"]
