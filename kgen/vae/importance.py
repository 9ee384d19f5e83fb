"""The importance-weighted autoencoder: a VAE trained on the bound of K samples.

L_K = E ln 1/K sum_k w_k, w_k = p(x, z_k) / q(z_k | x), z_k ~ q(z | x):   L_1 is the ELBO, L_K <= L_{K+1} <= ln p(x).

Reference:
    Burda et al., Importance weighted autoencoders, 2016, Eq. 8, arXiv 1509.00519;
    Tucker et al., Doubly reparameterized gradient estimators for Monte Carlo objectives, 2019, Eq. 7, arXiv 1810.04152.
"""

import math

import keras
from keras import ops

from kgen.core import checks, random
from kgen.vae.vae import VAE


@keras.saving.register_keras_serializable(package="kgen")
class IWAE(VAE):
    """A VAE whose loss is the importance-weighted bound of ``num_samples`` draws.

    The encoder's gradient by the chain rule has a part of mean zero, whose noise swallows the signal as K grows; ``doubly=True`` leaves it
    out (DReG), with the same mean and less variance, for one more pass through the decoder: of each draw the gradient through z is
    weighted by its normalised w_k once more, and ln q(z | x) passes none to the parameters directly.

    Args:
        num_samples: K.
        doubly: whether the encoder takes doubly reparameterised gradients.
        **kwargs: as in ``VAE``, whose ``beta``, ``kl_warmup`` and ``free_bits`` have no meaning here.
    """

    def __init__(self, shape, latent_dim=16, *, num_samples=5, doubly=False, name="iwae", **kwargs):
        super().__init__(shape, latent_dim, name=name, **kwargs)
        self.num_samples = checks.positive_int("num_samples", num_samples)
        self.doubly = bool(doubly)
        if (self.beta, self.kl_warmup, self.free_bits) != (1.0, 0, 0.0):
            raise ValueError(
                "beta, kl_warmup, free_bits: expected 1, 0 and 0; the bound of several samples has no KL term."
            )

    def objective(self, batch, training):
        """The negative bound of each example."""
        x, values, k = ops.cast(batch.x, "float32"), batch.conditions, self.num_samples
        if training and self.conditions.droppable:
            values = self.conditions.dropped(values, random.fold_in(batch.seeds, 1))
        encoder, decoder, observation = (self.network_for(training, n) for n in ("encoder", "decoder", "observation"))
        prior = self.prior_for(training)
        parameters = ops.cast(encoder(self.network_inputs(x, values), training=training), "float32")
        x, parameters = ops.repeat(x, k, axis=0), ops.repeat(parameters, k, axis=0)
        values = {name: ops.repeat(v, k, axis=0) for name, v in values.items()}
        noise = ops.reshape(random.normal(batch.seeds, (k, self.latent_dim)), (-1, self.latent_dim))
        z = self.posterior.sample(parameters, noise)

        def weights(z, parameters, measured=False):
            """Both parts of ln w_k: ln p(x | z_k) and ln q(z_k | x) - ln p(z_k), (B, K) each."""
            output = observation.split(decoder(self.network_inputs(z, values), training=training))
            if measured:
                observation.measure(output, x, None if batch.weight is None else ops.repeat(batch.weight, k))
            kl = self.posterior.distribution(parameters).log_prob(z) - prior.distribution().log_prob(z)
            return ops.reshape(observation.log_prob(output, x), (-1, k)), ops.reshape(kl, (-1, k))

        fit, kl = weights(z, parameters, measured=training)
        bound = ops.logsumexp(fit - kl, axis=-1) - math.log(k)
        logs = {"reconstruction": -ops.mean(fit, axis=-1), "kl": ops.mean(kl, axis=-1)}
        if not (training and self.doubly):
            return -bound, logs
        share = ops.stop_gradient(ops.softmax(fit - kl, axis=-1))
        slowed = ops.reshape(share, (-1, 1))
        # Of the same value, with the gradient of z times its share; the sum below is weighted by the share again.
        z = ops.stop_gradient((1.0 - slowed) * z) + slowed * z
        fit, kl = weights(z, ops.stop_gradient(parameters))
        surrogate = ops.sum(share * (fit - kl), axis=-1)
        return -(surrogate + ops.stop_gradient(bound - surrogate)), logs

    def get_config(self):
        config = {k: v for k, v in super().get_config().items() if k not in ("beta", "kl_warmup", "free_bits")}
        return {**config, "num_samples": self.num_samples, "doubly": self.doubly}
