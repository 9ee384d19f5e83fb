"""TensorFlow Probability's distributions on torch: TFP's class, argument and method names over ``torch.distributions``.

As in TFP ``mean()``, ``variance()`` and ``stddev()`` are methods, ``sample`` is reparameterised wherever that is
possible, discrete samples are int32, and arguments are not validated. Randomness is drawn from a
``torch.Generator``, so that a seed gives the same draw every time and leaves torch's global state alone.
"""

import math
import numbers

import numpy as np
import torch
import torch.nn.functional as F
from keras import ops
from torch import distributions as td


class Distribution:
    """What every distribution answers. A method without a formula raises NotImplementedError.

    ``batch_shape`` counts independent, not identically distributed copies; ``event_shape`` is the shape of one draw.
    """

    batch_shape = torch.Size()
    event_shape = torch.Size()

    def sample(self, sample_shape=(), seed=None):
        """Draws a tensor (sample_shape + batch_shape + event_shape).

        Args:
            sample_shape: int or tuple of ints.
            seed: int in [0, 2**64), a pair of 32-bit words as ``stateless_seed`` gives, or None for torch's global
                state.
        """
        shape = torch.Size([sample_shape] if isinstance(sample_shape, numbers.Integral) else sample_shape)
        return self._draw(shape, _generator(seed, self._device))

    def log_prob(self, value):
        """Log density or log mass of ``value`` (... + batch_shape + event_shape), summed over the event; nats."""
        return self._log_prob(_tensor(value, self._dtype))

    def prob(self, value):
        return torch.exp(self.log_prob(value))

    def log_cdf(self, value):
        """log P(X <= value)."""
        return self._log_cdf(_tensor(value, self._dtype))

    def log_survival_function(self, value):
        """log P(X > value)."""
        return self._log_survival_function(_tensor(value, self._dtype))

    def cdf(self, value):
        return torch.exp(self.log_cdf(value))

    def survival_function(self, value):
        return torch.exp(self.log_survival_function(value))

    def stddev(self):
        return torch.sqrt(self.variance())

    def mean(self):
        raise self._missing("mean")

    def variance(self):
        raise self._missing("variance")

    def entropy(self):
        """Entropy (batch_shape), nats."""
        raise self._missing("entropy")

    def kl_divergence(self, other):
        """KL(self || other) (batch_shape) in closed form, nats; NotImplementedError where none is known."""
        divergence = self._kl(other) if isinstance(other, Distribution) else None
        if divergence is None:
            raise NotImplementedError(f"KL({type(self).__name__} || {type(other).__name__}) has no closed form here.")
        return divergence

    def _kl(self, other):
        return None

    def _log_cdf(self, value):
        raise self._missing("cdf")

    def _log_survival_function(self, value):
        raise self._missing("survival function")

    def _rand(self, shape, generator):
        """Uniform draws in (0, 1): torch.rand includes 0, whose log is -inf."""
        draws = torch.rand(shape + self.batch_shape, generator=generator, dtype=self._dtype, device=self._device)
        return draws.clamp_min(torch.finfo(self._dtype).eps / 2.0)

    def _randn(self, shape, generator):
        shape = shape + self.batch_shape + self.event_shape
        return torch.randn(shape, generator=generator, dtype=self._dtype, device=self._device)

    def _missing(self, what):
        return NotImplementedError(f"{type(self).__name__} has no {what} in closed form; estimate it from samples.")


class _Wrapped(Distribution):
    """A distribution whose formulas are those of the ``torch.distributions`` object ``base``."""

    def __init__(self, base):
        self.base = base
        self.batch_shape, self.event_shape = base.batch_shape, base.event_shape
        self._dtype, self._device = base.mean.dtype, base.mean.device

    def _log_prob(self, value):
        return self.base.log_prob(value)

    def mean(self):
        return self.base.mean

    def variance(self):
        return self.base.variance

    def entropy(self):
        return self.base.entropy()

    def _kl(self, other):
        return td.kl_divergence(self.base, other.base) if type(other) is type(self) else None


