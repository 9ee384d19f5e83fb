"""Weights of other libraries, in and out, through NumPy and safetensors alone: none of those libraries is imported."""

from kgen.interop import diffusers

__all__ = ["diffusers"]
