"""Architectures that know no family: they map tensors to tensors and hold no loss."""

from kgen.networks.convnet import ConvDecoder, ConvEncoder
from kgen.networks.mlp import MLP
from kgen.networks.unet import UNet

__all__ = ["MLP", "ConvDecoder", "ConvEncoder", "UNet"]