class _LocationScale(_Wrapped):
    """X = loc + scale * Z with Z symmetric around 0: a subclass says how Z is drawn and what log P(Z <= z) is."""

    def __init__(self, loc, scale):
        self.loc, self.scale = _floats(loc, scale)
        super().__init__(self._base_class(self.loc, self.scale, validate_args=False))

    def _draw(self, shape, generator):
        return self.loc + self.scale * self._draw_standard(shape, generator)

    def _log_cdf(self, value):
        return self._log_cdf_standard((value - self.loc) / self.scale)

    def _log_survival_function(self, value):
        return self._log_cdf_standard((self.loc - value) / self.scale)


class Normal(_LocationScale):
    _base_class = td.Normal

    def _draw_standard(self, shape, generator):
        return self._randn(shape, generator)

    def _log_cdf_standard(self, z):
        return torch.special.log_ndtr(z)


class Laplace(_LocationScale):
    _base_class = td.Laplace

    def _draw_standard(self, shape, generator):
        centred = self._rand(shape, generator) - 0.5
        return -torch.sign(centred) * torch.log1p(-2.0 * torch.abs(centred))

    def _log_cdf_standard(self, z):
        below = torch.clamp(z, max=0.0) - math.log(2.0)
        above = torch.log1p(-0.5 * torch.exp(-torch.clamp(z, min=0.0)))
        return torch.where(z < 0.0, below, above)


class _TorchLogistic(td.Distribution):
    """The logistic distribution, which ``torch.distributions`` lacks."""

    def __init__(self, loc, scale, validate_args=None):
        self.loc, self.scale = loc, scale
        super().__init__(loc.shape, validate_args=validate_args)

    def log_prob(self, value):
        z = (value - self.loc) / self.scale
        return F.logsigmoid(z) + F.logsigmoid(-z) - torch.log(self.scale)

    @property
    def mean(self):
        return self.loc

    @property
    def variance(self):
        return (math.pi * self.scale) ** 2 / 3.0

    def entropy(self):
        return torch.log(self.scale) + 2.0


class Logistic(_LocationScale):
    _base_class = _TorchLogistic

    def _draw_standard(self, shape, generator):
        return torch.logit(self._rand(shape, generator))

    def _log_cdf_standard(self, z):
        return F.logsigmoid(z)

    def _kl(self, other):
        return None


class Uniform(_Wrapped):
    def __init__(self, low=0.0, high=1.0):
        self.low, self.high = _floats(low, high)
        super().__init__(td.Uniform(self.low, self.high, validate_args=False))

    def _draw(self, shape, generator):
        return self.low + (self.high - self.low) * self._rand(shape, generator)

    def _log_prob(self, value):  # TFP counts both ends as inside, torch only the lower
        inside = (value >= self.low) & (value <= self.high)
        return torch.where(inside, -torch.log(self.high - self.low), -torch.inf)

    def _log_cdf(self, value):
        return torch.log(torch.clamp((value - self.low) / (self.high - self.low), 0.0, 1.0))

    def _log_survival_function(self, value):
        return torch.log(torch.clamp((self.high - value) / (self.high - self.low), 0.0, 1.0))


class _Finite(Distribution):
    """X in {0 ... K-1} with log probabilities ``_log_probs`` (batch_shape, K), which may be -inf."""

    def logits_parameter(self):
        return self._logits

    def mean(self):
        return self._moment(1)

    def variance(self):
        return self._moment(2) - self._moment(1) ** 2

    def entropy(self):
        return -torch.sum(_times_log(torch.exp(self._log_probs), self._log_probs), dim=-1)

    def _kl(self, other):
        if type(other) is not type(self):
            return None
        return -self.entropy() - torch.sum(_times_log(torch.exp(self._log_probs), other._log_probs), dim=-1)

    def _moment(self, power):
        probs = torch.exp(self._log_probs)
        return torch.sum(probs * torch.arange(probs.shape[-1], dtype=probs.dtype, device=probs.device) ** power, dim=-1)


