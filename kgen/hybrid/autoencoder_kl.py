"""AutoencoderKL: a VAE of maps of latents whose reconstructions are judged by a discriminator of patches; what latent diffusion works on.

Reference:
    Rombach et al., High-resolution image synthesis with latent diffusion models, 2022, appendix G, Eq. 25, arXiv 2112.10752; Esser et al.,
    Taming transformers for high-resolution image synthesis, 2021, Eq. 5 to 7, arXiv 2012.09841.
"""

import math

import keras
from keras import layers, ops

from kgen.core import GenerativeModel, TensorSpec, checks, random
from kgen.core.averages import frozen_network
from kgen.core.config import own_copy
from kgen.gan import losses
from kgen.gan.adversarial import AdversarialModel, Player, Turn, mean_of_rows
from kgen.gan.networks import run_once
from kgen.networks import PatchDiscriminator, SpatialDecoder, SpatialEncoder
from kgen.networks.perceptual import perceptual_distance
from kgen.vae import VAE, GaussianLikelihood


@keras.saving.register_keras_serializable(package="kgen")
class Moments(layers.Layer):
    """Maps of means and raw deviations (B, h, w, 2 c) as rows (B, 2 h w c): the means, then the deviations."""

    def call(self, x):
        flat = math.prod(x.shape[1:]) // 2
        return ops.concatenate([ops.reshape(half, (-1, flat)) for half in ops.split(x, 2, axis=-1)], axis=-1)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], math.prod(input_shape[1:]))


