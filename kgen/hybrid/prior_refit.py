"""Another prior for a trained autoencoder: a model of its codes, fitted when the autoencoder is done.

A decoder knows the codes of data, and those that an autoencoder's own prior draws are often none: between them lies what makes samples
bad. A prior of the aggregate posterior q(z) = E_x[q(z | x)] draws what the decoder knows; of all priors it gives the largest bound on
ln p(x).

Reference:
    Hoffman & Johnson, ELBO surgery, 2016; Dai & Wipf, Diagnosing and enhancing VAE models, 2019, arXiv 1903.05789 (a second VAE);
    Ghosh et al., From variational to deterministic autoencoders, 2020, arXiv 1903.12436 (a mixture of Gaussians).
"""

import inspect
import math

import keras
import numpy as np
from keras import ops

from kgen.autoregressive import GPT, CodePixelCNN, PixelCNN
from kgen.core import Endpoint, GenerativeModel, TensorSpec, checks, random
from kgen.core.conditions import Conditions
from kgen.core.endpoints import SEED
from kgen.core.units import bits_per_dim
from kgen.hybrid.frozen import frozen_copy
from kgen.vae import VAE


@keras.saving.register_keras_serializable(package="kgen")
class PriorRefit(GenerativeModel):
    """A trained autoencoder and a model of its codes, as one model: ``PriorRefit(vae, GaussianMixture((16,))).fit(x)``.

    ``fit(x)`` encodes x once and calls the prior's own ``fit`` on the codes, with whatever else it is given; ``compile`` and
    ``evaluate`` are the prior's too. A prior that was fitted before on ``codes(x)`` is taken as it is. What the prior is a model of:

    - a ``CodePixelCNN``, or a ``GPT`` of as many tokens as there are codes, row by row: the integer codes of a ``VQVAE``, those of all
      levels of a ``VQVAE2``;
    - a ``PixelCNN`` of (h, w, 1) with as many levels as there are codes: those of a ``VQVAE`` whose neighbouring codes are alike;
    - any other (``GaussianMixture``, a ``Flow``, another ``VAE``, a ``DDPM``, of maps with ``clip=False``): continuous latents, of a VAE
      drawn from q(z | x).

    Conditions of the prior, such as classes, are those of the pair: ``fit(x, labels)``, ``sample(n, labels=...)``; so are those of the
    autoencoder.

    Args:
        autoencoder: a trained autoencoder of ``kgen.vae``. The model keeps a frozen copy.
        prior: any of kgen's models that samples, of the codes' shape. The model keeps it, not a copy.
    Raises:
        TypeError: the autoencoder has no latents, or the prior is no model of kgen's.
        ValueError: the prior is one of other codes.
    """

    def __init__(self, autoencoder, prior, *, name="prior_refit", dtype=None):
        if not isinstance(prior, GenerativeModel):
            raise TypeError(f"prior: expected a model such as kgen.vae.GaussianMixture((16,)), received {prior!r}.")
        autoencoder = frozen_copy(autoencoder)
        known = {c.name for c in autoencoder.conditions}
        conditions = [*autoencoder.conditions, *(c for c in prior.conditions if c.name not in known)]
        super().__init__(conditions=Conditions(conditions), name=name, dtype=dtype)
        self.autoencoder, self.prior = autoencoder, prior
        self.shape, self.latent_shape = autoencoder.shape, tuple(autoencoder.latent_shape)
        kinds = {GPT: _Tokens, PixelCNN: _Pixels, CodePixelCNN: _Maps}
        self._kind = next((k for c, k in kinds.items() if isinstance(prior, c)), _Latents)(autoencoder, prior)
        self._offered = {e.name: e for e in prior.endpoints()}
        if "sample" not in self._offered:
            raise ValueError(f"prior: expected a model that samples, received {type(prior).__name__}.")
        both = getattr(autoencoder, "likelihood", None) == "bound" and prior.likelihood in ("exact", "bound")
        self.likelihood = "bound" if both and "log_prob" in self._offered else "implicit"
        self._follow()

    def _follow(self):
        """Functions of the pair are compiled as the prior's are."""
        self._given_jit_compile = self.prior._given_jit_compile
        if self.prior.compiled:
            self.jit_compile = self.prior.jit_compile

    # Training: the prior's.

    @property
    def optimizer(self):
        """The prior's."""
        return getattr(self.prior, "optimizer", None)

    def default_optimizer(self):
        return self.prior.default_optimizer()

    def compile(self, optimizer=None, **kwargs):
        """As the prior's ``compile``; a ``GaussianMixture`` needs none."""
        self.prior.compile(optimizer, **kwargs)
        self._follow()

    @property
    def data_name(self):
        """What the data is called in ``fit({"image": ..., "label": ...})``."""
        return "image" if len(self.shape) == 3 else "x"

    def check_examples(self, x):
        return self.autoencoder.check_examples(x)

    def codes(self, x, *, seed=0, batch_size=None, **conditions):
        """The codes of examples as the prior sees them: what ``prior.fit`` takes.

        Args:
            x: float array (B, *shape).
            seed: int; of the draw from q(z | x). Several draws of each example are those of ``np.repeat(x, 5, axis=0)``.
            batch_size: rows per compiled call; at most 256 by default.
            **conditions: the autoencoder's, if it has any, by keyword, such as ``labels=``.
        Returns:
            numpy array: float32 (B, *latent_shape); for a PixelCNN (B, h, w, 1) in [-1, 1]; for a GPT or CodePixelCNN int32 (B, n).
        """
        x = self.examples(x)
        values = self.autoencoder.conditions.rows(len(x), conditions)
        arrays = {"x": x, "seeds": random.row_seeds(seed, len(x)), **values}
        return self.run_rows("codes", self._kind.codes, arrays, batch_size=batch_size)

    def fit(self, x=None, y=None, **kwargs):
        """Fits the prior to the codes of ``x``, float array (N, *shape), or a dict of it and conditions.

        Args:
            x, y: the examples, and what conditions them.
            **kwargs: of the prior's ``fit``: ``epochs``, ``batch_size`` ...; ``validation_data`` is of examples, too. Callbacks see
                the prior.
        Returns:
            what the prior's ``fit`` returns, a ``History``.
        Raises:
            TypeError: the prior's ``fit`` takes no such argument.
        """
        taken = inspect.signature(self.prior.fit).parameters
        if not any(p.kind == p.VAR_KEYWORD for p in taken.values()):
            for name in set(kwargs) - set(taken):
                raise TypeError(
                    f"{name}: the fit of a {type(self.prior).__name__} takes {', '.join(n for n in taken if n not in 'xy')}; received "
                    f"{name}={kwargs[name]!r}."
                )
        if kwargs.get("validation_data") is not None:
            held_out = kwargs["validation_data"]
            held_out = held_out if isinstance(held_out, (list, tuple)) else (held_out,)
            coded, weight = self._coded(*held_out[:2]), held_out[2:]
            kwargs["validation_data"] = (*coded, *[None] * (2 - len(coded)), *weight) if weight else coded
        return self.prior.fit(*self._coded(x, y), **kwargs)

    def evaluate(self, x=None, y=None, **kwargs):
        """As the prior's ``evaluate``, of the codes of ``x``."""
        return self.prior.evaluate(*self._coded(x, y), **kwargs)

    def train_on_batch(self, x, y=None, *args, **kwargs):
        """As the prior's ``train_on_batch``, of the codes of ``x``."""
        coded = self._coded(x, y)
        return self.prior.train_on_batch(*coded, *([None] * (2 - len(coded))), *args, **kwargs)

    def _coded(self, x, y=None):
        """``(codes,)`` or ``(codes, y)`` for the prior."""
        x, given = self.conditions.separate(x, y, self.data_name)
        own = {c.keyword: given[c.name] for c in self.autoencoder.conditions}
        of_prior = {c.name: given[c.name] for c in self.prior.conditions}
        y = next(iter(of_prior.values())) if len(of_prior) == 1 else of_prior or None
        codes = self.codes(checks.data_array("x", x), **own)
        return (codes,) if y is None else (codes, y)

    def call(self, x, training=False):
        """The autoencoder's reconstruction of x."""
        return self.autoencoder(x)

    # What takes row seeds and tensors, and is compiled and served.

    def sample_rows(self, seeds, **inputs):
        """Decoded draws of the prior, (B, *shape), for row seeds (B, 2); ``inputs`` are conditions, and what the prior's endpoint
        "sample" takes beside."""
        own = {k: v for k, v in inputs.items() if k in self.autoencoder.conditions.specs()}
        rest = {k: v for k, v in inputs.items() if k in self._offered["sample"].inputs}
        return self.decode_prior_rows(self._kind.draw(seeds, **rest), **own)

    def decode_prior_rows(self, codes, **values):
        """Examples (B, *shape) of codes as the prior gives them."""
        return self._kind.decode(codes, **values)

    def log_prob_rows(self, x, seeds, *, num_samples=100, **values):
        """The importance-weighted bound on ln p(x) under the prior, (B,), nats; see ``VAE.log_prob``."""
        own = {k: v for k, v in values.items() if k in self.autoencoder.conditions.specs()}
        taken = self._offered["log_prob"].inputs
        rest = {k: v for k, v in values.items() if k in taken}

        def prior_log_prob(z, seeds):
            if isinstance(self.prior, VAE):  # one draw of u for each of z: a bound of the pairs (z, u)
                return self.prior.log_prob_rows(z, seeds, num_samples=1, **rest)
            more = {"seed": seeds} if "seed" in taken else {}
            return self._offered["log_prob"].function(x=z, **more, **rest)["log_prob"]

        return self.autoencoder.log_prob_rows(x, seeds, num_samples=num_samples, prior_log_prob=prior_log_prob, **own)

    # The protocol.

    def _options(self):
        """What the prior's sampling takes beside seed and conditions: dict from a name to its ``TensorSpec``."""
        known = {"seed", *self.conditions.specs()}
        return {k: v for k, v in self._offered["sample"].inputs.items() if k not in known}

    def sample(self, n, *, seed=None, batch_size=None, **given):
        """Draws codes from the prior and decodes them, in one compiled call.

        Args:
            n: how many.
            seed: int, or None for another result each time. Row i depends on (seed, i) alone.
            batch_size: rows per compiled call; at most 256 by default.
            **given: conditions, one value for all rows or one for each, such as ``labels=``; and what the prior's endpoint "sample"
                takes, such as a flow's ``temperature=``.
        Returns:
            numpy float32 array (n, *shape).
        """
        arrays = {"seeds": self.row_seeds(n, seed)}
        for name, spec in self._options().items():
            value = given.pop(name, spec.default)
            arrays[name] = np.full((n, *spec.shape), checks.in_range(name, value, spec.low, spec.high), spec.dtype)
        arrays |= self.conditions.rows(n, given)
        return self.run_rows("sample", self.sample_rows, arrays, batch_size=batch_size, loop=True)

    def log_prob(self, x, *, num_samples=100, seed=0, batch_size=None, **conditions):
        """A lower bound on ln p(x) under the prior, of a VAE with a prior that has a likelihood; arguments as in ``VAE.log_prob``."""
        if self.likelihood == "implicit":
            return super().log_prob(x)
        x, num_samples = self.examples(x), checks.positive_int("num_samples", num_samples)

        def run(x, seeds, **values):
            return self.log_prob_rows(x, seeds, num_samples=num_samples, **values)

        arrays = {"x": x, "seeds": random.row_seeds(seed, len(x)), **self.conditions.rows(len(x), conditions)}
        return self.run_rows(("log_prob", num_samples), run, arrays, batch_size=batch_size, progress=True)

    def bits_per_dim(self, x, **kwargs):
        """``-log_prob(x, ...)`` in bits per value: numpy array (B,). Of use with likelihoods of levels."""
        return bits_per_dim(self.log_prob(x, **kwargs), self.shape)

    def encode(self, x, **kwargs):
        """As the autoencoder's ``encode``."""
        return self.autoencoder.encode(x, **kwargs)

    def decode(self, z, **kwargs):
        """As the autoencoder's ``decode``."""
        return self.autoencoder.decode(z, **kwargs)

    def reconstruct(self, x, **kwargs):
        """As the autoencoder's ``reconstruct``."""
        return self.autoencoder.reconstruct(x, **kwargs)

    def interpolate(self, a, b, steps=8, **kwargs):
        """As the autoencoder's ``interpolate``."""
        return self.autoencoder.interpolate(a, b, steps, **kwargs)

    def endpoints(self):
        images = ("images",) if len(self.shape) == 3 else ()
        others = [e for e in self.autoencoder.endpoints() if e.name not in ("sample", "log_prob")]
        inputs = {"seed": SEED, **self.conditions.specs(), **self._options()}

        def sample(seed, **values):
            return {"images": self.sample_rows(seed, **values)}

        def log_prob(x, seed, **values):
            return {"log_prob": self.log_prob_rows(x, seed, **values)}

        what = f"decoded draws of a {type(self.prior).__name__}"
        found = [Endpoint("sample", sample, inputs, {"images": what}, images), *others]
        if self.likelihood == "bound":
            x = next(e for e in others if e.name == "encode").inputs["x"]
            inputs = {"x": x, "seed": SEED, **self.conditions.specs()}
            what = "importance-weighted bound of 100 samples, nats"
            found.append(Endpoint("log_prob", log_prob, inputs, {"log_prob": what}))
        return found

    def get_config(self):
        config = super().get_config()
        del config["ema"]
        parts = {name: keras.saving.serialize_keras_object(getattr(self, name)) for name in ("autoencoder", "prior")}
        return {**config, **parts}


