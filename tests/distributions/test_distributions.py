import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from scipy import special, stats

import kgen.distributions as kd
from kgen.backend import probability

LOC = np.array([-1.5, 0.0, 4.0], "float32")
SCALE = np.array([0.3, 1.0, 2.5], "float32")
X = np.linspace(-6.0, 6.0, 25, dtype="float32")[:, None]
LOWER = np.array([[1.0, 0.0], [0.5, 2.0]], "float32")


def to_numpy(value):
    return keras.ops.convert_to_numpy(value)


def close(received, expected, rtol=1e-5, atol=1e-5):
    np.testing.assert_allclose(to_numpy(received), expected, rtol=rtol, atol=atol)


CONTINUOUS = {
    "Normal": (lambda: kd.Normal(LOC, SCALE), stats.norm(LOC, SCALE)),
    "Laplace": (lambda: kd.Laplace(LOC, SCALE), stats.laplace(LOC, SCALE)),
    "Logistic": (lambda: kd.Logistic(LOC, SCALE), stats.logistic(LOC, SCALE)),
    "Uniform": (lambda: kd.Uniform(LOC, LOC + SCALE), stats.uniform(LOC, SCALE)),
}


@pytest.mark.parametrize("name", CONTINUOUS)
def test_continuous_agrees_with_scipy(name):
    make, known = CONTINUOUS[name]
    distribution = make()
    close(distribution.log_prob(X), known.logpdf(X))
    close(distribution.cdf(X), known.cdf(X))
    close(distribution.mean(), known.mean())
    close(distribution.stddev(), known.std())
    close(distribution.variance(), known.var())
    close(distribution.entropy(), known.entropy())
    assert tuple(distribution.batch_shape) == (3,)
    assert tuple(distribution.event_shape) == ()


@pytest.mark.parametrize("name", ["Normal", "Laplace", "Logistic"])
def test_log_tails_do_not_underflow(name):
    make, known = CONTINUOUS[name]
    far = np.array([[-60.0], [60.0]], "float32")
    close(make().log_cdf(far), known.logcdf(far))
    close(make().log_survival_function(far), known.logsf(far))


def test_uniform_counts_both_ends_as_inside():
    close(kd.Uniform(1.0, 3.0).log_prob([0.9, 1.0, 3.0, 3.1]), [-np.inf, -np.log(2.0), -np.log(2.0), -np.inf])


def test_bernoulli_agrees_with_scipy_from_logits_and_from_probs():
    logits = np.array([-30.0, -1.0, 0.0, 2.0], "float32")
    probs = special.expit(logits.astype("float64"))
    x = np.array([[0], [1]])
    expected = np.stack([special.log_expit(-logits.astype("float64")), special.log_expit(logits.astype("float64"))])
    close(kd.Bernoulli(logits=logits).log_prob(x), expected)
    for distribution in (kd.Bernoulli(logits=logits), kd.Bernoulli(probs=probs.astype("float32"))):
        close(distribution.log_prob(x)[:, 1:], stats.bernoulli.logpmf(x, probs)[:, 1:])
        close(distribution.mean(), probs)
        close(distribution.variance(), probs * (1.0 - probs))
        close(distribution.entropy(), stats.bernoulli(probs).entropy())


def test_bernoulli_of_a_grey_value_interpolates():
    grey = keras.ops.convert_to_tensor(np.float32([0.3]))  # a tensor: TFP would cast a numpy array to int32
    log_prob = kd.Bernoulli(logits=np.float32([1.5])).log_prob(grey)
    close(log_prob, [0.3 * special.log_expit(1.5) + 0.7 * special.log_expit(-1.5)])


def test_categorical_agrees_with_scipy_from_logits_and_from_probs():
    logits = np.array([[0.0, 1.0, -2.0], [3.0, 3.0, 0.0]], "float32")
    probs = special.softmax(logits.astype("float64"), axis=-1)
    x = np.array([[0, 0], [1, 2], [2, 1]], "int32")
    levels = np.arange(3)
    for distribution in (kd.Categorical(logits=logits), kd.Categorical(probs=probs.astype("float32"))):
        close(distribution.log_prob(x), np.log(probs[np.arange(2), x]))
        close(distribution.entropy(), [stats.entropy(row) for row in probs])
        close(distribution.mean(), probs @ levels)
        close(distribution.variance(), probs @ levels**2 - (probs @ levels) ** 2)
        assert tuple(distribution.batch_shape) == (2,)


