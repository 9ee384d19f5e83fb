"""Generative adversarial networks."""

from kgen.gan.acgan import ACGAN
from kgen.gan.ada import ADA
from kgen.gan.adversarial import AdversarialModel, Player, Turn
from kgen.gan.augmentation import Augmentation
from kgen.gan.conditional import ConditionalGAN
from kgen.gan.conditioning import ConcatenationConditioning, Conditioning, ProjectionConditioning
from kgen.gan.consistency import Consistency
from kgen.gan.cyclegan import CycleGAN, ResNetTranslator
from kgen.gan.dcgan import DCGAN, DCGANDiscriminator, DCGANGenerator
from kgen.gan.diff_augment import DiffAugment
from kgen.gan.dragan import DRAGAN
from kgen.gan.gan import GAN
from kgen.gan.infogan import InfoGAN
from kgen.gan.lecam import LeCam
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
from kgen.gan.paired import PairedGAN
from kgen.gan.pix2pix import Pix2Pix
from kgen.gan.pool import ImagePool
from kgen.gan.progressive import Drift, ProgressiveGAN
from kgen.gan.reading import ReadingGAN
from kgen.gan.regularizers import R1, R2, GradientPenalty, PathLength, Regularizer
from kgen.gan.sngan import SNGAN
from kgen.gan.srgan import SRGAN
from kgen.gan.stylegan2 import StyleGAN2
from kgen.gan.top_k import TopK
from kgen.gan.unrolled import Unrolling
from kgen.gan.wgan import WGAN, ClippedWeights
from kgen.gan.wgan_gp import WGANGP
from kgen.networks import PatchDiscriminator

__all__ = [
    "ACGAN",
    "ADA",
    "DCGAN",
    "DRAGAN",
    "GAN",
    "R1",
    "R2",
    "SNGAN",
    "SRGAN",
    "WGAN",
    "WGANGP",
    "AdversarialModel",
    "Augmentation",
    "ClippedWeights",
    "ConcatenationConditioning",
    "ConditionalGAN",
    "Conditioning",
    "Consistency",
    "CycleGAN",
    "DCGANDiscriminator",
    "DCGANGenerator",
    "DiffAugment",
    "Discriminator",
    "Drift",
    "Generator",
    "GradientPenalty",
    "HingeLoss",
    "ImagePool",
    "InfoGAN",
    "LeCam",
    "LeastSquaresLoss",
    "Loss",
    "MinimaxLoss",
    "NonSaturatingLoss",
    "PairedGAN",
    "PatchDiscriminator",
    "PathLength",
    "Pix2Pix",
    "Player",
    "ProgressiveGAN",
    "ProjectionConditioning",
    "ReadingGAN",
    "Regularizer",
    "RelativisticLoss",
    "ResNetTranslator",
    "StyleGAN2",
    "TopK",
    "Turn",
    "Unrolling",
    "WassersteinLoss",
]
