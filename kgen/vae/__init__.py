"""Variational autoencoders."""

from kgen.vae.conditional import ConditionalVAE
from kgen.vae.likelihoods import (
    BernoulliLikelihood,
    CategoricalLikelihood,
    DiscretizedLogisticLikelihood,
    GaussianLikelihood,
    Likelihood,
)
from kgen.vae.mixture import GaussianMixture
from kgen.vae.posteriors import DiagonalGaussianPosterior, FullGaussianPosterior, Posterior
from kgen.vae.priors import GaussianMixturePrior, Prior, StandardNormalPrior
from kgen.vae.vae import VAE
from kgen.vae.vqvae import VQVAE

__all__ = [
    "VAE",
    "VQVAE",
    "BernoulliLikelihood",
    "CategoricalLikelihood",
    "ConditionalVAE",
    "DiagonalGaussianPosterior",
    "DiscretizedLogisticLikelihood",
    "FullGaussianPosterior",
    "GaussianLikelihood",
    "GaussianMixture",
    "GaussianMixturePrior",
    "Likelihood",
    "Posterior",
    "Prior",
    "StandardNormalPrior",
]