def test_probabilities_of_exactly_zero_and_one():
    close(kd.Bernoulli(probs=[0.0, 1.0]).log_prob([[0.0, 0.0], [1.0, 1.0]]), [[0.0, -np.inf], [-np.inf, 0.0]])
    close(kd.Categorical(probs=[0.5, 0.5, 0.0]).log_prob([0, 2]), [-np.log(2.0), -np.inf])
    close(kd.Categorical(probs=[0.5, 0.5, 0.0]).entropy(), np.log(2.0))
    close(kd.Bernoulli(probs=[0.0, 1.0]).entropy(), [0.0, 0.0])


def test_multivariate_normals_agree_with_scipy():
    loc = np.array([1.0, -2.0], "float32")
    x = np.random.default_rng(0).normal(size=(7, 2)).astype("float32")
    for distribution, covariance in (
        (kd.MultivariateNormalDiag(loc, np.float32([0.5, 3.0])), np.diag([0.25, 9.0])),
        (kd.MultivariateNormalTriL(loc, LOWER), LOWER @ LOWER.T),
        (kd.MultivariateNormalTriL(loc, LOWER + np.float32([[0, 7], [0, 0]])), LOWER @ LOWER.T),
        (kd.MultivariateNormalTriL(loc=loc), np.eye(2)),
        (kd.MultivariateNormalDiag(loc=loc), np.eye(2)),
    ):
        known = stats.multivariate_normal(loc, covariance)
        close(distribution.log_prob(x), known.logpdf(x))
        close(distribution.entropy(), known.entropy())
        close(distribution.mean(), loc)
        close(distribution.variance(), np.diag(covariance))
        assert tuple(distribution.batch_shape) == ()
        assert tuple(distribution.event_shape) == (2,)


def test_multivariate_normals_broadcast_over_batches():
    loc = np.zeros((4, 2), "float32")
    x = np.ones((4, 2), "float32")
    expected = np.full(4, stats.multivariate_normal([0, 0], LOWER @ LOWER.T).logpdf([1, 1]))
    close(kd.MultivariateNormalTriL(loc, LOWER).log_prob(x), expected)
    close(kd.MultivariateNormalTriL(scale_tril=np.stack([LOWER] * 4)).log_prob(x), expected)
    assert to_numpy(kd.MultivariateNormalTriL(loc, LOWER).sample(3, seed=kd.stateless_seed(0))).shape == (3, 4, 2)


def test_independent_sums_over_its_event():
    loc = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float32")
    base = kd.Normal(loc, np.float32(0.7))
    distribution = kd.Independent(base, 2)
    assert (tuple(distribution.batch_shape), tuple(distribution.event_shape)) == ((2,), (3, 4))
    close(distribution.log_prob(loc + 1.0), stats.norm.logpdf(1.0 / 0.7) * np.full(2, 12.0) - 12.0 * np.log(0.7))
    close(distribution.entropy(), 12.0 * stats.norm(scale=0.7).entropy() * np.ones(2))
    close(distribution.mean(), loc)
    assert to_numpy(distribution.sample((5, 1), seed=kd.stateless_seed(0))).shape == (5, 1, 2, 3, 4)


def test_mixture_log_prob_is_the_logsumexp_of_its_components():
    logits = np.array([0.3, -1.0, 2.0], "float32")
    mixture = kd.MixtureSameFamily(kd.Categorical(logits=logits), kd.Normal(LOC, SCALE))
    weights = special.softmax(logits.astype("float64"))
    x = X[:, 0]
    close(mixture.log_prob(x), special.logsumexp(np.log(weights) + stats.norm(LOC, SCALE).logpdf(X), axis=1))
    close(mixture.cdf(x), stats.norm(LOC, SCALE).cdf(X) @ weights)
    mean = weights @ LOC
    close(mixture.mean(), mean)
    close(mixture.variance(), weights @ (SCALE**2 + LOC**2) - mean**2)


