import keras
import numpy as np
import pytest
from scipy import special, stats

import kgen.distributions as kd

LEVELS = np.arange(256, dtype="float64")
X = (LEVELS / 127.5 - 1.0).astype("float32")


def to_numpy(value):
    return keras.ops.convert_to_numpy(value)


def exact_log_prob(loc, scale, levels=256):
    """log P of every level (levels, ...) in float64: scipy's cdf left of the loc, its survival function right of it."""
    known = stats.logistic(np.float64(loc), np.float64(scale))
    k = np.arange(levels).reshape((levels,) + (1,) * np.ndim(loc))
    lower = np.where(k == 0, -np.inf, (2.0 * k - 1.0) / (levels - 1) - 1.0)
    upper = np.where(k == levels - 1, np.inf, (2.0 * k + 1.0) / (levels - 1) - 1.0)
    with np.errstate(divide="ignore"):
        return np.log(np.where(lower > loc, known.sf(lower) - known.sf(upper), known.cdf(upper) - known.cdf(lower)))


LOC = np.array([-1.4, -1.0, -0.3, 0.0123, 0.5, 1.0, 2.0], "float32")


@pytest.mark.parametrize("scale", [0.01, 0.03, 0.2, 1.0, 20.0])
def test_agrees_with_differences_of_the_cdf(scale):
    scale = np.float32(scale)
    log_scale = np.log(scale)
    exact = exact_log_prob(LOC, np.exp(np.float64(log_scale)))
    received = to_numpy(kd.discretized_logistic_log_prob(X[:, None], LOC, log_scale))
    np.testing.assert_allclose(received, exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scale", [0.02, 0.05, 0.2])
def test_agrees_with_quantized_distribution(scale):
    # In units of levels, and half a level down, because QuantizedDistribution rounds up. Wider scales are left out:
    # there TFP's own log1p(-exp(small - big)) is off by more than 1e-5 in float32.
    base = kd.Logistic((LOC + 1.0) * 127.5 - 0.5, np.float32(scale * 127.5))
    quantized = kd.QuantizedDistribution(base, low=0.0, high=255.0)
    expected = to_numpy(quantized.log_prob(LEVELS.astype("float32")[:, None]))
    received = to_numpy(kd.discretized_logistic_log_prob(X[:, None], LOC, np.log(np.float32(scale))))
    np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-5)


def test_probabilities_sum_to_one_at_every_scale():
    log_scale = np.linspace(-60.0, 12.0, 145, dtype="float32")[:, None]
    loc = np.concatenate([LOC, np.random.default_rng(0).uniform(-1, 1, 20).astype("float32"), X[100:102]])
    log_prob = to_numpy(kd.discretized_logistic_log_prob(X[:, None, None], loc, log_scale))
    np.testing.assert_allclose(np.exp(log_prob).sum(axis=0), 1.0, rtol=0.0, atol=1e-5)


