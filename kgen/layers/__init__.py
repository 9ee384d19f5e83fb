"""Layers that several families share."""

from kgen.layers.attention import SpatialAttention
from kgen.layers.batch_norm import BatchNormalization
from kgen.layers.conditional_norm import ConditionalBatchNormalization
from kgen.layers.cross import CrossAttention
from kgen.layers.embedding import SinusoidalEmbedding
from kgen.layers.equalized import EqualizedConv2D, EqualizedDense, PixelNormalization
from kgen.layers.finite_scalar import FiniteScalarQuantizer
from kgen.layers.masked_attention import MaskedAttention
from kgen.layers.minibatch import MinibatchDiscrimination, MinibatchStandardDeviation
from kgen.layers.modulated import ModulatedConv2D, PixelNoise
from kgen.layers.norm import GroupNormalization
from kgen.layers.place import PlaceBias
from kgen.layers.quantizer import VectorQuantizer
from kgen.layers.rotary import rotary_angles, rotate
from kgen.layers.shifted import DownRightShiftedConv2D, DownShiftedConv2D
from kgen.layers.silu import silu
from kgen.layers.spectral import SpectralNormalization
from kgen.layers.subpixel import SubPixel
from kgen.layers.text_embedding import TextEmbedding

__all__ = [
    "BatchNormalization",
    "ConditionalBatchNormalization",
    "CrossAttention",
    "DownRightShiftedConv2D",
    "DownShiftedConv2D",
    "EqualizedConv2D",
    "EqualizedDense",
    "FiniteScalarQuantizer",
    "GroupNormalization",
    "MaskedAttention",
    "MinibatchDiscrimination",
    "MinibatchStandardDeviation",
    "ModulatedConv2D",
    "PixelNoise",
    "PixelNormalization",
    "PlaceBias",
    "SinusoidalEmbedding",
    "SpatialAttention",
    "SpectralNormalization",
    "SubPixel",
    "TextEmbedding",
    "VectorQuantizer",
    "rotary_angles",
    "rotate",
    "silu",
]