class Bernoulli(_Finite):
    """X in {0, 1}. ``probs`` of exactly 0 or 1 give log_prob -inf, where ``torch.distributions`` would clamp them."""

    def __init__(self, logits=None, probs=None):
        (parameter,) = _floats(_one_of("Bernoulli", logits=logits, probs=probs))
        self.batch_shape, self._dtype, self._device = parameter.shape, parameter.dtype, parameter.device
        if probs is None:
            self._log_probs = torch.stack([F.logsigmoid(-parameter), F.logsigmoid(parameter)], dim=-1)
            self._logits = parameter
        else:
            self._log_probs = torch.stack([torch.log1p(-parameter), torch.log(parameter)], dim=-1)
            self._logits = self._log_probs[..., 1] - self._log_probs[..., 0]

    def probs_parameter(self):
        return torch.exp(self._log_probs[..., 1])

    def _draw(self, shape, generator):
        return (self._rand(shape, generator) < self.probs_parameter()).to(torch.int32)

    def _log_prob(self, value):
        return torch.sum(_times_log(torch.stack([1.0 - value, value], dim=-1), self._log_probs), dim=-1)


class Categorical(_Finite):
    """X in {0 ... K-1}; the parameter is (batch_shape, K). ``probs`` of exactly 0 give log_prob -inf."""

    def __init__(self, logits=None, probs=None):
        (parameter,) = _floats(_one_of("Categorical", logits=logits, probs=probs))
        self.batch_shape, self._device = parameter.shape[:-1], parameter.device
        self._dtype = torch.int64  # what torch indexes with; samples are int32 as in TFP
        self._logits = parameter if probs is None else torch.log(parameter)
        self._log_probs = torch.log_softmax(self._logits, dim=-1)

    def probs_parameter(self):
        return torch.exp(self._log_probs)

    def _draw(self, shape, generator):
        probs = self.probs_parameter().reshape(-1, self._log_probs.shape[-1])
        draws = torch.multinomial(probs, shape.numel(), replacement=True, generator=generator)
        return draws.T.reshape(shape + self.batch_shape).to(torch.int32)

    def _log_prob(self, value):
        value, log_probs = torch.broadcast_tensors(value[..., None], self._log_probs)
        return torch.gather(log_probs, -1, value[..., :1])[..., 0]


class _MultivariateNormal(_Wrapped):
    """loc + scale @ Z, Z standard normal; loc (..., d)."""

    def _draw(self, shape, generator):
        return self.loc + self._scale_matmul(self._randn(shape, generator))

    def _kl(self, other):
        if type(other) is type(self):
            return td.kl_divergence(self.base, other.base)
        return td.kl_divergence(self._dense(), other._dense()) if isinstance(other, _MultivariateNormal) else None


class MultivariateNormalDiag(_MultivariateNormal):
    """Normal with covariance diag(scale_diag^2); scale_diag (..., d) is 1 and loc 0 where left out."""

    def __init__(self, loc=None, scale_diag=None):
        _check_given("MultivariateNormalDiag", loc=loc, scale_diag=scale_diag)
        loc = 0.0 if loc is None else loc
        self.loc, self.scale_diag = _floats(loc, 1.0 if scale_diag is None else scale_diag)
        normal = td.Normal(self.loc, self.scale_diag, validate_args=False)
        super().__init__(td.Independent(normal, 1, validate_args=False))

    def _scale_matmul(self, z):
        return self.scale_diag * z

    def _dense(self):
        return td.MultivariateNormal(self.loc, scale_tril=torch.diag_embed(self.scale_diag), validate_args=False)


class MultivariateNormalTriL(_MultivariateNormal):
    """Normal with covariance L L^T; L is the lower triangle of scale_tril (..., d, d), the identity where left out."""

    def __init__(self, loc=None, scale_tril=None):
        _check_given("MultivariateNormalTriL", loc=loc, scale_tril=scale_tril)
        scale_tril = torch.diag_embed(torch.ones_like(_floats(loc)[0])) if scale_tril is None else scale_tril
        loc = 0.0 if loc is None else _tensor(loc)[..., None]  # beside every column, so that the two broadcast
        loc, scale_tril = _floats(loc, scale_tril)
        base = td.MultivariateNormal(loc[..., 0], scale_tril=torch.tril(scale_tril), validate_args=False)
        super().__init__(base)
        self.loc, self.scale_tril = base.loc, base.scale_tril

    def _scale_matmul(self, z):
        return torch.einsum("...ij,...j->...i", self.scale_tril, z)

    def _dense(self):
        return self.base


