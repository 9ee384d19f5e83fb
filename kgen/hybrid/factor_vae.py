"""FactorVAE: a VAE whose total correlation is measured by a discriminator, and paid for.

The discriminator tells codes z ~ q(z) from codes whose numbers were drawn each from another row, z' ~ prod_d q(z_d); at its best its logit,
high for the latter, is ln prod_d q(z_d) - ln q(z), whose mean over q(z) is minus the total correlation.

Reference:
    Kim & Mnih, Disentangling by factorising, 2018, Eq. 3 and Algorithm 2, arXiv 1802.05983 (there the discriminator has a batch of its own).
"""

import keras
from keras import ops

from kgen import backend
from kgen.core import checks, inputs, random
from kgen.gan.adversarial import AdversarialModel, Player, Turn
from kgen.networks import MLP
from kgen.vae import VAE


class AdversarialVAE(AdversarialModel, VAE):
    """Base class: a VAE whose penalty a discriminator of codes takes part in. The players are "vae" and "discriminator".

    Args:
        shape, latent_dim, **kwargs: as in the autoencoder beside.
        discriminator: maps codes (B, latent_dim) to logits (B, 1), high for what the codes should be like; two dense layers by default.
    """

    def __init__(self, shape, latent_dim, *, discriminator=None, **kwargs):
        if kwargs.pop("augmentation", None) is not None:
            raise TypeError(f"augmentation: {type(self).__name__} takes none; its discriminator judges codes.")
        super().__init__(shape=shape, latent_dim=latent_dim, **kwargs)
        self.discriminator = (
            MLP(self.latent_shape, (1,), name="discriminator", dtype=self.dtype_policy)
            if discriminator is None
            else discriminator
        )
        self.start_players()

    @property
    def roles(self):
        return {
            "vae": Player(("encoder", "decoder", "prior", "observation"), self._vae_turn),
            "discriminator": Player(("discriminator",), self._discriminator_turn),
        }

    def default_optimizer(self):
        return {
            "vae": keras.optimizers.Adam(1e-3),
            "discriminator": keras.optimizers.Adam(1e-3, beta_1=0.5, beta_2=0.9),
        }

    def steps_taken(self):
        return self.optimizer["vae"].iterations

    def logits(self, z, training=False):
        """The discriminator's of codes z (B, latent_dim): float32 (B,)."""
        return ops.cast(self.discriminator(z, training=training), "float32")[:, 0]

    def _vae_turn(self, batch, training):
        losses, logs = self.objective(batch, training)
        return Turn(losses, {"loss": losses, **logs})

    def codes_of(self, batch, training):
        """A draw of each row's code that passes no gradient, (B, latent_dim): what the discriminator judges."""
        x = ops.cast(batch.x, "float32")
        parameters = self.network_for(training, "encoder")(self.network_inputs(x, batch.conditions), training=training)
        noise = random.normal(random.fold_in(batch.seeds, 4), (self.latent_dim,))
        return ops.stop_gradient(self.posterior.sample(ops.cast(parameters, "float32"), noise))

    def wanted(self, z, batch, training):
        """Codes (B, latent_dim) as those of the discriminator's first argument should be, made of z or drawn."""
        raise NotImplementedError

    def _discriminator_turn(self, batch, training):
        z = self.codes_of(batch, training)
        losses = ops.softplus(-self.logits(self.wanted(z, batch, training), training)) + ops.softplus(
            self.logits(z, training)
        )
        return Turn(losses, {"discriminator_loss": losses})

    def get_config(self):
        config = {k: v for k, v in super().get_config().items() if k != "augmentation"}
        return {**config, "discriminator": keras.saving.serialize_keras_object(self.discriminator)}


@keras.saving.register_keras_serializable(package="kgen")
class FactorVAE(AdversarialVAE):
    """A VAE with the penalty ``correlation`` * TC(z), the total correlation as a discriminator estimates it.

    Args:
        correlation: gamma, the weight of the total correlation.
        **kwargs: as in ``VAE`` and ``AdversarialVAE``.
    """

    log_names = ("loss", "reconstruction", "kl", "total_correlation", "discriminator_loss")

    def __init__(self, shape, latent_dim=16, *, correlation=10.0, name="factor_vae", **kwargs):
        super().__init__(shape, latent_dim, name=name, **kwargs)
        self.correlation = checks.in_range("correlation", correlation, 0.0, 1e6)

    def penalty(self, parameters, z, batch, training):
        cost, logs = super().penalty(parameters, z, batch, training)
        found = -self.logits(z)
        return cost + self.correlation * found, {**logs, "total_correlation": found}

    def wanted(self, z, batch, training):
        """Each number of z from another row of the whole batch."""
        drawn = random.uniform(random.fold_in(batch.seeds, 5), (self.latent_dim,))
        order = ops.argsort(backend.gather(drawn), axis=0)
        return inputs.own_rows(ops.take_along_axis(backend.gather(z), order, axis=0), ops.shape(z)[0])

    def get_config(self):
        return {**super().get_config(), "correlation": self.correlation}
