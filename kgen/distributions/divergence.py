"""Kullback-Leibler divergence between two distributions, in closed form or by Monte Carlo."""

import numbers

from keras import ops

from kgen.backend.probability import stateless_seed


def kl_divergence(p, q, num_samples=None, seed=None):
    """KL(p || q) = E_p[log p(x) - log q(x)], in closed form where there is one.

    Closed forms: Normal, Laplace, Uniform, Bernoulli and Categorical, each with its own kind;
    MultivariateNormalDiag and MultivariateNormalTriL in any pairing; Independent of any of these.

    Args:
        p: distribution of ``kgen.distributions``.
        q: distribution with the event shape of ``p`` and a batch shape that broadcasts with that of ``p``.
        num_samples: int or None. Where no closed form exists, this many samples estimate the divergence
            (``monte_carlo_kl``); None raises instead. It has no effect where a closed form exists.
        seed: as in ``monte_carlo_kl``; needed with ``num_samples``.
    Returns:
        float tensor (batch shape), nats.
    Raises:
        TypeError: ``p`` or ``q`` is not a distribution.
        ValueError: the event shapes differ, or ``num_samples`` comes without ``seed``.
        NotImplementedError: no closed form exists and ``num_samples`` is None.
    """
    _check_pair(p, q)
    if num_samples is not None and seed is None:
        raise ValueError(
            f"`seed` must be given with `num_samples`={num_samples!r}; received None. Pass an int such as 0."
        )
    try:
        return p.kl_divergence(q)
    except NotImplementedError as error:
        if num_samples is None:
            raise NotImplementedError(
                f"KL({_name(p)} || {_name(q)}) has no closed form here. Estimate it with "
                "`monte_carlo_kl(p, q, num_samples, seed)`, or pass `num_samples` and `seed` to `kl_divergence`."
            ) from error
    return monte_carlo_kl(p, q, num_samples, seed)


def monte_carlo_kl(p, q, num_samples, seed):
    """Estimates KL(p || q) by the mean of log p(x_i) - log q(x_i) over x_1 ... x_n drawn from p.

    The estimate is unbiased and may be negative; its standard error falls as 1 / sqrt(num_samples). Its gradient is
    that of the divergence only where the samples of ``p`` are reparameterised (Normal, Laplace, Logistic, Uniform,
    the multivariate normals and Independent of these).

    Args:
        p: distribution of ``kgen.distributions`` with ``sample`` and ``log_prob``.
        q: distribution with the event shape of ``p`` and a batch shape that broadcasts with that of ``p``.
        num_samples: int, at least 1; all samples are held in memory at once.
        seed: int in [0, 2**64) or integer tensor (2,); the same seed gives the same estimate.
    Returns:
        float tensor (batch shape), nats.
    Raises:
        TypeError: ``p`` or ``q`` is not a distribution, or ``seed`` is neither an int nor a pair.
        ValueError: the event shapes differ, or ``num_samples`` is not a positive int.
    """
    _check_pair(p, q)
    if not isinstance(num_samples, numbers.Integral) or isinstance(num_samples, bool) or num_samples < 1:
        raise ValueError(f"`num_samples` must be an int of at least 1; received {num_samples!r}.")
    x = p.sample(int(num_samples), seed=stateless_seed(seed))
    return ops.mean(p.log_prob(x) - q.log_prob(x), axis=0)


def _check_pair(p, q):
    for argument, value in (("p", p), ("q", q)):
        if not all(hasattr(value, name) for name in ("log_prob", "sample", "kl_divergence", "event_shape")):
            raise TypeError(
                f"`{argument}` must be a distribution such as `kgen.distributions.Normal(loc, scale)`; "
                f"received {type(value).__module__}.{type(value).__name__}."
            )
    events = [_static_shape(p.event_shape), _static_shape(q.event_shape)]
    if None not in events and events[0] != events[1]:
        raise ValueError(
            f"`p` and `q` must have the same event shape; received {events[0]} for {_name(p)} and {events[1]} for "
            f"{_name(q)}. "
            "`Independent(distribution, n)` turns the last n batch axes into event axes."
        )


def _static_shape(shape):
    """The shape as a tuple, or None where a traced TensorFlow shape is not fully known."""
    known = getattr(shape, "is_fully_defined", lambda: True)()
    return tuple(shape) if known else None


def _name(distribution):
    return type(distribution).__name__.lstrip("_")
