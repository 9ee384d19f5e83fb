"""Models that combine families."""

from kgen.hybrid.adversarial_autoencoder import AdversarialAutoencoder
from kgen.hybrid.autoencoder_kl import AutoencoderKL
from kgen.hybrid.factor_vae import FactorVAE
from kgen.hybrid.latent_diffusion import LatentDiffusion
from kgen.hybrid.prior_refit import PriorRefit
from kgen.hybrid.vae_gan import VAEGAN

__all__ = ["VAEGAN", "AdversarialAutoencoder", "AutoencoderKL", "FactorVAE", "LatentDiffusion", "PriorRefit"]
