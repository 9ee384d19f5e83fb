"""Autoregressive models."""

from kgen.autoregressive.codes import CodePixelCNN
from kgen.autoregressive.gpt import GPT
from kgen.autoregressive.pixelcnn import PixelCNN
from kgen.text import BPETokenizer, ByteTokenizer, Tokenizer

__all__ = ["GPT", "BPETokenizer", "ByteTokenizer", "CodePixelCNN", "PixelCNN", "Tokenizer"]
