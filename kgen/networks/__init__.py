"""Architectures that know no family: they map tensors to tensors and hold no loss."""

from kgen.networks.autoencoder import SpatialDecoder, SpatialEncoder
from kgen.networks.codenet import CodeNet
from kgen.networks.convnet import ConvDecoder, ConvEncoder
from kgen.networks.dit import DiT
from kgen.networks.ladder import LadderDecoder, LadderEncoder
from kgen.networks.mlp import MLP
from kgen.networks.patch import PatchDiscriminator
from kgen.networks.pixelnet import PixelNet
from kgen.networks.progressive import ProgressiveDiscriminator, ProgressiveGenerator
from kgen.networks.residual import ResidualMLP
from kgen.networks.skip_unet import SkipUNet
from kgen.networks.style import StyleDiscriminator, StyleGenerator, StyleMapping, StyleSynthesis
from kgen.networks.super_resolution import SRDiscriminator, SRResNet
from kgen.networks.transformer import CausalTransformer
from kgen.networks.unet import UNet

__all__ = [
    "MLP",
    "CausalTransformer",
    "CodeNet",
    "ConvDecoder",
    "ConvEncoder",
    "DiT",
    "LadderDecoder",
    "LadderEncoder",
    "PatchDiscriminator",
    "PixelNet",
    "ProgressiveDiscriminator",
    "ProgressiveGenerator",
    "ResidualMLP",
    "SRDiscriminator",
    "SRResNet",
    "SkipUNet",
    "SpatialDecoder",
    "SpatialEncoder",
    "StyleDiscriminator",
    "StyleGenerator",
    "StyleMapping",
    "StyleSynthesis",
    "UNet",
]
