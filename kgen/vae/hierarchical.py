"""The hierarchical variational autoencoder: several layers of latents, of which each is drawn given those above it.

p(x, z) = p(z_0) p(z_1 | z_0) ... p(x | z), and the posterior goes down the same way, q(z | x) = q(z_0 | x) q(z_1 | x, z_0) ... . The ELBO is

E_q ln p(x | z) - sum_i E_q KL(q(z_i | x, z_<i) || p(z_i | z_<i)).

Reference:
    Sønderby et al., Ladder variational autoencoders, 2016, Eq. 3, 8 and 14, arXiv 1602.02282;
    Child, Very deep VAEs generalize autoregressive models and can outperform them on images, 2021, Eq. 2, arXiv 2011.10650.
"""

import itertools
import math

import keras
from keras import ops

from kgen import distributions
from kgen.core import checks, random
from kgen.vae import defaults
from kgen.vae.losses import beyond_free_bits
from kgen.vae.vae import VAE

LEFT_OUT = ("latent_dim", "prior", "posterior", "conditions")  # of a VAE's arguments


@keras.saving.register_keras_serializable(package="kgen")
class HierarchicalVAE(VAE):
    """A VAE with several layers of latents, counted from the top, 0.

    What ``encode`` gives and ``decode`` takes is u, all layers from the top in one vector: z_i = m_i + s_i u_i, with the mean and scale
    of p(z_i | z_<i). So u is N(0, I), whatever the networks are, and is used as any VAE's latent vector: ``interpolate``, ``traverse``, and
    ``kgen.hybrid.PriorRefit`` take it. The divergences are the same for u as for z.

    Args:
        shape: as in ``VAE``.
        latent_shapes: shape of each layer's latents from the top: vectors, ((4,), (8,)), or for images maps whose sides grow,
            ((1, 1, 16), (7, 7, 4), (14, 14, 2)). By default that of ``decoder``, or one that suits the size.
        encoder: maps x (B, *shape) to a list of features, one for each layer: a ``LadderEncoder`` by default.
        decoder: a network of u (B, latent_dim) with the attribute ``latent_shapes`` and the method ``descend`` of ``LadderDecoder``, which is
            the default; it draws posteriors and priors.
        observation, ema, ema_of: as in ``VAE``.
        beta, kl_warmup: as in ``VAE``, of each layer's divergence.
        free_bits: nats of each layer's divergence that cost nothing: the loss has sum_i max(free_bits, mean of KL_i over the batch)
            (Kingma et al. 2016, Eq. 15, arXiv 1606.04934).
    Raises:
        ValueError: shapes that do not fit each other.
        TypeError: a decoder without layers.
    """

    def __init__(
        self,
        shape,
        latent_shapes=None,
        *,
        encoder=None,
        decoder=None,
        observation="gaussian",
        beta=1.0,
        kl_warmup=0,
        free_bits=0.0,
        ema=None,
        ema_of=None,
        name="hierarchical_vae",
        dtype=None,
    ):
        if decoder is not None and not hasattr(decoder, "descend"):
            raise TypeError(
                f"decoder: expected a kgen.networks.LadderDecoder, or a network with its method descend, received {decoder!r}."
            )
        if latent_shapes is None:
            latent_shapes = defaults.latent_shapes(tuple(shape)) if decoder is None else decoder.latent_shapes
        self.latent_shapes = tuple(checks.shape("latent_shapes", s) for s in latent_shapes)
        if decoder is not None and tuple(map(tuple, decoder.latent_shapes)) != self.latent_shapes:
            raise ValueError(
                f"latent_shapes: expected the decoder's {decoder.latent_shapes}, received {self.latent_shapes}; leave them out."
            )
        self.log_names = ("loss", "reconstruction", "kl", *(f"kl_{i}" for i in range(len(self.latent_shapes))))
        super().__init__(
            shape,
            sum(math.prod(s) for s in self.latent_shapes),
            encoder=encoder,
            decoder=decoder,
            observation=observation,
            beta=beta,
            kl_warmup=kl_warmup,
            free_bits=free_bits,
            ema=ema,
            ema_of=ema_of,
            name=name,
            dtype=dtype,
        )

    def default_encoder(self, size):
        return defaults.ladder_encoder(self.shape, self.latent_shapes, self.dtype_policy)

    def default_decoder(self, output_shape):
        return defaults.ladder_decoder(self.latent_shapes, output_shape, self.dtype_policy)

    def check_encoder(self, size):
        try:
            self.through(self.decoder, self.encoder(self._symbols(self.shape)), {})
        except Exception as error:
            raise ValueError(
                f"encoder: expected a network of x (B, {', '.join(map(str, self.shape))}) that returns features for each of the "
                f"layers {self.latent_shapes}, from the top, as the decoder takes them; it failed on them: {error}"
            ) from error

    def layers_of(self, u):
        """The layers' parts of a tensor (B, latent_dim): a list of (B, n_i) from the top."""
        sizes = [math.prod(shape) for shape in self.latent_shapes]
        return ops.split(u, list(itertools.accumulate(sizes))[:-1], axis=-1) if len(sizes) > 1 else [u]

    def through(self, decoder, encoded, values, noise=None, training=False):
        noise = None if noise is None else self.layers_of(noise)
        means, spreads, drawn = [], [], []

        def choose(i, found):
            # Maps of means and maps of scales, to vectors of both.
            flat = [
                ops.reshape(v, (-1, math.prod(v.shape[1:]))) for v in ops.split(ops.cast(found, "float32"), 2, axis=-1)
            ]
            parameters = ops.concatenate(flat, axis=-1)
            u = self.posterior.mean(parameters) if noise is None else self.posterior.sample(parameters, noise[i])
            for known, value in zip((means, spreads, drawn), (*flat, u), strict=True):
                known.append(value)
            return ops.reshape(u, (-1, *self.latent_shapes[i]))

        output = decoder.descend(choose, keras.tree.flatten(encoded), training=training)
        return ops.concatenate(means + spreads, axis=-1), ops.concatenate(drawn, axis=-1), output

    def penalty(self, parameters, z, batch, training):
        q = self.posterior.distribution(parameters)
        mean, scale = q.mean(), q.stddev()
        p = distributions.Normal(ops.zeros_like(mean), ops.ones_like(scale))
        each = self.layers_of(distributions.kl_divergence(distributions.Normal(mean, scale), p))
        each = [ops.sum(kl, axis=-1) for kl in each]
        cost = sum(beyond_free_bits(kl, self.free_bits, batch.weight) for kl in each)
        logs = {"kl": sum(each), **{f"kl_{i}": kl for i, kl in enumerate(each)}}
        return self.warmed_up(self.beta, training) * cost, logs

    def posterior_rows(self, x):
        """The posterior's parameters along its means, (B, 2 latent_dim): of each layer given the means of those above."""
        return self.through(self.averaged("decoder"), self.averaged("encoder")(x), {})[0]

    def latent_draw_rows(self, x, seeds):
        noise = random.normal(seeds, (self.latent_dim,))
        return self.through(self.averaged("decoder"), self.averaged("encoder")(x), {}, noise)[1]

    def get_config(self):
        config = {k: v for k, v in super().get_config().items() if k not in LEFT_OUT}
        return {**config, "latent_shapes": [list(shape) for shape in self.latent_shapes]}