def test_mixture_of_events_with_its_own_weights_per_batch(compiled):
    rng = np.random.default_rng(1)
    logits, loc = rng.normal(size=(4, 3)).astype("float32"), rng.normal(size=(4, 3, 2)).astype("float32")
    x = rng.normal(size=(4, 2)).astype("float32")

    def answers():
        components = kd.MultivariateNormalDiag(loc, np.ones((4, 3, 2), "float32"))
        mixture = kd.MixtureSameFamily(kd.Categorical(logits=logits), components)
        return mixture.log_prob(x), mixture.mean(), mixture.sample(20000, seed=kd.stateless_seed(5))

    log_prob, mean, draws = (to_numpy(value) for value in compiled(answers)())
    weights = special.softmax(logits.astype("float64"), axis=-1)
    by_component = stats.norm.logpdf(x[:, None], loc).sum(-1)
    close(log_prob, special.logsumexp(np.log(weights) + by_component, axis=-1))
    close(mean, np.einsum("bk,bkd->bd", weights, loc))
    assert draws.shape == (20000, 4, 2)
    assert (np.abs(draws.mean(axis=0) - mean) < 5.0 * draws.std(axis=0) / np.sqrt(20000)).all()


def test_quantized_distribution_folds_the_tails_into_its_cutoffs():
    known = stats.logistic(3.2, 1.7)
    cdf = known.cdf(np.arange(0, 8))
    mass = np.concatenate([cdf[:1], np.diff(cdf), known.sf([7.0])])
    distribution = kd.QuantizedDistribution(kd.Logistic(3.2, 1.7), low=0.0, high=8.0)
    levels = np.arange(9, dtype="float32")
    close(distribution.log_prob(levels), np.log(mass))
    close(distribution.prob(levels + 0.5), mass)  # a fraction counts as its floor
    close(distribution.cdf(levels), np.cumsum(mass))
    draws = to_numpy(distribution.sample(20000, seed=kd.stateless_seed(0)))
    counts = np.array([(draws == level).sum() for level in levels])
    assert counts.sum() == 20000
    assert stats.chisquare(counts, mass / mass.sum() * 20000).pvalue > 1e-3


@pytest.mark.parametrize("name", ["Normal", "Laplace", "Logistic", "Uniform"])
def test_quantized_distribution_without_cutoffs(name):
    make, known = CONTINUOUS[name]
    j = np.arange(-1, 5, dtype="float32")[:, None]
    expected = np.where(j > known.mean(), known.sf(j - 1) - known.sf(j), known.cdf(j) - known.cdf(j - 1))
    close(kd.QuantizedDistribution(make()).prob(j), expected, atol=2e-6)


def test_quantized_tails_do_not_cancel():
    distribution = kd.QuantizedDistribution(kd.Logistic(0.0, 1.0))
    width = np.log(-np.expm1(-1.0))
    close(distribution.log_prob([-60.0, 61.0]), [-60.0 + width, -60.0 + width])


@pytest.mark.parametrize("name", CONTINUOUS)
def test_samples_follow_the_distribution(name):
    make, known = CONTINUOUS[name]
    draws = to_numpy(make().sample(4000, seed=kd.stateless_seed(1)))
    assert draws.shape == (4000, 3)
    uniforms = known.cdf(draws)
    for column in range(3):
        assert stats.kstest(uniforms[:, column], "uniform").pvalue > 1e-3


def test_discrete_samples_follow_the_distribution():
    probs = np.array([[0.2, 0.5, 0.3], [0.1, 0.1, 0.8]], "float32")
    draws = to_numpy(kd.Categorical(probs=probs).sample(10000, seed=kd.stateless_seed(1)))
    assert draws.dtype == np.int32
    assert draws.shape == (10000, 2)
    for column in range(2):
        assert stats.chisquare(np.bincount(draws[:, column], minlength=3), probs[column] * 10000).pvalue > 1e-3
    draws = to_numpy(kd.Bernoulli(probs=probs[0]).sample((100, 100), seed=kd.stateless_seed(1)))
    assert draws.dtype == np.int32
    assert draws.shape == (100, 100, 3)
    assert (np.abs(draws.mean(axis=(0, 1)) - probs[0]) < 5.0 * np.sqrt(probs[0] * (1 - probs[0]) / 10000)).all()