class _Latents:
    """Continuous latents, as they are."""

    def __init__(self, autoencoder, prior):
        self.autoencoder, self.prior = autoencoder, prior
        self.check()

    def check(self):
        found = getattr(self.prior, "shape", getattr(self.prior, "shape", None))
        wanted = tuple(self.autoencoder.latent_shape)
        if found is not None and tuple(found) != wanted:
            raise ValueError(f"prior: expected a model of latents of shape {wanted}, received one of {tuple(found)}.")
        try:
            self.prior.check_examples(
                np.linspace(-9.0, 9.0, 2 * math.prod(wanted), dtype="float32").reshape(2, *wanted)
            )
        except ValueError as error:
            kind = type(self.prior).__name__
            raise ValueError(
                f"prior: a {kind} of {wanted} does not take latents, which may be any numbers ({error}). A diffusion model of "
                f"maps takes them with clip=False, as in kgen.hybrid.LatentDiffusion; or take kgen.vae.GaussianMixture({wanted}), or for "
                "vectors a flow or a second VAE."
            ) from error

    def codes(self, x, seeds, **values):
        return self.autoencoder.latent_draw_rows(x, seeds, **values)

    def decode(self, codes, **values):
        return self.autoencoder.from_latent_rows(codes, **values)

    def draw(self, seeds, **inputs):
        if isinstance(self.prior, VAE) and self.prior.likelihood == "bound":
            # A draw of p(z | u), not its mean: Dai & Wipf 2019, section 4.
            return self.prior.sample_rows(seeds, noise=True, **inputs)
        sample = next(e for e in self.prior.endpoints() if e.name == "sample")
        return next(iter(sample.function(seed=seeds, **inputs).values()))


