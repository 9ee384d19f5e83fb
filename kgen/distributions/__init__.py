"""Probability distributions under TensorFlow Probability's names, on TensorFlow, JAX and torch.

On TensorFlow and JAX these are TFP's own classes. On torch they are the classes of
``kgen.backend.torch_distributions``, which rest on ``torch.distributions`` and answer TFP's methods:
``log_prob(x)``, ``sample(sample_shape, seed)``, ``mean()``, ``variance()``, ``stddev()``, ``entropy()``,
``kl_divergence(other)``, ``batch_shape``, ``event_shape``. The classes are loaded on first use, because importing
TFP takes more than a second.

A draw that is the same every time, on any backend: ``Normal(0.0, 1.0).sample(4, seed=stateless_seed(0))``.
"""

import difflib

from kgen.backend import probability
from kgen.backend.probability import stateless_seed
from kgen.distributions.discretized import (
    discretized_logistic_log_prob,
    discretized_logistic_mixture_log_prob,
    discretized_logistic_mixture_mean,
)
from kgen.distributions.divergence import kl_divergence, monte_carlo_kl

# The names that are classes of the backend in use; TFP spells them the same way.
_CLASSES = (
    "Bernoulli",
    "Categorical",
    "Independent",
    "Laplace",
    "Logistic",
    "MixtureSameFamily",
    "MultivariateNormalDiag",
    "MultivariateNormalTriL",
    "Normal",
    "QuantizedDistribution",
    "Uniform",
)

__all__ = [
    *_CLASSES,
    "discretized_logistic_log_prob",
    "discretized_logistic_mixture_log_prob",
    "discretized_logistic_mixture_mean",
    "kl_divergence",
    "monte_carlo_kl",
    "stateless_seed",
]


def __getattr__(name):
    if name in _CLASSES:
        return getattr(probability.distributions(), name)
    near = difflib.get_close_matches(name, __all__)
    hint = f"Did you mean {' or '.join(near)}?" if near else f"It has: {', '.join(__all__)}."
    raise AttributeError(f"module 'kgen.distributions' has no attribute {name!r}. {hint}")


def __dir__():
    return sorted(__all__)
