"""Generative adversarial networks."""

from kgen.gan.conditional import ConditionalGAN
from kgen.gan.conditioning import ConcatenationConditioning, Conditioning, ProjectionConditioning
from kgen.gan.dcgan import DCGAN, DCGANDiscriminator, DCGANGenerator
from kgen.gan.gan import GAN
from kgen.gan.losses import (
    HingeLoss,
    LeastSquaresLoss,
    Loss,
    MinimaxLoss,
    NonSaturatingLoss,
    RelativisticLoss,
    WassersteinLoss,
)
from kgen.gan.networks import Discriminator, Generator
from kgen.gan.regularizers import R1, R2, GradientPenalty, Regularizer
from kgen.gan.wgan_gp import WGANGP

__all__ = [
    "DCGAN",
    "GAN",
    "R1",
    "R2",
    "WGANGP",
    "ConcatenationConditioning",
    "ConditionalGAN",
    "Conditioning",
    "DCGANDiscriminator",
    "DCGANGenerator",
    "Discriminator",
    "Generator",
    "GradientPenalty",
    "HingeLoss",
    "LeastSquaresLoss",
    "Loss",
    "MinimaxLoss",
    "NonSaturatingLoss",
    "ProjectionConditioning",
    "Regularizer",
    "RelativisticLoss",
    "WassersteinLoss",
]