def test_multivariate_samples_have_the_covariance():
    for distribution, covariance in (
        (kd.MultivariateNormalTriL(np.float32([1, 2]), LOWER), LOWER @ LOWER.T),
        (kd.MultivariateNormalDiag(np.float32([1, 2]), np.float32([0.5, 3])), np.diag([0.25, 9.0])),
    ):
        draws = to_numpy(distribution.sample(20000, seed=kd.stateless_seed(2))).astype("float64")
        whitened = (draws - [1, 2]) @ np.linalg.inv(np.linalg.cholesky(covariance)).T
        assert np.abs(whitened.mean(axis=0)).max() < 5.0 / np.sqrt(20000)
        assert np.abs(np.cov(whitened.T) - np.eye(2)).max() < 5.0 * np.sqrt(2.0 / 20000)


def test_a_seed_gives_the_same_draw_and_another_seed_another():
    distribution = kd.Normal(LOC, SCALE)
    first = to_numpy(distribution.sample(4, seed=kd.stateless_seed(7)))
    np.testing.assert_array_equal(first, to_numpy(distribution.sample(4, seed=kd.stateless_seed(7))))
    for other in (8, 7 + 2**32):
        assert not np.allclose(first, to_numpy(distribution.sample(4, seed=kd.stateless_seed(other))))
    pair = keras.random.SeedGenerator(3).next()
    again = keras.random.SeedGenerator(3).next()
    np.testing.assert_array_equal(
        to_numpy(distribution.sample(4, seed=kd.stateless_seed(pair))),
        to_numpy(distribution.sample(4, seed=kd.stateless_seed(again))),
    )


def test_wrong_seeds_are_refused():
    with pytest.raises(ValueError, match=r"`seed` must lie in \[0, 2\*\*64\); received -1"):
        kd.stateless_seed(-1)
    with pytest.raises(TypeError, match=r"`seed` must be an int or an integer tensor of shape \(2,\); received 'a'"):
        kd.stateless_seed("a")


def test_log_prob_is_differentiable(gradient):
    x = np.float32([2.0, -1.0, 3.0])
    z = (x - LOC) / SCALE
    d_x, d_loc, d_scale = gradient(lambda x, loc, scale: kd.Normal(loc, scale).log_prob(x), x, LOC, SCALE)
    close(d_x, -z / SCALE)
    close(d_loc, z / SCALE)
    close(d_scale, (z**2 - 1.0) / SCALE)
    (d_loc,) = gradient(lambda loc: kd.Logistic(loc, SCALE).log_prob(x), LOC)
    close(d_loc, np.tanh(z / 2.0) / SCALE)
    (d_logits,) = gradient(lambda logits: kd.Bernoulli(logits=logits).log_prob(np.float32([0, 1, 1])), LOC)
    close(d_logits, np.float32([0, 1, 1]) - special.expit(LOC))
    (d_logits,) = gradient(lambda logits: kd.Categorical(logits=logits).log_prob(2), LOC)
    close(d_logits, np.float32([0, 0, 1]) - special.softmax(LOC))


def test_quantized_gradient_is_that_of_the_cdf_difference(gradient):
    levels = np.arange(9, dtype="float32")
    low, high = np.where(levels == 0, -np.inf, levels - 1), np.where(levels == 8, np.inf, levels)
    known = stats.logistic(3.2, 1.7)
    expected = (known.pdf(low) - known.pdf(high)) / (known.cdf(high) - known.cdf(low))
    (d_loc,) = gradient(
        lambda loc: kd.QuantizedDistribution(kd.Logistic(loc, 1.7), 0.0, 8.0).log_prob(levels), np.full(9, 3.2)
    )
    close(d_loc, expected)


@pytest.mark.parametrize("name", ["Normal", "Laplace", "Logistic", "MultivariateNormalDiag"])
def test_samples_are_reparameterised(name, gradient):
    (d_loc,) = gradient(lambda loc: getattr(kd, name)(loc, SCALE).sample(seed=kd.stateless_seed(0)), LOC)
    close(d_loc, np.ones(3))


