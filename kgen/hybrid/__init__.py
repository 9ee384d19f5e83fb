"""Models that combine families."""

from kgen.hybrid.latent_diffusion import LatentDiffusion

__all__ = ["LatentDiffusion"]
