"""Autoencoders whose codes are held to the prior all together, by the maximum mean discrepancy, rather than each by itself.

Reference:
    Tolstikhin et al., Wasserstein auto-encoders, 2018, Algorithm 2, arXiv 1711.01558;
    Zhao et al., InfoVAE: information maximizing variational autoencoders, 2019, Eq. 8 and section 4, arXiv 1706.02262.
"""

import keras
from keras import ops

from kgen import backend
from kgen.core import checks, random
from kgen.vae.deterministic import Autoencoder
from kgen.vae.losses import divergence, mean_discrepancy
from kgen.vae.vae import VAE


def _discrepancy(model, z, batch, training):
    """The squared discrepancy of the codes of the whole batch, z (B, d) here, and as many draws from the model's prior, scalar."""
    draws = model.prior_for(training).sample(random.fold_in(batch.seeds, 2), 0)
    weight = None if batch.weight is None else backend.gather(batch.weight)
    return mean_discrepancy(backend.gather(z), backend.gather(draws), weight)


@keras.saving.register_keras_serializable(package="kgen")
class WAE(Autoencoder):
    """A Wasserstein autoencoder: one code for each x, and ``discrepancy`` * MMD^2 between the codes of a batch and the prior's draws.

    Args:
        prior: as in ``VAE``.
        discrepancy: weight of the penalty, for a reconstruction term that sums over the values of x; batches of 64 and more are of use.
        **kwargs: as in ``Autoencoder``.
    """

    log_names = ("loss", "reconstruction", "discrepancy")
    has_prior = True

    def __init__(self, shape, latent_dim=16, *, discrepancy=10.0, name="wae", **kwargs):
        super().__init__(shape, latent_dim, name=name, **kwargs)
        self.discrepancy = checks.in_range("discrepancy", discrepancy, 0.0, 1e6)

    def penalty(self, parameters, z, batch, training):
        found = _discrepancy(self, z, batch, training)
        return self.discrepancy * found + ops.zeros_like(z[:, 0]), {"discrepancy": found}

    def get_config(self):
        return {**super().get_config(), "discrepancy": self.discrepancy}


@keras.saving.register_keras_serializable(package="kgen")
class InfoVAE(VAE):
    """A VAE with the penalty (1 - alpha) KL(q(z | x) || p(z)) + (alpha + discrepancy - 1) MMD^2(q(z), p(z)).

    Args:
        alpha: how much of the mutual information of x and z is not paid for: 0 for the ELBO's all, 1 for none ("MMD-VAE").
        discrepancy: lambda, the weight of the aggregate's divergence; at least 1 - alpha.
        **kwargs: as in ``VAE``, but for ``free_bits``; the KL term is weighted by ``beta`` beside.
    """

    log_names = ("loss", "reconstruction", "kl", "discrepancy")

    def __init__(self, shape, latent_dim=16, *, alpha=0.0, discrepancy=10.0, name="info_vae", **kwargs):
        super().__init__(shape, latent_dim, name=name, **kwargs)
        if self.free_bits:
            raise ValueError("free_bits: expected 0; beside the aggregate's divergence none of the KL is free.")
        self.alpha = checks.in_range("alpha", alpha, -1e3, 1.0)
        self.discrepancy = checks.in_range("discrepancy", discrepancy, 1.0 - self.alpha, 1e6)

    def penalty(self, parameters, z, batch, training):
        kl = divergence(self.posterior.distribution(parameters), self.prior_for(training).distribution(), z)
        found = _discrepancy(self, z, batch, training)
        cost = self.warmed_up(self.beta, training) * (1.0 - self.alpha) * kl
        return cost + (self.alpha + self.discrepancy - 1.0) * found, {"kl": kl, "discrepancy": found}

    def get_config(self):
        return {**super().get_config(), "alpha": self.alpha, "discrepancy": self.discrepancy}