def test_compiles(compiled):
    def log_probs(x, loc, scale):
        quantized = kd.QuantizedDistribution(kd.Logistic(loc, scale), -4.0, 4.0)
        mixture = kd.MixtureSameFamily(kd.Categorical(logits=loc), quantized)
        normal = kd.MultivariateNormalDiag(loc, scale)
        draw = normal.sample(2, seed=kd.stateless_seed(0))
        return mixture.log_prob(x), kd.kl_divergence(normal, kd.MultivariateNormalDiag(scale_diag=scale)), draw

    x = np.float32([-4.0, 0.0, 1.0, 4.0])
    function = compiled(log_probs)
    *received, draw = function(x, LOC, SCALE)
    for compiled_value, eager_value in zip(received, log_probs(x, LOC, SCALE), strict=False):
        close(compiled_value, to_numpy(eager_value))
    close(draw, to_numpy(function(x, LOC, SCALE)[-1]), atol=0.0, rtol=0.0)


def test_names_are_listed_and_unknown_ones_point_to_near_ones():
    assert set(dir(kd)) >= {"Normal", "QuantizedDistribution", "MixtureSameFamily", "kl_divergence"}
    assert all(hasattr(kd, name) for name in dir(kd))
    with pytest.raises(AttributeError, match=r"has no attribute 'Norml'\. Did you mean Normal"):
        _ = kd.Norml
    with pytest.raises(AttributeError, match=r"has no attribute 'zzz'\. It has: Bernoulli, Categorical"):
        _ = kd.zzz


def test_import_is_lazy_and_silent():
    code = """
import sys, warnings, keras
import kgen.distributions
assert "tensorflow_probability" not in sys.modules
had_tensorflow = "tensorflow" in sys.modules
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    kgen.distributions.Normal
assert not caught, [str(w.message) for w in caught]
assert ("tensorflow_probability" in sys.modules) == (keras.config.backend() != "torch")
assert ("tensorflow" in sys.modules) == had_tensorflow
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, timeout=120)
    assert result.returncode == 0, result.stderr


@pytest.mark.skipif(keras.config.backend() != "torch", reason="TFP checks its own arguments")
def test_torch_arguments_are_checked():
    with pytest.raises(ValueError, match="Bernoulli takes exactly one of `logits` and `probs`; received neither"):
        kd.Bernoulli()
    with pytest.raises(ValueError, match="Categorical takes exactly one of `logits` and `probs`; received both"):
        kd.Categorical(logits=[0.0], probs=[1.0])
    with pytest.raises(ValueError, match="needs `loc` or `scale_diag` or both to know its dimension"):
        kd.MultivariateNormalDiag()
    with pytest.raises(ValueError, match=r"must lie in 0..1, the number of axes of the batch shape \(3,\) of Normal"):
        kd.Independent(kd.Normal(LOC, SCALE), 2)
    with pytest.raises(ValueError, match=r"must have length 2, .* received batch shape \(3,\)"):
        kd.MixtureSameFamily(kd.Categorical(logits=[0.0, 0.0]), kd.Normal(LOC, SCALE))
    with pytest.raises(NotImplementedError, match="MultivariateNormalDiag has no cdf in closed form"):
        kd.MultivariateNormalDiag(LOC, SCALE).cdf(LOC)
    assert str(kd.Normal(np.zeros(2, "float64"), 1.0).log_prob(0.0).dtype) == "torch.float64"


@pytest.mark.skipif(keras.config.backend() != "torch", reason="TFP returns nan there")
def test_torch_quantized_mass_outside_the_cutoffs_is_zero():
    close(kd.QuantizedDistribution(kd.Logistic(0.0, 1.0), 0.0, 3.0).prob([-1.0, 4.0]), [0.0, 0.0])


@pytest.mark.skipif(keras.config.backend() == "torch", reason="torch needs no TFP")
def test_missing_tfp_names_the_command_that_installs_it(monkeypatch):
    for module in ("tensorflow_probability", "tensorflow_probability.substrates.jax"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(probability, "_load", probability._load.__wrapped__)
    with pytest.raises(
        ImportError, match=r'needs TensorFlow Probability on the .* pip install "tensorflow-probability'
    ):
        _ = kd.Normal


def test_other_backends_are_refused(monkeypatch):
    monkeypatch.setattr(keras.config, "backend", lambda: "numpy")
    with pytest.raises(ImportError, match="'tensorflow', 'jax' and 'torch'; the backend is 'numpy'"):
        _ = kd.Normal
