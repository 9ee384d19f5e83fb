"""Models that combine families."""

from kgen.hybrid.latent_diffusion import LatentDiffusion
from kgen.hybrid.prior_refit import PriorRefit

__all__ = ["LatentDiffusion", "PriorRefit"]