class Independent(Distribution):
    """Counts the last ``reinterpreted_batch_ndims`` batch axes as event axes; None takes all but the first."""

    def __init__(self, distribution, reinterpreted_batch_ndims=None):
        axes = len(distribution.batch_shape)
        n = max(0, axes - 1) if reinterpreted_batch_ndims is None else int(reinterpreted_batch_ndims)
        if not 0 <= n <= axes:
            raise ValueError(
                f"`reinterpreted_batch_ndims` must lie in 0..{axes}, the number of axes of the batch shape "
                f"{tuple(distribution.batch_shape)} of {type(distribution).__name__}; received {n}."
            )
        self.distribution, self.reinterpreted_batch_ndims = distribution, n
        self.batch_shape = distribution.batch_shape[: axes - n]
        self.event_shape = distribution.batch_shape[axes - n :] + distribution.event_shape
        self._dtype, self._device = distribution._dtype, distribution._device

    def _draw(self, shape, generator):
        return self.distribution._draw(shape, generator)

    def _log_prob(self, value):
        return self._sum(self.distribution._log_prob(value))

    def mean(self):
        return self.distribution.mean()

    def variance(self):
        return self.distribution.variance()

    def entropy(self):
        return self._sum(self.distribution.entropy())

    def _kl(self, other):
        if type(other) is not Independent or other.reinterpreted_batch_ndims != self.reinterpreted_batch_ndims:
            return None
        return self._sum(self.distribution.kl_divergence(other.distribution))

    def _sum(self, value):
        return (
            value.sum(dim=tuple(range(-self.reinterpreted_batch_ndims, 0))) if self.reinterpreted_batch_ndims else value
        )


class MixtureSameFamily(Distribution):
    """A mixture of the K distributions along the last batch axis of the components, weighted by a Categorical."""

    def __init__(self, mixture_distribution, components_distribution):
        weights, components = mixture_distribution._log_probs.shape[-1], tuple(components_distribution.batch_shape)
        if not components or components[-1] != weights:
            raise ValueError(
                f"The last batch axis of `components_distribution` must have length {weights}, as many as "
                f"`mixture_distribution` has categories; received batch shape {components}."
            )
        self.mixture_distribution, self.components_distribution = mixture_distribution, components_distribution
        self.batch_shape, self.event_shape = (
            components_distribution.batch_shape[:-1],
            components_distribution.event_shape,
        )
        self._dtype, self._device = components_distribution._dtype, components_distribution._device
        self._axis = -1 - len(self.event_shape)  # where the component axis stands in a draw

    def _draw(self, shape, generator):
        # Weights may have fewer batch axes than the components: every element of the batch picks for itself.
        log_probs = self.mixture_distribution._log_probs.expand(*self.batch_shape, -1)
        picked = Categorical(logits=log_probs)._draw(shape, generator).long()
        draws = self.components_distribution._draw(shape, generator)
        picked = picked.reshape(picked.shape + (1,) * -self._axis)
        picked = picked.expand(*draws.shape[: self._axis], 1, *self.event_shape)
        return torch.gather(draws, self._axis, picked).squeeze(self._axis)

    def _log_prob(self, value):
        return self._logsumexp(self.components_distribution._log_prob(value.unsqueeze(self._axis)))

    def _log_cdf(self, value):
        return self._logsumexp(self.components_distribution._log_cdf(value.unsqueeze(self._axis)))

    def _log_survival_function(self, value):
        return self._logsumexp(self.components_distribution._log_survival_function(value.unsqueeze(self._axis)))

    def mean(self):
        return self._average(self.components_distribution.mean())

    def variance(self):
        means = self.components_distribution.mean()
        spread = (means - self._average(means).unsqueeze(self._axis)) ** 2
        return self._average(self.components_distribution.variance() + spread)

    def _logsumexp(self, log_components):
        return torch.logsumexp(self.mixture_distribution._log_probs + log_components, dim=-1)

    def _average(self, value):
        weights = torch.exp(self.mixture_distribution._log_probs)
        return torch.sum(weights.reshape(weights.shape + (1,) * len(self.event_shape)) * value, dim=self._axis)


