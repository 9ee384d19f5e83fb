"""The contract of every model, over this family's."""

import numpy as np

from kgen.core.conditions import LabelCondition
from kgen.diffusion import AncestralSampler, DDIMSampler
from kgen.flow import RealNVP
from kgen.hybrid import VAEGAN, AdversarialAutoencoder, FactorVAE, LatentDiffusion, PriorRefit
from kgen.networks import MLP, ResidualMLP, SpatialDecoder, SpatialEncoder
from kgen.vae import VAE, VQVAE

from contract import *
from contract import Case, X, Y, trained_models

FLOWS = ("tensorflow", "jax")


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


def second_vae():
    return VAE((3,), 2, encoder=MLP((3,), (4,), widths=(16,)), decoder=MLP((2,), (3,), widths=(16,)), ema=0.9)


def over_codes():
    return PriorRefit(vae(), second_vae())


def flow_over_codes():
    return PriorRefit(vae(), RealNVP((3,), couplings=2, widths=(8,), num_classes=3))


def judged(kind, posterior_size, **kwargs):
    encoder, decoder = MLP((4, 4, 1), (posterior_size,), widths=(16,)), MLP((3,), (4, 4, 1), widths=(16,))
    return kind((4, 4, 1), 3, encoder=encoder, decoder=decoder, discriminator=MLP((3,), (1,), widths=(8,)), **kwargs)


def vae_gan():
    return judged(VAEGAN, 6, features=MLP((4, 4, 1), (3,), widths=(8,)), ema=0.9)


falls = {"falls": "reconstruction"}
trained = trained_models(
    {
        "factor vae": Case(lambda: judged(FactorVAE, 6, ema=0.9), **falls, log_prob={"num_samples": 2}),
        "vae gan": Case(vae_gan, falls=None, log_prob=None, backends=("torch",)),
        "adversarial autoencoder": Case(
            lambda: judged(AdversarialAutoencoder, 3), **falls, log_prob=None, backends=("torch",)
        ),
        "latent diffusion, vae, classes": Case(over_vae, (X, Y), log_prob=None),
        "latent diffusion, vqvae": Case(over_vqvae, log_prob=None),
        "second vae": Case(over_codes, log_prob={"num_samples": 2}, backends=("torch",)),
        "flow of codes, classes": Case(
            flow_over_codes, (X, Y), sample={"labels": 1}, log_prob={"num_samples": 2, "labels": 1}, backends=FLOWS
        ),
    }
)