@pytest.mark.parametrize("levels", [3, 16, 65536])
def test_other_numbers_of_levels(levels):
    x = np.linspace(-1.0, 1.0, levels).astype("float32")
    received = to_numpy(kd.discretized_logistic_log_prob(x, np.float32(0.2), np.float32(np.log(0.1)), levels=levels))
    exact = exact_log_prob(np.float32(0.2), np.exp(np.float64(np.float32(np.log(0.1)))), levels=levels)
    np.testing.assert_allclose(received, exact, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(np.exp(received.astype("float64")).sum(), 1.0, atol=1e-5)


def test_two_levels_are_a_bernoulli():
    loc, log_scale = np.float32([-3.0, 0.1, 2.0]), np.float32([0.0, -1.0, 1.0])
    logits = loc / np.exp(log_scale)
    for x, sign in ((1.0, 1.0), (-1.0, -1.0)):
        received = to_numpy(kd.discretized_logistic_log_prob(np.float32(x), loc, log_scale, levels=2))
        np.testing.assert_allclose(received, special.log_expit(sign * logits), rtol=1e-5, atol=1e-6)


def test_tails_far_below_the_smallest_float():
    # Left of a distant loc, P = exp(a) (1 - exp(-d)) with a = (upper edge - loc) / scale and d = width / scale.
    scale, width = 1e-3, 2.0 / 255.0
    received = to_numpy(kd.discretized_logistic_log_prob(X[100:101], np.float32([5.0]), np.float32([np.log(scale)])))
    expected = (X[100] + width / 2.0 - 5.0) / scale + np.log(-np.expm1(-width / scale))
    np.testing.assert_allclose(received, [expected], rtol=1e-5)


def test_values_and_gradients_are_finite_everywhere(gradient):
    x = X[[0, 1, 100, 127, 128, 254, 255]][:, None, None]
    loc = np.float32([-1e20, -1e6, -1.0, 0.0, X[128], X[128] + 1 / 255, 1.0, 40.0, 1e20])[:, None]
    log_scale = np.float32([-1e4, -88.0, -40.0, -20.0, -7.0, 0.0, 7.0, 88.0, 1e4])
    x, loc, log_scale = (np.array(value) for value in np.broadcast_arrays(x, loc, log_scale))
    assert np.isfinite(to_numpy(kd.discretized_logistic_log_prob(x, loc, log_scale))).all()
    for value in gradient(lambda a, b: kd.discretized_logistic_log_prob(x, a, b), loc, log_scale):
        assert np.isfinite(value).all()
    logits = np.zeros_like(loc)
    logits[..., 0] = 1e4
    mixture_gradients = gradient(
        lambda *p: kd.discretized_logistic_mixture_log_prob(x[..., 0], *p), logits, loc, log_scale
    )
    for value in mixture_gradients:
        assert np.isfinite(value).all()


@pytest.mark.parametrize("scale", [0.004, 0.05, 1.0])
def test_gradient_is_the_difference_of_densities(scale, gradient):
    log_scale = np.full((256, 7), np.log(scale), "float32")
    loc = np.broadcast_to(LOC, (256, 7)).copy()
    d_loc, d_log_scale = gradient(lambda a, b: kd.discretized_logistic_log_prob(X[:, None], a, b), loc, log_scale)
    step = 1e-5
    usable = exact_log_prob(LOC, scale) > -12.0  # where float64 differences of cdfs keep their digits
    with np.errstate(invalid="ignore"):  # -inf minus -inf, outside
        by_loc = exact_log_prob(LOC + np.float64(step), scale) - exact_log_prob(LOC - np.float64(step), scale)
        by_log_scale = exact_log_prob(LOC, scale * np.exp(step)) - exact_log_prob(LOC, scale * np.exp(-step))
    np.testing.assert_allclose(d_loc[usable], by_loc[usable] / (2.0 * step), rtol=2e-3, atol=2e-3 / scale)
    np.testing.assert_allclose(d_log_scale[usable], by_log_scale[usable] / (2.0 * step), rtol=2e-3, atol=2e-3)


def mixture_parameters(shape, components=5):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(*shape, components)).astype("float32")
    loc = rng.uniform(-1.2, 1.2, size=(*shape, components)).astype("float32")
    log_scale = rng.uniform(-4.0, -1.5, size=(*shape, components)).astype("float32")
    return logits, loc, log_scale


def test_mixture_agrees_with_tfp_names():
    logits, loc, log_scale = mixture_parameters((4, 3))
    k = np.random.default_rng(1).integers(0, 256, size=(4, 3))
    k[0] = [0, 255, 128]
    base = kd.Logistic((loc + 1.0) * 127.5 - 0.5, np.exp(log_scale) * 127.5)
    mixture = kd.MixtureSameFamily(kd.Categorical(logits=logits), kd.QuantizedDistribution(base, 0.0, 255.0))
    received = to_numpy(kd.discretized_logistic_mixture_log_prob(X[k], logits, loc, log_scale))
    assert received.shape == (4, 3)
    np.testing.assert_allclose(received, to_numpy(mixture.log_prob(k.astype("float32"))), rtol=1e-5, atol=1e-5)


