"""Variational autoencoders."""

from kgen.vae.conditional import ConditionalVAE
from kgen.vae.contractive import ContractiveAutoencoder
from kgen.vae.denoising import DenoisingAutoencoder
from kgen.vae.deterministic import Autoencoder
from kgen.vae.discrepancy import WAE, InfoVAE
from kgen.vae.hierarchical import HierarchicalVAE
from kgen.vae.importance import IWAE
from kgen.vae.likelihoods import (
    BernoulliLikelihood,
    CategoricalLikelihood,
    DiscretizedLogisticLikelihood,
    GaussianLikelihood,
    Likelihood,
    MeanAndLevelsLikelihood,
)
from kgen.vae.mixture import GaussianMixture
from kgen.vae.posteriors import DiagonalGaussianPosterior, FullGaussianPosterior, PointPosterior, Posterior
from kgen.vae.priors import GaussianMixturePrior, Prior, StandardNormalPrior
from kgen.vae.sparse import SparseAutoencoder
from kgen.vae.total_correlation import BetaTCVAE
from kgen.vae.vae import VAE
from kgen.vae.vamp import VampPrior
from kgen.vae.vqvae import VQVAE
from kgen.vae.vqvae2 import VQVAE2

__all__ = [
    "IWAE",
    "VAE",
    "VQVAE",
    "VQVAE2",
    "WAE",
    "Autoencoder",
    "BernoulliLikelihood",
    "BetaTCVAE",
    "CategoricalLikelihood",
    "ConditionalVAE",
    "ContractiveAutoencoder",
    "DenoisingAutoencoder",
    "DiagonalGaussianPosterior",
    "DiscretizedLogisticLikelihood",
    "FullGaussianPosterior",
    "GaussianLikelihood",
    "GaussianMixture",
    "GaussianMixturePrior",
    "HierarchicalVAE",
    "InfoVAE",
    "Likelihood",
    "MeanAndLevelsLikelihood",
    "PointPosterior",
    "Posterior",
    "Prior",
    "SparseAutoencoder",
    "StandardNormalPrior",
    "VampPrior",
]