class QuantizedDistribution(Distribution):
    """Y = ceil(X) on whole numbers, cut off at ``low`` and ``high``, which take the tails.

    P[Y = j] = P[X <= low] at low, P[X > high - 1] at high, P[j - 1 < X <= j] between, 0 outside. The mass is the
    difference of two cdfs left of the median and of two survival functions right of it, in logs, so that neither
    tail is lost.
    """

    def __init__(self, distribution, low=None, high=None):
        self.distribution, self._dtype, self._device = distribution, distribution._dtype, distribution._device
        self.low = _tensor(-torch.inf if low is None else low, self._dtype)
        self.high = _tensor(torch.inf if high is None else high, self._dtype)
        self.batch_shape, self.event_shape = distribution.batch_shape, distribution.event_shape

    def _draw(self, shape, generator):
        return torch.clamp(torch.ceil(self.distribution._draw(shape, generator)), self.low, self.high)

    def _log_cdf(self, value):
        j = torch.floor(value)
        return self._cut(j, self.distribution._log_cdf(j), below=-torch.inf, above=0.0)

    def _log_survival_function(self, value):
        j = torch.floor(value)
        return self._cut(j, self.distribution._log_survival_function(j), below=0.0, above=-torch.inf)

    def _log_prob(self, value):
        j = torch.clamp(torch.floor(value), self.low, self.high)
        log_cdf, log_survival = self._log_cdf(j), self._log_survival_function(j)
        right = log_survival < log_cdf
        large = torch.where(right, self._log_survival_function(j - 1.0), log_cdf)
        small = torch.where(right, log_survival, self._log_cdf(j - 1.0))
        # log(exp(large) - exp(small)); a difference lost to rounding counts as the smallest positive number, not as 0.
        gap = torch.clamp(large - small, min=torch.finfo(self._dtype).tiny)
        log_prob = large + torch.log(-torch.expm1(-gap))
        return torch.where((torch.floor(value) == j) & (large > -torch.inf), log_prob, -torch.inf)

    def _cut(self, j, result, below, above):
        return torch.where(j < self.low, below, torch.where(j < self.high, result, above))


def _tensor(value, dtype=None):
    tensor = ops.convert_to_tensor(value)
    return tensor if dtype is None else tensor.to(dtype)


def _floats(*values):
    """Parameters as tensors of one float dtype and one shape; a bare Python number takes the others' dtype."""
    tensors = [_tensor(value) for value in values]
    typed = [
        t
        for t, value in zip(tensors, values, strict=True)
        if t.is_floating_point() and not isinstance(value, numbers.Real)
    ]
    dtype = typed[0].dtype if typed else _tensor(0.0).dtype
    for tensor in typed[1:]:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return torch.broadcast_tensors(*(tensor.to(dtype) for tensor in tensors))


def _one_of(name, logits, probs):
    if (logits is None) == (probs is None):
        received = "neither" if logits is None else "both"
        raise ValueError(f"{name} takes exactly one of `logits` and `probs`; received {received}.")
    return logits if probs is None else probs


def _check_given(name, **parameters):
    if all(value is None for value in parameters.values()):
        names = " or ".join(f"`{parameter}`" for parameter in parameters)
        raise ValueError(f"{name} needs {names} or both to know its dimension; received neither.")


def _times_log(weight, log_value):
    """weight * log_value, 0 where the weight is 0 even if the log is -inf."""
    return torch.where(weight == 0.0, 0.0, weight * log_value)


def _generator(seed, device):
    if seed is None:
        return None
    if isinstance(seed, numbers.Integral):
        seed = (int(seed) >> 32, int(seed))
    # torch's CPU generator reads only the low 32 bits of its seed: both words are mixed into them first.
    words = [int(word) & 0xFFFFFFFF for word in seed]
    return torch.Generator(device=device).manual_seed(int(np.random.SeedSequence(words).generate_state(1)[0]))
