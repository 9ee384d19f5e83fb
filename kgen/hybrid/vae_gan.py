"""VAE-GAN: a VAE whose reconstructions are measured on the features of a GAN's discriminator, which judges what the decoder makes.

Reference:
    Larsen et al., Autoencoding beyond pixels using a learned similarity metric, 2016, Eq. 8 and Algorithm 1, arXiv 1512.09300.
"""

import keras
from keras import ops

from kgen.core import GenerativeModel, checks, random
from kgen.gan.adversarial import AdversarialModel, Player, Turn
from kgen.networks import MLP
from kgen.vae import VAE, GaussianLikelihood, defaults

FEATURES = 256
REFUSED = {
    "observation": "its discriminator measures reconstructions",
    "augmentation": "what its discriminator's features are compared of would not be x",
}


@keras.saving.register_keras_serializable(package="kgen")
class VAEGAN(AdversarialModel, VAE):
    """A VAE-GAN. Three players, each with an optimizer of its own:

    - "encoder": |f(x) - f(x')|^2 / 2 + ``beta`` KL(q(z | x) || p(z)), x' the reconstruction and f the discriminator's features; trains the
      prior, too, where it has weights;
    - "decoder": ``similarity`` * |f(x) - f(x')|^2 / 2 - ln D(x') - ln D(x_p), x_p = decoder(z), z ~ p(z);
    - "discriminator": -ln D(x) - (ln(1 - D(x')) + ln(1 - D(x_p))) / 2, in halves so that data weigh as much as what is made (the
      paper has the sum). Its features are not trained on the similarity.

    There is no ``log_prob``: what the decoder returns is judged, not the mean of a distribution of x.

    Args:
        shape, latent_dim, encoder, decoder, prior, posterior, beta, kl_warmup, free_bits, ema: as in ``VAE``.
        features: the discriminator's first part, maps x to f(x) (B, n); by default convolutions and a layer normalisation. Of features whose
            scale is free the discriminator makes small ones: the similarity is then nothing beside the divergence, and all pictures become one.
        discriminator: the rest, maps f(x) to a logit (B, 1); a linear layer by default.
        similarity: gamma, what the features weigh against the discriminator's word in the decoder's loss.
    """

    likelihood = "implicit"
    log_names = ("loss", "similarity", "kl", "decoder_loss", "discriminator_loss")

    def __init__(
        self, shape, latent_dim=16, *, features=None, discriminator=None, similarity=0.1, name="vae_gan", **kwargs
    ):
        for name, why in REFUSED.items():
            if kwargs.get(name) is not None:
                raise TypeError(f"{name}: VAEGAN takes none; {why}.")
        kwargs["observation"] = GaussianLikelihood(1.0)
        super().__init__(shape=shape, latent_dim=latent_dim, name=name, **kwargs)
        self.similarity = checks.in_range("similarity", similarity, 0.0, 1e6)
        if features is None:
            layers = [
                keras.Input(self.shape),
                defaults.encoder(self.shape, FEATURES, self.dtype_policy),
                keras.layers.LayerNormalization(epsilon=1e-9, center=False, scale=False, dtype=self.dtype_policy),
            ]
            features = keras.Sequential(layers, name="features")
        self.features = features
        size = self.features(keras.KerasTensor((1, *self.shape))).shape[-1]
        self.discriminator = (
            MLP((size,), (1,), widths=(), name="discriminator", dtype=self.dtype_policy)
            if discriminator is None
            else discriminator
        )
        self.start_players()

    @property
    def roles(self):
        return {
            "encoder": Player(("encoder", "prior"), self._encoder_turn),
            "decoder": Player(("decoder",), self._decoder_turn),
            "discriminator": Player(("features", "discriminator"), self._discriminator_turn),
        }

    def steps_taken(self):
        return self.optimizer["encoder"].iterations

    def _made(self, batch, training):
        """The posterior's parameters, z, the reconstruction and a sample of each row."""
        encoder, decoder = (self.network_for(training, name) for name in ("encoder", "decoder"))
        values = batch.conditions
        x = ops.cast(batch.x, "float32")
        parameters = ops.cast(encoder(self.network_inputs(x, values), training=training), "float32")
        z = self.posterior.sample(parameters, random.normal(batch.seeds, (self.latent_dim,)))
        drawn = self.prior_for(training).sample(random.fold_in(batch.seeds, 2), 0)
        made = [ops.cast(decoder(self.network_inputs(v, values), training=training), "float32") for v in (z, drawn)]
        return parameters, z, *made

    def _judged(self, x, training):
        """Features (B, n) and logits (B,) of x."""
        f = self.features(x, training=training)
        return ops.cast(f, "float32"), ops.cast(self.discriminator(f, training=training), "float32")[:, 0]

    def _distance(self, batch, made, training):
        """|f(x) - f(x')|^2 / 2 of each row, and the logits of x'."""
        wanted, _ = self._judged(ops.cast(batch.x, "float32"), training)
        found, logits = self._judged(made, training)
        return 0.5 * ops.sum(ops.square(found - wanted), axis=-1), logits

    def _encoder_turn(self, batch, training):
        parameters, z, reconstruction, _ = self._made(batch, training)
        distance, _ = self._distance(batch, reconstruction, training)
        cost, logs = self.penalty(parameters, z, batch, training)
        return Turn(distance + cost, {"loss": distance + cost, "similarity": distance, **logs})

    def _decoder_turn(self, batch, training):
        *_, reconstruction, drawn = self._made(batch, training)
        distance, logits = self._distance(batch, reconstruction, training)
        losses = ops.softplus(-logits) + ops.softplus(-self._judged(drawn, training)[1])
        losses = self.similarity * distance + losses
        return Turn(losses, {"decoder_loss": losses})

    def _discriminator_turn(self, batch, training):
        *_, reconstruction, drawn = self._made(batch, training)
        real = self._judged(ops.cast(batch.x, "float32"), training)[1]
        fake = [self._judged(ops.stop_gradient(v), training)[1] for v in (reconstruction, drawn)]
        losses = ops.softplus(-real) + 0.5 * sum(ops.softplus(v) for v in fake)
        return Turn(losses, {"discriminator_loss": losses})

    def log_prob(self, x, **kwargs):
        return GenerativeModel.log_prob(self, x)

    def endpoints(self):
        return [e for e in super().endpoints() if e.name != "log_prob"]

    def get_config(self):
        config = {k: v for k, v in super().get_config().items() if k not in REFUSED}
        parts = {
            name: keras.saving.serialize_keras_object(getattr(self, name)) for name in ("features", "discriminator")
        }
        return {**config, **parts, "similarity": self.similarity}
