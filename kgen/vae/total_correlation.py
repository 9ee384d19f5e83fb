"""The beta-TC-VAE: of the divergence's three terms, the one that holds the latents apart is weighted.

E KL(q(z | x) || p(z)) = I(x; z) + KL(q(z) || prod_d q(z_d)) + sum_d KL(q(z_d) || p(z_d)): mutual information, total correlation and
dimension-wise divergence, with q(z) = E_x q(z | x) of the batch.

Reference:
    Chen et al., Isolating sources of disentanglement in variational autoencoders, 2018, Eq. 2 and 4, arXiv 1802.04942. Its minibatch-weighted
    estimate differs from the one here, which takes the batch, on replicas the whole of it, for the data, by constants, and has the same gradient.
"""

import math

import keras
from keras import ops

from kgen import backend
from kgen.core import checks
from kgen.vae.posteriors import DiagonalGaussianPosterior
from kgen.vae.priors import GaussianMixturePrior
from kgen.vae.vae import VAE
from kgen.vae.vamp import VampPrior


@keras.saving.register_keras_serializable(package="kgen")
class BetaTCVAE(VAE):
    """A VAE with the penalty ``information`` I(x; z) + ``beta`` TC(z) + dimension-wise KL.

    Args:
        beta: weight of the total correlation; with all weights 1 the loss is the negative ELBO, its divergence estimated from z.
        information: weight of the mutual information; 0 does not pay for what z says of x.
        **kwargs: as in ``VAE``, with a diagonal posterior and a prior of independent latents; ``kl_warmup`` is of all three terms.
    """

    log_names = ("loss", "reconstruction", "kl", "mutual_information", "total_correlation", "dimension_kl")

    def __init__(self, shape, latent_dim=16, *, beta=6.0, information=1.0, name="beta_tc_vae", **kwargs):
        super().__init__(shape, latent_dim, beta=beta, name=name, **kwargs)
        self.information = checks.in_range("information", information, 0.0, 1e6)
        if not isinstance(self.posterior, DiagonalGaussianPosterior):
            raise ValueError(f"posterior: expected 'diagonal', of independent latents, received {self.posterior!r}.")
        if isinstance(self.prior, (GaussianMixturePrior, VampPrior)):
            raise ValueError(
                f"prior: expected one of independent latents, such as 'standard_normal', received {self.prior.name}, whose are not: its divergence "
                "has no terms of single latents."
            )
        if self.free_bits:
            raise ValueError("free_bits: expected 0; of three terms none is the divergence that could be free.")

    def penalty(self, parameters, z, batch, training):
        terms = self.terms(parameters, z, self.prior_for(training).distribution(), batch.weight)
        weights = (self.information, self.beta, 1.0)
        names = ("mutual_information", "total_correlation", "dimension_kl")
        cost = sum(weight * term for weight, term in zip(weights, terms, strict=True))
        return self.warmed_up(1.0, training) * cost, {"kl": sum(terms), **dict(zip(names, terms, strict=True))}

    def terms(self, parameters, z, prior, weight=None):
        """The three terms at each z: float32 tensors (B,), which sum to ln q(z | x) - ln p(z).

        Args:
            parameters: the posterior's (B, 2 d).
            z: a draw of each row (B, d).
            prior: the distribution p(z).
            weight: sample weights (B,), the shares of the rows in q(z); or None.
        """
        q, every = self.posterior.distribution(parameters), self.posterior.distribution(backend.gather(parameters))
        loc, scale = every.mean(), every.stddev()
        weight = ops.ones_like(z[:, 0]) if weight is None else ops.cast(weight, z.dtype)
        weight = backend.gather(weight)
        share = ops.log(ops.maximum(weight / ops.maximum(ops.sum(weight), 1e-12), 1e-30))
        white = (z[:, None] - loc[None]) / scale[None]  # of z_i under the posterior of x_j: (B, B, d)
        each = -0.5 * ops.square(white) - ops.log(scale[None]) - 0.5 * math.log(2 * math.pi)
        joint = ops.logsumexp(ops.sum(each, axis=-1) + share, axis=1)
        apart = ops.sum(ops.logsumexp(each + share[:, None], axis=1), axis=-1)
        return q.log_prob(z) - joint, joint - apart, apart - prior.log_prob(z)

    def get_config(self):
        return {**super().get_config(), "information": self.information}
