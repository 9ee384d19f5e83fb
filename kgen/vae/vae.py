"""The variational autoencoder.

ln p(x) >= E_q(z|x)[ln p(x | z)] - KL(q(z | x) || p(z)), the evidence lower bound (ELBO), in nats per example.

Reference:
    Kingma & Welling, Auto-encoding variational Bayes, 2014, arXiv 1312.6114; Rezende et al. 2014, arXiv 1401.4082.
"""

import math

import keras
import numpy as np
from keras import ops

from kgen import distributions
from kgen.core import Endpoint, GenerativeModel, TensorSpec, checks, random
from kgen.core.endpoints import SEED
from kgen.core.units import bits_per_dim
from kgen.vae import likelihoods, posteriors, priors
from kgen.vae.presets import default_decoder, default_encoder


@keras.saving.register_keras_serializable(package="kgen")
class VAE(GenerativeModel):
    """A variational autoencoder. Its loss is the negative ELBO, with the KL term weighted by ``beta``.

    Args:
        image_shape: shape of one example: (H, W, C) for images in [-1, 1], or any shape, such as (D,).
        latent_dim: length d of the latent vector z.
        encoder: maps (B, *image_shape) to the posterior's parameters (B, posterior.size(latent_dim)). Convolutions by default.
        decoder: maps z (B, d) to (B, *image_shape[:-1], image_shape[-1] * likelihood.parameters).
        prior: "standard_normal", "gaussian_mixture", or a ``Prior``.
        posterior: "diagonal", "full", or a ``Posterior``.
        likelihood: "gaussian" (one learned scale), "bernoulli", "categorical", "discretized_logistic", or a ``Likelihood``.
        beta: weight of the KL term (Higgins et al. 2017, beta-VAE); 1 is the ELBO.
        kl_warmup: number of training steps over which the weight grows from 0 to ``beta`` (Bowman et al. 2016); 0 for none.
        free_bits: nats of KL per example that cost nothing (Kingma et al. 2016, Eq. 15, with one group, arXiv 1606.04934).
        ema: decay of averaged weights that everything but training uses, or None.
    """

    likelihood = "bound"
    log_names = ("loss", "reconstruction", "kl")

    def __init__(
        self,
        image_shape,
        latent_dim=16,
        *,
        encoder=None,
        decoder=None,
        prior="standard_normal",
        posterior="diagonal",
        likelihood="gaussian",
        beta=1.0,
        kl_warmup=0,
        free_bits=0.0,
        ema=None,
        name="vae",
        dtype=None,
    ):
        super().__init__(ema=ema, name=name, dtype=dtype)
        self.image_shape = checks.shape("image_shape", image_shape)
        self.latent_dim = checks.positive_int("latent_dim", latent_dim)
        self.beta = checks.in_range("beta", beta, 0.0, 1e6)
        self.kl_warmup = int(checks.in_range("kl_warmup", kl_warmup, 0, 2**31))
        self.free_bits = checks.in_range("free_bits", free_bits, 0.0, 1e6)
        self.prior = priors.get(prior)
        if not self.prior.built:
            self.prior.build(self.latent_dim)
        self.posterior = posteriors.get(posterior)
        self.observation = likelihoods.get(likelihood)
        output_shape = (*self.image_shape[:-1], self.image_shape[-1] * self.observation.parameters)
        size = self.posterior.size(self.latent_dim)
        self.encoder = default_encoder(self.image_shape, size) if encoder is None else encoder
        self.decoder = default_decoder(self.latent_dim, output_shape) if decoder is None else decoder
        _check_network(
            "encoder", self.encoder, self.image_shape, (size,), f"{type(self.posterior).__name__} needs {size} numbers"
        )
        needs = f"{type(self.observation).__name__} needs {self.observation.parameters} for each value"
        _check_network("decoder", self.decoder, (self.latent_dim,), output_shape, needs)
        self.keep_average_of("encoder", "decoder")

    # Training.

    def check_data(self, x, y=None):
        (checks.images if len(self.image_shape) == 3 else checks.rows)("x", x, self.image_shape)
        if y is not None:
            raise ValueError("y: a VAE has no labels. Train by fit(x).")

    def objective(self, batch, training):
        """The negative ELBO of each example, from one sample of z."""
        x = ops.cast(batch.x, "float32")
        noise = keras.random.normal((ops.shape(x)[0], self.latent_dim), seed=self.seed_generator if training else 0)
        parameters = ops.cast(self.encoder(x, training=training), "float32")
        z = self.posterior.sample(parameters, noise)
        output = self.observation.split(self.decoder(z, training=training))
        reconstruction = -self.observation.log_prob(output, x)
        kl = self._kl(parameters, z)
        weight = self.beta
        if training and self.kl_warmup:
            weight = weight * ops.minimum(ops.cast(self.optimizer.iterations, "float32") / self.kl_warmup, 1.0)
        losses = reconstruction + weight * (ops.maximum(kl, self.free_bits) if self.free_bits else kl)
        return losses, {"reconstruction": reconstruction, "kl": kl}

    def _kl(self, parameters, z):
        """KL(q || p) (B,): in closed form where there is one, else its estimate from z."""
        q, p = self.posterior.distribution(parameters), self.prior.distribution()
        try:
            return distributions.kl_divergence(q, p)
        except NotImplementedError:
            return q.log_prob(z) - p.log_prob(z)

    # The protocol. What begins with an underscore takes and gives tensors, and is what is compiled and served.

    def _encode(self, x):
        return ops.cast(self.averaged("encoder")(x), "float32")

    def _decode(self, z):
        return self.observation.split(self.averaged("decoder")(z))

    def _mean(self, z):
        """The mean of p(x | z); images are kept in [-1, 1], which a Gaussian's mean does not know of."""
        mean = self.observation.mean(self._decode(z))
        return ops.clip(mean, -1.0, 1.0) if len(self.image_shape) == 3 else mean

    def _reconstruct(self, x):
        return self._mean(self.posterior.mean(self._encode(x)))

    def call(self, x, training=False):
        """The reconstruction of x from the posterior's mean."""
        parameters = ops.cast(self.encoder(x, training=training), "float32")
        return self.observation.mean(
            self.observation.split(self.decoder(self.posterior.mean(parameters), training=training))
        )

    def sample(self, n, *, seed=None, noise=False, batch_size=None):
        """Draws z from the prior and decodes it.

        Args:
            n: how many.
            seed: int, or None for another result each time. Row i depends on (seed, i) alone.
            noise: whether to draw x from p(x | z); by default its mean is returned, which is what people look at.
            batch_size: rows per compiled call; at most 256 by default.
        Returns:
            numpy float32 array (n, *image_shape).
        """
        seeds = self.row_seeds(n, seed)

        def run(seeds):
            return self._sample(seeds, noise)

        return self.run_rows(("sample", bool(noise)), run, [seeds], batch_size=batch_size, progress=True)

    def _sample(self, seeds, noise=False):
        z = self.prior.sample(seeds, 0)
        return self.observation.sample(self._decode(z), seeds, 1) if noise else self._mean(z)

    def encode(self, x, *, batch_size=None):
        """The posterior's mean: numpy float32 array (B, latent_dim), for x (B, *image_shape)."""
        return self.run_rows(
            "encode", lambda x: self.posterior.mean(self._encode(x)), [self._data(x)], batch_size=batch_size
        )

    def decode(self, z, *, batch_size=None):
        """The mean of p(x | z): numpy float32 array (B, *image_shape), for z (B, latent_dim)."""
        z = np.asarray(z)
        checks.rows("z", z, (self.latent_dim,))
        return self.run_rows("decode", self._mean, [z.astype("float32")], batch_size=batch_size)

    def reconstruct(self, x, *, batch_size=None):
        """``decode(encode(x))``: numpy float32 array (B, *image_shape)."""
        return self.run_rows("reconstruct", self._reconstruct, [self._data(x)], batch_size=batch_size)

    def interpolate(self, a, b, steps=8):
        """Decodes points on the straight line between the latent vectors of two sets of examples.

        Args:
            a, b: float arrays (B, *image_shape).
            steps: number of points, ends included, at least 2.
        Returns:
            numpy float32 array (B, steps, *image_shape); the first and last columns are the reconstructions of a and b.
        """
        checks.pairs(a, b, steps)
        z_a, z_b = self.encode(a), self.encode(b)
        share = np.linspace(0, 1, steps, dtype="float32")[None, :, None]
        z = (1 - share) * z_a[:, None] + share * z_b[:, None]
        return self.decode(z.reshape(-1, self.latent_dim)).reshape(len(z_a), steps, *self.image_shape)

    def traverse(self, x, steps=9, span=2.5):
        """Decodes what one latent coordinate at a time does to an example, the others staying as they are.

        Args:
            x: float array (*image_shape), one example.
            steps: number of values of each coordinate, at least 2.
            span: they go from -span to span.
        Returns:
            numpy float32 array (latent_dim, steps, *image_shape).
        """
        if checks.positive_int("steps", steps) < 2:
            raise ValueError(f"steps: expected at least 2, both ends included, received {steps}.")
        values = np.linspace(-1, 1, steps) * checks.in_range("span", span, 1e-6, 1e6)
        z = np.tile(self.encode(np.asarray(x)[None]), (self.latent_dim, steps, 1))
        for i in range(self.latent_dim):
            z[i, :, i] = values
        return self.decode(z.reshape(-1, self.latent_dim)).reshape(self.latent_dim, steps, *self.image_shape)

    def log_prob(self, x, *, num_samples=100, seed=0, batch_size=None):
        """A lower bound on ln p(x) by importance weighting, which rises to ln p(x) with ``num_samples``.

        ln 1/K sum_k p(x | z_k) p(z_k) / q(z_k | x), z_k ~ q(z | x).

        Args:
            x: float array (B, *image_shape).
            num_samples: K.
            seed: int; the estimate's randomness.
            batch_size: rows per compiled call.
        Returns:
            numpy float32 array (B,), nats: log-probabilities for likelihoods of levels, log-densities for the Gaussian.
        Reference:
            Burda et al., Importance weighted autoencoders, 2016, Eq. 8, arXiv 1509.00519.
        """
        checks.positive_int("num_samples", num_samples)
        x = self._data(x)

        def run(x, seeds):
            return self._log_prob(x, seeds, num_samples)

        return self.run_rows(
            ("log_prob", num_samples), run, [x, random.row_seeds(seed, len(x))], batch_size=batch_size, progress=True
        )

    def _log_prob(self, x, seeds, num_samples):
        parameters = self._encode(x)

        def body(k, total):
            z = self.posterior.sample(parameters, random.normal(seeds, (self.latent_dim,), draw=k))
            weight = self.observation.log_prob(self._decode(z), x) + self.prior.distribution().log_prob(z)
            return ops.logaddexp(total, weight - self.posterior.distribution(parameters).log_prob(z))

        start = ops.full((ops.shape(x)[0],), -1e30, dtype="float32")
        return ops.fori_loop(0, num_samples, body, start) - math.log(num_samples)

    def bits_per_dim(self, x, **kwargs):
        """``-log_prob(x, ...)`` in bits per value: numpy array (B,). Of use with likelihoods of levels."""
        return bits_per_dim(self.log_prob(x, **kwargs), self.image_shape)

    def _data(self, x):
        x = np.asarray(x)
        self.check_data(x)
        return x.astype("float32")

    def endpoints(self):
        images = ("images",) if len(self.image_shape) == 3 else ()
        x = TensorSpec(self.image_shape, "float32", "example", -1.0 if images else None, 1.0 if images else None)
        z = TensorSpec((self.latent_dim,), "float32", "latent vector")
        return [
            Endpoint(
                "sample", lambda seed: {"images": self._sample(seed)}, {"seed": SEED}, {"images": "samples"}, images
            ),
            Endpoint(
                "encode", lambda x: {"z": self.posterior.mean(self._encode(x))}, {"x": x}, {"z": "posterior mean"}
            ),
            Endpoint("decode", lambda z: {"images": self._mean(z)}, {"z": z}, {"images": "mean of p(x | z)"}, images),
            Endpoint(
                "reconstruct",
                lambda x: {"images": self._reconstruct(x)},
                {"x": x},
                {"images": "reconstructions"},
                images,
            ),
            Endpoint(
                "log_prob",
                lambda x, seed: {"log_prob": self._log_prob(x, seed, 100)},
                {"x": x, "seed": SEED},
                {"log_prob": "importance-weighted bound of 100 samples, nats"},
            ),
        ]

    def get_config(self):
        return {
            **super().get_config(),
            "image_shape": list(self.image_shape),
            "latent_dim": self.latent_dim,
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "decoder": keras.saving.serialize_keras_object(self.decoder),
            "prior": keras.saving.serialize_keras_object(self.prior),
            "posterior": keras.saving.serialize_keras_object(self.posterior),
            "likelihood": keras.saving.serialize_keras_object(self.observation),
            "beta": self.beta,
            "kl_warmup": self.kl_warmup,
            "free_bits": self.free_bits,
        }


def _check_network(name, network, input_shape, output_shape, needs):
    """Calls a network on a shape: it must take these inputs and return these outputs."""
    try:
        output = network(keras.KerasTensor((None, *input_shape)))
    except Exception as error:
        raise ValueError(
            f"{name}: expected a network of inputs (B, {', '.join(map(str, input_shape))}); it failed on them: {error}"
        ) from error
    if tuple(output.shape[1:]) != tuple(output_shape):
        raise ValueError(
            f"{name}: expected outputs (B, {', '.join(map(str, output_shape))}) ({needs}), received {tuple(output.shape)}."
        )
