"""The adversarial autoencoder: a discriminator holds the codes, all together, to the prior.

Reference:
    Makhzani et al., Adversarial autoencoders, 2015, section 2 (the deterministic encoder), arXiv 1511.05644.
"""

import keras
from keras import ops

from kgen.core import checks, random
from kgen.hybrid.factor_vae import AdversarialVAE
from kgen.vae import Autoencoder


@keras.saving.register_keras_serializable(package="kgen")
class AdversarialAutoencoder(AdversarialVAE, Autoencoder):
    """An autoencoder of one code for each x, whose codes a discriminator tells from draws of the prior; the encoder learns to be taken for it.

    Args:
        adversarial: weight of the encoder's loss -ln D(z) beside the reconstruction term, which sums over the values of x.
        prior: as in ``VAE``.
        **kwargs: as in ``Autoencoder`` and ``AdversarialVAE``.
    """

    log_names = ("loss", "reconstruction", "adversarial", "discriminator_loss")
    likelihood = "implicit"
    has_prior = True

    def __init__(self, shape, latent_dim=16, *, adversarial=10.0, name="adversarial_autoencoder", **kwargs):
        super().__init__(shape, latent_dim, name=name, **kwargs)
        self.adversarial = checks.in_range("adversarial", adversarial, 0.0, 1e6)

    def penalty(self, parameters, z, batch, training):
        found = ops.softplus(-self.logits(z))
        return self.adversarial * found, {"adversarial": found}

    def wanted(self, z, batch, training):
        """Draws of the prior."""
        return ops.stop_gradient(self.prior_for(training).sample(random.fold_in(batch.seeds, 5), 0))

    def get_config(self):
        return {**super().get_config(), "adversarial": self.adversarial}
