"""The variational autoencoder.

ln p(x) >= E_q(z|x)[ln p(x | z)] - KL(q(z | x) || p(z)), the evidence lower bound (ELBO), in nats per example. Where there are conditions
y, it bounds ln p(x | y), with q(z | x, y) and p(x | z, y) in their places.

Reference:
    Kingma & Welling, Auto-encoding variational Bayes, 2014, arXiv 1312.6114; Rezende et al. 2014, arXiv 1401.4082.
"""

import dataclasses
import math

import keras
import numpy as np
from keras import ops

from kgen.core import Endpoint, TensorSpec, checks, random
from kgen.core.endpoints import SEED
from kgen.core.units import bits_per_dim
from kgen.vae import defaults, likelihoods, posteriors, priors
from kgen.vae.autoencoder import Autoencoder, check_network
from kgen.vae.losses import beyond_free_bits, divergence

PARTS = ("encoder", "decoder", "prior", "observation")


@keras.saving.register_keras_serializable(package="kgen")
class VAE(Autoencoder):
    """A variational autoencoder. Its loss is the negative ELBO, with the KL term weighted by ``beta``.

    Args:
        shape: shape of one example: (H, W, C) for images in [-1, 1], or any shape, such as (D,).
        latent_dim: length d of the latent vector z.
        encoder: maps x (B, *shape), or [x, *conditions], to the posterior's parameters (B, posterior.size(latent_dim)).
            Convolutions by default.
        decoder: maps z (B, d), or [z, *conditions], to (B, *shape[:-1], shape[-1] * observation.parameters).
        prior: "standard_normal", "gaussian_mixture", or a ``Prior``.
        posterior: "diagonal", "full", or a ``Posterior``.
        observation: p(x | z): "gaussian" (one learned scale), "bernoulli", "categorical", "discretized_logistic", or a ``Likelihood``.
        conditions: what examples are conditioned on, as in ``GenerativeModel``; the networks are then yours.
        beta: weight of the KL term (Higgins et al. 2017, beta-VAE); 1 is the ELBO.
        kl_warmup: number of training steps over which the weight grows from 0 to ``beta`` (Bowman et al. 2016); 0 for none.
        free_bits: nats of KL that cost nothing: the loss takes max(free_bits, mean of KL over the batch) (Kingma et al. 2016, Eq. 15,
            with one group, arXiv 1606.04934).
        ema: decay of averaged weights that everything but training uses, or None.
        ema_of: what is averaged, among "encoder", "decoder", "prior" and "observation"; all that have weights by default.
    """

    likelihood = "bound"
    log_names = ("loss", "reconstruction", "kl")
    described = {"sample": "samples", "encode": "posterior mean", "decode": "mean of p(x | z)"}

    def __init__(
        self,
        shape,
        latent_dim=16,
        *,
        encoder=None,
        decoder=None,
        prior="standard_normal",
        posterior="diagonal",
        observation="gaussian",
        conditions=(),
        beta=1.0,
        kl_warmup=0,
        free_bits=0.0,
        ema=None,
        ema_of=None,
        name="vae",
        dtype=None,
    ):
        super().__init__(ema=ema, conditions=conditions, name=name, dtype=dtype)
        self.shape = checks.shape("shape", shape)
        self.latent_dim = checks.positive_int("latent_dim", latent_dim)
        self.beta = checks.in_range("beta", beta, 0.0, 1e6)
        self.kl_warmup = int(checks.in_range("kl_warmup", kl_warmup, 0, 2**31))
        self.free_bits = checks.in_range("free_bits", free_bits, 0.0, 1e6)
        self.prior = priors.get(prior)
        self.prior.check(self.shape, self.conditions)
        if not self.prior.built:
            self.prior.build(self.latent_dim)
        self.posterior = posteriors.get(posterior)
        self.observation = likelihoods.get(observation)
        output_shape = (*self.shape[:-1], self.shape[-1] * self.observation.parameters)
        size = self.posterior.size(self.latent_dim)
        self.encoder = self.default_encoder(size) if encoder is None else encoder
        self.decoder = self.default_decoder(output_shape) if decoder is None else decoder
        self.check_encoder(size)
        needs = f"{type(self.observation).__name__} needs {self.observation.parameters} for each value"
        check_network("decoder", self.decoder, self._symbols((self.latent_dim,)), output_shape, needs)
        self.ema_of = None if ema_of is None else [checks.one_of("ema_of", part, PARTS) for part in ema_of]
        parts = PARTS if ema_of is None else self.ema_of
        self.keep_average_of(*(part for part in parts if getattr(self, part).weights))

    def _symbols(self, shape):
        first = keras.KerasTensor((None, *shape))
        return self.network_inputs(first, dict(zip(self.conditions.specs(), self.conditions.symbols(), strict=True)))

    def check_encoder(self, size):
        """Raises ValueError unless the encoder returns ``size`` numbers for each example."""
        needs = f"{type(self.posterior).__name__} needs {size} numbers"
        check_network("encoder", self.encoder, self._symbols(self.shape), (size,), needs)

    def default_encoder(self, size):
        """The encoder for those who bring none: examples to (B, size)."""
        self._need_networks("encoder")
        return defaults.encoder(self.shape, size, self.dtype_policy)

    def default_decoder(self, output_shape):
        """The decoder for those who bring none: latent vectors to (B, *output_shape)."""
        self._need_networks("decoder")
        return defaults.decoder(self.latent_dim, output_shape, self.dtype_policy)

    def _need_networks(self, name):
        if len(self.conditions):
            first = "x" if name == "encoder" else "z"
            raise ValueError(
                f"{name}: a VAE with conditions needs networks of yours; pass {name}=, a network of [{first}, "
                f"{', '.join(self.conditions.specs())}]."
            )

    @property
    def latent_shape(self):
        return (self.latent_dim,)

    # Training.

    def objective(self, batch, training):
        """The negative ELBO of each example, from one sample of z."""
        x, values = ops.cast(batch.x, "float32"), batch.conditions
        if training and self.conditions.droppable:
            values = self.conditions.dropped(values, random.fold_in(batch.seeds, 1))
        encoder, decoder, observation = (
            self.network_for(training, part) for part in ("encoder", "decoder", "observation")
        )
        seen = self.corrupted(x, batch.seeds) if training else x
        encoded = encoder(self.network_inputs(seen, values), training=training)
        noise = random.normal(batch.seeds, (self.latent_dim,))
        parameters, z, output = self.through(decoder, encoded, values, noise, training)
        output = observation.split(output)
        if training:
            observation.measure(output, x, batch.weight)
        reconstruction = -observation.log_prob(output, x)
        penalty, logs = self.penalty(parameters, z, batch, training)
        return reconstruction + penalty, {"reconstruction": reconstruction, **logs}

    def through(self, decoder, encoded, values, noise=None, training=False):
        """From what an encoder returned to what a decoder returns.

        Args:
            decoder: the decoder, or its average.
            encoded: what the encoder, or its average, returned.
            values: tensors of the conditions, by name.
            noise: standard normal numbers (B, latent_dim) that a draw of z is made of; None for the posterior's mean.
        Returns:
            ``(parameters, z, output)``: the posterior's, float32 (B, posterior.size(latent_dim)); (B, latent_dim); the decoder's output.
        """
        parameters = ops.cast(encoded, "float32")
        z = self.posterior.mean(parameters) if noise is None else self.posterior.sample(parameters, noise)
        return parameters, z, decoder(self.network_inputs(z, values), training=training)

    def corrupted(self, x, seeds):
        """What the encoder sees of x (B, *shape) in training, by row seeds (B, 2): x itself."""
        return x

    def penalty(self, parameters, z, batch, training):
        """What the loss adds to the reconstruction term.

        Args:
            parameters: the posterior's, float32 (B, posterior.size(latent_dim)).
            z: a draw from it, (B, latent_dim).
            batch, training: as in ``objective``.
        Returns:
            ``(penalty, logs)``: (B,), and a dict of what to log.
        """
        kl = divergence(self.posterior.distribution(parameters), self.prior_for(training).distribution(), z)
        weight = self.warmed_up(self.beta, training)
        return weight * beyond_free_bits(kl, self.free_bits, batch.weight), {"kl": kl}

    def prior_for(self, training):
        """The prior of a loss, or in evaluation its average; where it is made of the posterior, with the encoder in it."""
        return self.network_for(training, "prior").of(self.network_for(training, "encoder"), self.posterior)

    def warmed_up(self, weight, training):
        """A weight that grows from 0 over the first ``kl_warmup`` steps of training."""
        if not (training and self.kl_warmup):
            return weight
        return weight * ops.minimum(ops.cast(self.steps_taken(), "float32") / self.kl_warmup, 1.0)

    def steps_taken(self):
        """The number of training steps so far."""
        return self.optimizer.iterations

    # What takes and gives tensors, and is compiled and served; see ``Autoencoder``.

    def posterior_rows(self, x, **values):
        """The posterior's parameters: float32 tensor (B, posterior.size(latent_dim)), for x (B, *shape)."""
        return ops.cast(self.averaged("encoder")(self.network_inputs(x, values)), "float32")

    def observation_rows(self, z, **values):
        """The parameters of p(x | z): float32 tensor (B, *shape, observation.parameters), for z (B, latent_dim)."""
        return self.averaged("observation").split(self.averaged("decoder")(self.network_inputs(z, values)))

    def encode_rows(self, x, **values):
        """The posterior's mean: float32 tensor (B, latent_dim), for x (B, *shape)."""
        return self.posterior.mean(self.posterior_rows(x, **values))

    def decode_rows(self, z, **values):
        """The mean of p(x | z), (B, *shape), for z (B, latent_dim). Images are kept in [-1, 1], of which a Gaussian's mean
        does not know."""
        mean = self.averaged("observation").mean(self.observation_rows(z, **values))
        return ops.clip(mean, -1.0, 1.0) if len(self.shape) == 3 else mean

    latent_rows, from_latent_rows = encode_rows, decode_rows

    def latent_draw_rows(self, x, seeds, **values):
        """A draw from q(z | x) for each row: float32 tensor (B, latent_dim), with row seeds (B, 2)."""
        return self.posterior.sample(self.posterior_rows(x, **values), random.normal(seeds, (self.latent_dim,)))

    def sample_rows(self, seeds, *, noise=False, **values):
        """Examples (B, *shape) for row seeds (B, 2): means of p(x | z), or with ``noise`` draws from it."""
        z = self.prior_for(training=False).sample(seeds, 0)
        if not noise:
            return self.decode_rows(z, **values)
        return self.averaged("observation").sample(self.observation_rows(z, **values), seeds, 1)

    def log_prob_rows(self, x, seeds, *, num_samples=100, prior_log_prob=None, **values):
        """The importance-weighted bound on ln p(x): float32 tensor (B,), nats, for x (B, *shape) and row seeds (B, 2).

        ``prior_log_prob`` maps z (B, latent_dim) and row seeds to ln p(z) (B,) of another prior than the model's own; or, with draws
        of these seeds, to the logarithm of an unbiased estimate of p(z).
        """
        encoded, prior = self.averaged("encoder")(self.network_inputs(x, values)), self.prior_for(training=False)
        decoder, observation = self.averaged("decoder"), self.averaged("observation")

        def body(k, total):
            noise = random.normal(seeds, (self.latent_dim,), draw=k)
            parameters, z, output = self.through(decoder, encoded, values, noise)
            weight = observation.log_prob(observation.split(output), x)
            if prior_log_prob is None:
                weight = weight + prior.distribution().log_prob(z)
            else:
                weight = weight + prior_log_prob(z, random.fold_in(seeds, k))
            return ops.logaddexp(total, weight - self.posterior.distribution(parameters).log_prob(z))

        start = ops.full((ops.shape(x)[0],), -1e30, dtype="float32")
        return ops.fori_loop(0, num_samples, body, start) - math.log(num_samples)

    # The protocol.

    def call(self, inputs, training=False):
        """The reconstruction of x, or of [x, *conditions], from the posterior's mean."""
        x, *values = inputs if len(self.conditions) else [inputs]
        values = dict(zip(self.conditions.specs(), values, strict=True))
        encoded = self.encoder(self.network_inputs(x, values), training=training)
        output = self.through(self.decoder, encoded, values, training=training)[-1]
        return self.observation.mean(self.observation.split(output))

    def sample(self, n, *, seed=None, noise=False, batch_size=None, **conditions):
        """Draws z from the prior and decodes it.

        Args:
            n: how many.
            seed: int, or None for another result each time. Row i depends on (seed, i) alone.
            noise: whether to draw x from p(x | z); by default its mean is returned, which is what people look at.
            batch_size: rows per compiled call; at most 256 by default.
            **conditions: one value for all rows or one for each, by keyword, such as ``labels=``.
        Returns:
            numpy float32 array (n, *shape).
        """

        def run(seeds, **values):
            return self.sample_rows(seeds, noise=noise, **values)

        arrays, key = {"seeds": self.row_seeds(n, seed)}, ("sample", bool(noise))
        return self.run_examples(key, run, arrays, conditions, batch_size=batch_size, progress=True)

    def decode(self, z, *, batch_size=None, **conditions):
        """The mean of p(x | z): numpy float32 array (B, *shape), for z (B, latent_dim); conditions as in ``sample``."""
        z = checks.data_array("z", z)
        checks.rows("z", z, self.latent_shape)
        arrays = {"z": z.astype("float32")}
        return self.run_examples("decode", self.decode_rows, arrays, conditions, batch_size=batch_size)

    def traverse(self, x, steps=9, span=2.5, **conditions):
        """Decodes what one latent coordinate at a time does to an example, the others staying as they are.

        Args:
            x: float array (*shape), one example.
            steps: number of values of each coordinate, at least 2.
            span: they go from -span to span.
            **conditions: as in ``sample``, of the one example.
        Returns:
            numpy float32 array (latent_dim, steps, *shape).
        """
        if checks.positive_int("steps", steps) < 2:
            raise ValueError(f"steps: expected at least 2, both ends included, received {steps}.")
        values = np.linspace(-1, 1, steps) * checks.in_range("span", span, 1e-6, 1e6)
        z = np.tile(self.encode(np.asarray(x)[None], **conditions), (self.latent_dim, steps, 1))
        for i in range(self.latent_dim):
            z[i, :, i] = values
        found = self.decode(z.reshape(-1, self.latent_dim), **conditions)
        return found.reshape(self.latent_dim, steps, *self.shape)

    def log_prob(self, x, *, num_samples=100, seed=0, batch_size=None, **conditions):
        """A lower bound on ln p(x) by importance weighting, which rises to ln p(x) with ``num_samples``.

        ln 1/K sum_k p(x | z_k) p(z_k) / q(z_k | x), z_k ~ q(z | x).

        Args:
            x: float array (B, *shape).
            num_samples: K.
            seed: int; the estimate's randomness.
            batch_size: rows per compiled call.
            **conditions: as in ``sample``.
        Returns:
            numpy float32 array (B,), nats: log-probabilities for likelihoods of levels, log-densities for the Gaussian.
        Reference:
            Burda et al., Importance weighted autoencoders, 2016, Eq. 8, arXiv 1509.00519.
        """
        checks.positive_int("num_samples", num_samples)
        x = self.examples(x)

        def run(x, seeds, **values):
            return self.log_prob_rows(x, seeds, num_samples=num_samples, **values)

        arrays = {"x": x, "seeds": random.row_seeds(seed, len(x))}
        key = ("log_prob", num_samples)
        return self.run_examples(key, run, arrays, conditions, batch_size=batch_size, progress=True)

    def bits_per_dim(self, x, **kwargs):
        """``-log_prob(x, ...)`` in bits per value: numpy array (B,). Of use with likelihoods of levels."""
        return bits_per_dim(self.log_prob(x, **kwargs), self.shape)

    def latent_spec(self):
        return TensorSpec(self.latent_shape, "float32", "latent vector")

    def endpoints(self):
        sample, encode, *others = super().endpoints()

        def log_prob(x, seed, **values):
            return {"log_prob": self.log_prob_rows(x, seed, **values)}

        x = dataclasses.replace(encode.inputs["x"], levels=getattr(self.observation, "levels", None))
        inputs = {"x": x, "seed": SEED, **self.conditions.specs()}
        what = {"log_prob": "importance-weighted bound of 100 samples, nats"}
        return [sample, encode, *others, Endpoint("log_prob", log_prob, inputs, what)]

    def get_config(self):
        objects = ("encoder", "decoder", "prior", "posterior", "observation")
        plain = ("latent_dim", "beta", "kl_warmup", "free_bits", "ema_of")
        return {
            **super().get_config(),
            "shape": list(self.shape),
            "conditions": self.conditions.get_config(),
            **{name: keras.saving.serialize_keras_object(getattr(self, name)) for name in objects},
            **{name: getattr(self, name) for name in plain},
        }

    @classmethod
    def from_config(cls, config):
        if "likelihood" in config:  # as 0.1 called it, which averaged the networks alone
            config = {"ema_of": ["encoder", "decoder"], **config}
            config["observation"] = config.pop("likelihood")
        return super().from_config(config)