def test_mixture_sums_to_one_and_weighs_its_components():
    logits, loc, log_scale = mixture_parameters((2,))
    x = np.stack([X, X], axis=-1)
    parameters = [np.broadcast_to(value, (256, *value.shape)).copy() for value in (logits, loc, log_scale)]
    received = to_numpy(kd.discretized_logistic_mixture_log_prob(x, *parameters))
    np.testing.assert_allclose(np.exp(received).sum(axis=0), [1.0, 1.0], rtol=0.0, atol=1e-5)
    expected = special.logsumexp(special.log_softmax(logits, axis=-1) + exact_log_prob(loc, np.exp(log_scale)), axis=-1)
    np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-5)


def test_compiles(compiled):
    logits, loc, log_scale = mixture_parameters((256,))
    function = compiled(kd.discretized_logistic_mixture_log_prob)
    received = to_numpy(function(X, logits, loc, log_scale))
    eager = to_numpy(kd.discretized_logistic_mixture_log_prob(X, logits, loc, log_scale))
    np.testing.assert_allclose(received, eager, rtol=1e-5, atol=1e-5)


def test_compiled_probabilities_sum_to_one(compiled):
    log_scale = np.linspace(-12.0, 4.0, 33, dtype="float32")[:, None]
    log_prob = to_numpy(compiled(kd.discretized_logistic_log_prob)(X[:, None, None], LOC, log_scale))
    np.testing.assert_allclose(np.exp(log_prob).sum(axis=0), 1.0, rtol=0.0, atol=1e-5)


def test_half_precision_is_computed_in_float32():
    half = [np.float16([0.5]), np.float16([0.4]), np.float16([-2.0])]
    received = kd.discretized_logistic_log_prob(*half)
    assert keras.backend.standardize_dtype(received.dtype) == "float32"
    full = kd.discretized_logistic_log_prob(*(value.astype("float32") for value in half))
    np.testing.assert_array_equal(to_numpy(received), to_numpy(full))


def test_wrong_arguments():
    x, loc = np.zeros((2, 3), "float32"), np.zeros((2, 3, 5), "float32")
    with pytest.raises(TypeError, match=r"`x` must be a float tensor in \[-1, 1\]; received uint8"):
        kd.discretized_logistic_log_prob(np.zeros(3, "uint8"), 0.0, 0.0)
    with pytest.raises(ValueError, match="`levels` must be an int of at least 2; received 1"):
        kd.discretized_logistic_log_prob(x, x, x, levels=1)
    with pytest.raises(ValueError, match=r"`logits` must have the axes of `x` and one more.*received logits \(2, 5\)"):
        kd.discretized_logistic_mixture_log_prob(x, loc[:, 0], loc, loc)
    with pytest.raises(ValueError, match=r"received loc \(2, 3, 4\) with x \(2, 3\) and logits \(2, 3, 5\)"):
        kd.discretized_logistic_mixture_log_prob(x, loc, loc[..., :4], loc)


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_the_mean_is_the_sum_over_the_levels(levels):
    rng = np.random.default_rng(0)
    logits, loc = rng.normal(size=(40, 3, 4)), rng.uniform(-2, 2, size=(40, 3, 4))
    log_scale = rng.uniform(-9, 2, size=(40, 3, 4))  # from a point to wider than all levels
    expected = np.einsum(
        "kbcj,bcj,k->bc",
        np.exp(exact_log_prob(loc, np.exp(log_scale), levels)),
        special.softmax(logits, axis=-1),
        np.linspace(-1, 1, levels),
    )
    given = [a.astype("float32") for a in (logits, loc, log_scale)]
    np.testing.assert_allclose(to_numpy(kd.discretized_logistic_mixture_mean(*given, levels)), expected, atol=2e-4)
    given[2] = np.full_like(given[2], -np.float32(1e30))  # a point mass: the level that is nearest
    given[1][:] = -0.999
    expected = np.round(0.0005 * (levels - 1)) * 2 / (levels - 1) - 1
    np.testing.assert_allclose(to_numpy(kd.discretized_logistic_mixture_mean(*given, levels)), expected, atol=1e-5)


def test_the_mean_takes_two_levels_at_least():
    with pytest.raises(ValueError, match="`levels` must be an int of at least 2; received 1"):
        kd.discretized_logistic_mixture_mean(np.zeros((1, 1)), np.zeros((1, 1)), np.zeros((1, 1)), 1)