@keras.saving.register_keras_serializable(package="kgen")
class AutoencoderKL(AdversarialModel, VAE):
    """A VAE of maps of latents z (h, w, c). Two players, n the number of values of an image:

    - "autoencoder": mean |x - x'| + ``perceptual`` d(x, x') + ``beta`` KL(q(z | x) || N(0, I)) / n + ``adversarial_weight`` L_G;
    - "discriminator": the adversarial loss of its patches.

    With ``beta`` as small as it is, z is as good as fixed by x, and only held near 0: what draws z is another model,
    ``kgen.hybrid.LatentDiffusion`` or ``PriorRefit``. ``sample`` draws z from N(0, I), which is not where the codes are. There is no
    ``log_prob``: what the decoder returns is judged, not the mean of a distribution of x.

    The weight of the discriminator's word is the one given; the papers' follows the gradients at the decoder's last layer.

    Args:
        shape: (H, W, C), sides divisible by 2^len(channels).
        latent_channels: c.
        channels: feature channels of the default networks; each halves the sides, h = H / 2^len(channels).
        encoder: maps x to means and raw deviations (B, h, w, 2 c); ``kgen.networks.SpatialEncoder`` by default.
        decoder: maps z (B, h, w, c) to x; ``kgen.networks.SpatialDecoder`` by default.
        discriminator: maps x to logits (B, ...); ``kgen.networks.PatchDiscriminator`` by default.
        features: a network of images, or several layers of one, whose outputs say how images look (``perceptual_distance``), such as some of
            a classifier's layers: ``keras.Model(classifier.input, [classifier.get_layer(n).output for n in names])``. The model keeps a frozen copy.
        perceptual: weight of that distance.
        adversarial_loss: as in ``GAN``.
        adversarial_weight: of the discriminator's word.
        discriminator_start: the training step at which the discriminator begins: first reconstructions are not worth judging.
        beta, kl_warmup, free_bits, prior, ema, ema_of: as in ``VAE``.
    """

    likelihood = "implicit"
    log_names = ("loss", "reconstruction", "perceptual", "kl", "adversarial", "discriminator_loss")

    def __init__(
        self,
        shape,
        latent_channels=4,
        *,
        channels=(32, 64),
        encoder=None,
        decoder=None,
        discriminator=None,
        features=None,
        perceptual=1.0,
        adversarial_loss="hinge",
        adversarial_weight=0.1,
        discriminator_start=0,
        beta=1e-6,
        name="autoencoder_kl",
        dtype=None,
        **kwargs,
    ):
        shape = checks.shape("shape", shape)
        for fixed in ("observation", "posterior", "conditions", "latent_dim"):
            if fixed in kwargs:
                raise TypeError(
                    f"{fixed}: AutoencoderKL has a Gaussian posterior of each place of a map, a Gaussian likelihood and no conditions; received "
                    f"{fixed}={kwargs[fixed]!r}. latent_channels says how many numbers a place has; VAE takes the others."
                )
        if len(shape) != 3:
            raise ValueError(f"shape: AutoencoderKL is of images, expected (H, W, C), received {shape}.")
        count = checks.positive_int("latent_channels", latent_channels)
        if encoder is None:
            encoder = SpatialEncoder(shape, 2 * count, channels, dtype=dtype)
        found = tuple(run_once("encoder", encoder, [ops.zeros((1, *shape))]).shape[1:])
        if len(found) != 3 or found[-1] != 2 * count:
            raise ValueError(
                f"encoder: expected outputs (B, h, w, {2 * count}), twice latent_channels, received (B, {', '.join(map(str, found))})."
            )
        map_shape = (*found[:2], count)
        decoder = SpatialDecoder(map_shape, shape[-1], channels, dtype=dtype) if decoder is None else decoder
        x, z = keras.Input(shape, name="x"), keras.Input((math.prod(map_shape),), name="z")
        super().__init__(
            shape=shape,
            latent_dim=math.prod(map_shape),
            encoder=keras.Model(x, Moments(name="moments")(encoder(x)), name="encoder"),
            decoder=keras.Model(z, decoder(layers.Reshape(map_shape, name="map")(z)), name="decoder"),
            observation=GaussianLikelihood(1.0),
            beta=beta,
            name=name,
            dtype=dtype,
            **kwargs,
        )
        self.map_shape, self.latent_channels, self.channels = map_shape, count, tuple(channels)
        # Of the networks of maps, which those above hold.
        self.given = {
            "encoder": keras.saving.serialize_keras_object(encoder),
            "decoder": keras.saving.serialize_keras_object(decoder),
        }
        self.discriminator = PatchDiscriminator(shape, dtype=dtype) if discriminator is None else discriminator
        run_once("discriminator", self.discriminator, [ops.zeros((1, *shape))])
        if features is not None:
            run_once("features", features, [ops.zeros((1, *shape))])
        self.features = None if features is None else frozen_network(features)
        self.perceptual = checks.in_range("perceptual", perceptual, 0.0, 1e6)
        self.adversarial_loss = losses.get(adversarial_loss)
        self.adversarial_weight = checks.in_range("adversarial_weight", adversarial_weight, 0.0, 1e6)
        self.discriminator_start = int(checks.in_range("discriminator_start", discriminator_start, 0, 2**31))
        self.start_players()

    # Training.

    @property
    def roles(self):
        return {
            "autoencoder": Player(("encoder", "decoder", "prior"), self._autoencoder_turn),
            "discriminator": Player(("discriminator",), self._discriminator_turn, discriminator=True),
        }

    def steps_taken(self):
        return self.optimizer["autoencoder"].iterations

    def _made(self, batch, training):
        """The posterior's parameters, z and the reconstruction of each row."""
        encoder, decoder = (self.network_for(training, name) for name in ("encoder", "decoder"))
        parameters = ops.cast(encoder(ops.cast(batch.x, "float32"), training=training), "float32")
        z = self.posterior.sample(parameters, random.normal(batch.seeds, (self.latent_dim,)))
        return parameters, z, ops.cast(decoder(z, training=training), "float32")

    def _logits(self, x, batch, draw, training):
        x = self.augmented("discriminator", x, random.fold_in(batch.seeds, 1 + draw), training)
        return ops.cast(self.discriminator(x, training=training), "float32")

    def _begun(self, player, training):
        """1 where the discriminator has begun, by the steps of ``player``, else 0."""
        if not (training and self.discriminator_start):
            return 1.0
        return ops.cast(self.optimizer[player].iterations >= self.discriminator_start, "float32")

    def _autoencoder_turn(self, batch, training):
        x = ops.cast(batch.x, "float32")
        parameters, z, made = self._made(batch, training)
        reconstruction = mean_of_rows(ops.abs(x - made))
        seen = ops.zeros_like(reconstruction) if self.features is None else perceptual_distance(self.features, x, made)
        cost, logs = self.penalty(parameters, z, batch, training)
        real = self._logits(x, batch, 0, training) if self.adversarial_loss.pairs else None
        adversarial = self.adversarial_values("autoencoder", self._logits(made, batch, 1, training), real)
        total = reconstruction + self.perceptual * seen + cost / math.prod(self.shape)
        total = total + self._begun("autoencoder", training) * self.adversarial_weight * adversarial
        parts = {"reconstruction": reconstruction, "perceptual": seen, "adversarial": adversarial}
        return Turn(total, {"loss": total, **parts, **logs})

    def _discriminator_turn(self, batch, training):
        made = ops.stop_gradient(self._made(batch, training)[-1])
        real = self._logits(ops.cast(batch.x, "float32"), batch, 0, training)
        values = mean_of_rows(self.adversarial_loss.discriminator(real, self._logits(made, batch, 1, training)))
        return Turn(self._begun("discriminator", training) * values, {"discriminator_loss": values}, real_logits=real)

    # What takes tensors: latents are maps.

    @property
    def latent_shape(self):
        return self.map_shape

    def latent_spec(self):
        return TensorSpec(self.map_shape, "float32", "map of latents")

    def _mapped(self, z):
        return ops.reshape(z, (-1, *self.map_shape))

    def encode_rows(self, x, **values):
        """The posterior's mean: float32 tensor (B, h, w, c), for x (B, H, W, C)."""
        return self._mapped(super().encode_rows(x, **values))

    def decode_rows(self, z, **values):
        """The image in [-1, 1] of latents (B, h, w, c)."""
        return super().decode_rows(ops.reshape(z, (-1, self.latent_dim)), **values)

    latent_rows, from_latent_rows = encode_rows, decode_rows

    def latent_draw_rows(self, x, seeds, **values):
        return self._mapped(super().latent_draw_rows(x, seeds, **values))

    # The protocol.

    def log_prob(self, x, **kwargs):
        return GenerativeModel.log_prob(self, x)

    def traverse(self, x, **kwargs):
        raise NotImplementedError(
            "AutoencoderKL has a latent of each place; interpolate(a, b) shows what they do together."
        )

    def endpoints(self):
        return [e for e in super().endpoints() if e.name != "log_prob"]

    def get_config(self):
        left_out = ("observation", "conditions", "latent_dim", "encoder", "decoder", "posterior")
        config = {k: v for k, v in super().get_config().items() if k not in left_out}
        parts = {"discriminator": self.discriminator, "adversarial_loss": self.adversarial_loss}
        plain = ("latent_channels", "perceptual", "adversarial_weight", "discriminator_start")
        return {
            **config,
            **own_copy(self.given),
            **{name: keras.saving.serialize_keras_object(part) for name, part in parts.items()},
            "features": None if self.features is None else keras.saving.serialize_keras_object(self.features),
            "channels": list(self.channels),
            **{name: getattr(self, name) for name in plain},
        }
