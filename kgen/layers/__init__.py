"""Layers that several families share."""

from kgen.layers.attention import SpatialAttention
from kgen.layers.embedding import SinusoidalEmbedding

__all__ = ["SinusoidalEmbedding", "SpatialAttention"]
