"""The contract of every model, over this family's."""

import numpy as np

from kgen.core.conditions import LabelCondition
from kgen.diffusion import AncestralSampler, DDIMSampler
from kgen.hybrid import LatentDiffusion
from kgen.networks import MLP, ResidualMLP, SpatialDecoder, SpatialEncoder
from kgen.vae import VAE, VQVAE

from contract import *
from contract import Case, X, Y, trained_models


def vae():
    encoder, decoder = MLP((4, 4, 1), (6,), widths=(16,)), MLP((3,), (4, 4, 1), widths=(16,))
    return VAE((4, 4, 1), 3, encoder=encoder, decoder=decoder)


def vqvae():
    encoder = SpatialEncoder((4, 4, 1), 3, channels=(8,), blocks=1)
    decoder = SpatialDecoder((2, 2, 3), 1, channels=(8,), blocks=1)
    model = VQVAE((4, 4, 1), 8, 3, encoder=encoder, decoder=decoder)
    model.quantizer.codebook.assign(np.random.default_rng(0).normal(size=(8, 3)))
    return model


def over_vae():
    network = ResidualMLP(3, 16, 1, conditions=[LabelCondition(3, dropout=0.1)])
    return LatentDiffusion(vae(), network=network, num_classes=3, sampler=DDIMSampler(3), ema=0.9)


def over_vqvae():
    network = MLP((2, 2, 3), (2, 2, 3), widths=(32,), time=True)
    return LatentDiffusion(vqvae(), network=network, prediction="noise", sampler=AncestralSampler(3))


trained = trained_models(
    {
        "latent diffusion, vae, classes": Case(over_vae, (X, Y), log_prob=None),
        "latent diffusion, vqvae": Case(over_vqvae, log_prob=None),
    }
)