class _Tokens(_Latents):
    """Integer codes row by row: int32 (B, h w)."""

    def check(self):
        shape, count = self._integers()
        if self.prior.context != int(np.prod(shape)) or self.prior.vocabulary_size != count:
            raise ValueError(
                f"prior: expected a GPT of {count} tokens with context={int(np.prod(shape))}, the codes of {shape}, received one of "
                f"{self.prior.vocabulary_size} with context={self.prior.context}."
            )

    def _integers(self):
        """The shape of one example's codes, and how many codes there are."""
        spec = self.autoencoder.latent_spec()
        if not isinstance(spec, TensorSpec) or spec.dtype != "int32":
            kind = type(self.prior).__name__
            raise ValueError(
                f"prior: a {kind} is a model of integer codes, and {self.autoencoder.name} has none. For latent vectors take "
                "kgen.vae.GaussianMixture, a flow or a second VAE."
            )
        return spec.shape, int(spec.high) + 1

    def codes(self, x, seeds, **values):
        codes = self.autoencoder.encode_rows(x, **values)
        return ops.reshape(codes, (-1, int(np.prod(self._integers()[0]))))

    def decode(self, codes, **values):
        return self.autoencoder.decode_rows(ops.reshape(codes, (-1, *self._integers()[0])), **values)


