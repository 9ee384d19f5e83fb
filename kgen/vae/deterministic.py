"""The autoencoder without chance: an encoder, a decoder, and a likelihood of what is decoded.

Reference:
    Hinton & Salakhutdinov, Reducing the dimensionality of data with neural networks, Science 2006.
"""

import keras
from keras import ops

from kgen.core import GenerativeModel
from kgen.vae.likelihoods import GaussianLikelihood
from kgen.vae.posteriors import PointPosterior
from kgen.vae.vae import VAE

FIXED = ("posterior", "beta", "kl_warmup", "free_bits")


@keras.saving.register_keras_serializable(package="kgen")
class Autoencoder(VAE):
    """An autoencoder: its loss is -ln p(x | z) at the one z that the encoder returns, by default half the sum of squared errors.

    It has no prior, and so neither samples nor a likelihood: ``kgen.hybrid.PriorRefit(autoencoder, GaussianMixture((16,)))`` gives it one
    that is fitted to the codes.

    Args:
        shape, latent_dim, decoder, conditions, ema: as in ``VAE``.
        encoder: maps x (B, *shape) to z (B, latent_dim).
        observation: p(x | z); by default a Gaussian of scale 1.
    """

    likelihood = "implicit"
    log_names = ("loss", "reconstruction")
    described = {**VAE.described, "encode": "code"}
    has_prior = False

    def __init__(self, shape, latent_dim=16, *, observation=None, name="autoencoder", **kwargs):
        fixed = [k for k in (FIXED if self.has_prior else (*FIXED, "prior")) if k in kwargs]
        if fixed:
            raise TypeError(f"{fixed[0]}: {type(self).__name__} takes none; kgen.vae.VAE does.")
        observation = GaussianLikelihood(1.0) if observation is None else observation
        super().__init__(shape, latent_dim, posterior=PointPosterior(), observation=observation, name=name, **kwargs)

    def penalty(self, parameters, z, batch, training):
        return ops.zeros_like(z[:, 0]), {}

    def sample(self, n, **kwargs):
        if self.has_prior:
            return super().sample(n, **kwargs)
        raise NotImplementedError(
            f"{type(self).__name__} has no prior to draw codes from. Fit one to its codes: kgen.hybrid.PriorRefit(model, "
            f"kgen.vae.GaussianMixture({self.latent_shape})).fit(x); it samples."
        )

    def log_prob(self, x, **kwargs):
        return GenerativeModel.log_prob(self, x)

    def endpoints(self):
        without = ("log_prob",) if self.has_prior else ("log_prob", "sample")
        return [e for e in super().endpoints() if e.name not in without]

    def get_config(self):
        left_out = FIXED if self.has_prior else (*FIXED, "prior")
        return {k: v for k, v in super().get_config().items() if k not in left_out}
