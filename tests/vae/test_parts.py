"""Likelihoods, posteriors and priors against scipy and against their own samples."""

import numpy as np
import pytest
from keras import ops
from scipy import stats

from kgen import distributions
from kgen.core import random
from kgen.vae import (
    BernoulliLikelihood,
    CategoricalLikelihood,
    DiagonalGaussianPosterior,
    DiscretizedLogisticLikelihood,
    FullGaussianPosterior,
    GaussianLikelihood,
    GaussianMixturePrior,
    MeanAndLevelsLikelihood,
    StandardNormalPrior,
)

RNG = np.random.default_rng(0)
LEVELS = 5
LIKELIHOODS = {
    "bernoulli": (BernoulliLikelihood(), np.array([-1.0, 1.0])),
    "categorical": (CategoricalLikelihood(LEVELS), np.linspace(-1, 1, LEVELS)),
    "discretized_logistic": (DiscretizedLogisticLikelihood(2, LEVELS), np.linspace(-1, 1, LEVELS)),
    "mean_and_levels": (MeanAndLevelsLikelihood(2, LEVELS), np.linspace(-1, 1, LEVELS)),
}


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_probabilities_sum_to_one_and_samples_follow_them(name):
    likelihood, values = LIKELIHOODS[name]
    raw = RNG.normal(size=(1, 1, likelihood.parameters)).astype("float32")
    parameters = ops.convert_to_tensor(raw)
    log_p = [likelihood.log_prob(parameters, ops.convert_to_tensor(np.array([[v]], "float32"))) for v in values]
    p = np.exp([float(ops.convert_to_numpy(v)[0]) for v in log_p])
    np.testing.assert_allclose(p.sum(), 1.0, atol=1e-5)
    n = 20_000
    many = ops.convert_to_tensor(np.repeat(raw, n, axis=0))
    samples = ops.convert_to_numpy(likelihood.sample(many, random.row_seeds(0, n), 1))[:, 0]
    counts = np.array([(np.abs(samples - v) < 1e-4).sum() for v in values])
    assert counts.sum() == n
    assert stats.chisquare(counts, p / p.sum() * n).pvalue > 1e-4
    mean = float(ops.convert_to_numpy(likelihood.mean(parameters))[0, 0])
    wanted = np.clip(raw[0, 0, 0], -1, 1) if name == "mean_and_levels" else (p * values).sum()
    np.testing.assert_allclose(mean, wanted, atol=1e-5)


def test_gaussian_is_scipys():
    x, loc = RNG.normal(size=(2, 3, 4)).astype("float32")
    parameters = ops.convert_to_tensor(loc[..., None])
    value = ops.convert_to_numpy(GaussianLikelihood(0.3).log_prob(parameters, ops.convert_to_tensor(x)))
    np.testing.assert_allclose(value, stats.norm(loc, 0.3).logpdf(x).sum(1), rtol=1e-5)


def test_levels_lie_around_the_mean_that_is_given():
    one, around = DiscretizedLogisticLikelihood(1), MeanAndLevelsLikelihood(1)
    x = ops.convert_to_tensor(np.array([[0.5, -1.0]], "float32"))
    # A logistic at 0.3: the mean 0.2 and 0.1 beyond it, or directly.
    beside = ops.convert_to_tensor(np.array([[[0.2, 0.0, 0.1, -1.0]] * 2], "float32"))
    direct = ops.convert_to_tensor(np.array([[[0.0, np.arctanh(0.3 / 1.5), -1.0]] * 2], "float32"))
    found, wanted = (ops.convert_to_numpy(m.log_prob(p, x)) for m, p in ((around, beside), (one, direct)))
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_split_puts_the_parameters_last():
    likelihood = DiscretizedLogisticLikelihood(2)
    assert likelihood.split(ops.zeros((3, 4, 4, 18))).shape == (3, 4, 4, 3, 6)


@pytest.mark.parametrize("posterior", [DiagonalGaussianPosterior(), FullGaussianPosterior()], ids=["diagonal", "full"])
def test_posterior_density_is_that_of_its_samples(posterior):
    d, n = 3, 50_000
    raw = RNG.normal(size=(1, posterior.size(d))).astype("float32")
    many = ops.convert_to_tensor(np.repeat(raw, n, axis=0))
    noise = RNG.normal(size=(n, d)).astype("float32")
    z = posterior.sample(many, ops.convert_to_tensor(noise))
    values = ops.convert_to_numpy(z)
    normal = stats.multivariate_normal(values.mean(0), np.cov(values.T))
    # The density by the library at the first samples, and that of a normal with the samples' moments.
    log_prob = ops.convert_to_numpy(posterior.distribution(many[:50]).log_prob(z[:50]))
    np.testing.assert_allclose(log_prob, normal.logpdf(values[:50]), atol=0.1)
    np.testing.assert_allclose(ops.convert_to_numpy(posterior.mean(many))[0], values.mean(0), atol=0.05)


def test_zero_output_is_the_standard_normal():
    for posterior in (DiagonalGaussianPosterior(), FullGaussianPosterior()):
        prior = StandardNormalPrior()
        prior.build(3)
        q = posterior.distribution(ops.zeros((2, posterior.size(3))))
        np.testing.assert_allclose(
            ops.convert_to_numpy(distributions.kl_divergence(q, prior.distribution())), 0.0, atol=1e-4
        )


def test_mixture_prior_samples_follow_its_density():
    prior = GaussianMixturePrior(3)
    prior.build(1)
    prior.loc.assign(np.array([[-2.0], [0.0], [3.0]], "float32"))
    prior.raw_scale.assign(np.log(np.array([[0.5], [1.0], [0.2]], "float32")))
    prior.logits.assign(np.log(np.array([0.2, 0.5, 0.3], "float32")))
    samples = ops.convert_to_numpy(prior.sample(random.row_seeds(0, 5000)))[:, 0]

    def cdf(v):
        return sum(w * stats.norm(m, s).cdf(v) for w, m, s in [(0.2, -2, 0.5), (0.5, 0, 1.0), (0.3, 3, 0.2)])

    assert stats.kstest(samples, cdf).pvalue > 1e-3
    grid = np.linspace(-6, 6, 2001, dtype="float32")[:, None]
    density = np.exp(ops.convert_to_numpy(prior.distribution().log_prob(ops.convert_to_tensor(grid))))
    np.testing.assert_allclose(density.sum() * 12 / 2000, 1.0, atol=1e-3)