class _Maps(_Tokens):
    """Integer codes of all levels, each row by row: int32 (B, n)."""

    def check(self):
        shape, count = self._integers()
        shapes = tuple(getattr(self.autoencoder, "code_shapes", (shape,)))
        if self.prior.code_shapes != shapes or self.prior.num_codes != count:
            raise ValueError(
                f"prior: expected a CodePixelCNN of maps {shapes} with num_codes={count}, the codes, received one of "
                f"{self.prior.code_shapes} with num_codes={self.prior.num_codes}."
            )


class _Pixels(_Tokens):
    """Integer codes k of K as the levels 2 k / (K - 1) - 1 of an image (B, h, w, 1)."""

    def check(self):
        shape, count = self._integers()
        if self.prior.shape != (*shape, 1) or self.prior.mixture.levels != count:
            raise ValueError(
                f"prior: expected a PixelCNN of {(*shape, 1)} with levels={count}, as many as there are codes, received one of "
                f"{self.prior.shape} with levels={self.prior.mixture.levels}."
            )

    def codes(self, x, seeds, **values):
        codes = ops.cast(self.autoencoder.encode_rows(x, **values), "float32")
        return ops.expand_dims(2.0 * codes / (self._integers()[1] - 1) - 1.0, -1)

    def decode(self, codes, **values):
        index = ops.cast(ops.round((codes[..., 0] + 1.0) * (self._integers()[1] - 1) / 2.0), "int32")
        return self.autoencoder.decode_rows(index, **values)
