import itertools

import keras
import numpy as np
import pytest
from scipy import integrate, stats

import kgen.distributions as kd

LOWER = np.array([[1.0, 0.0], [0.5, 2.0]], "float32")


def close(received, expected, rtol=1e-5, atol=1e-5):
    np.testing.assert_allclose(keras.ops.convert_to_numpy(received), expected, rtol=rtol, atol=atol)


def test_normal_and_laplace():
    loc_p, loc_q = np.array([0.0, 1.0, -2.0]), np.array([0.5, 1.0, 3.0])
    scale_p, scale_q = np.array([1.0, 0.2, 3.0]), np.array([2.0, 0.2, 0.7])
    p, q = (
        kd.Normal(loc_p.astype("float32"), scale_p.astype("float32")),
        kd.Normal(np.float32(loc_q), np.float32(scale_q)),
    )
    expected = np.log(scale_q / scale_p) + (scale_p**2 + (loc_p - loc_q) ** 2) / (2.0 * scale_q**2) - 0.5
    close(kd.kl_divergence(p, q), expected)
    distance = np.abs(loc_p - loc_q)
    expected = np.log(scale_q / scale_p) + distance / scale_q + scale_p / scale_q * np.exp(-distance / scale_p) - 1.0
    p, q = kd.Laplace(np.float32(loc_p), np.float32(scale_p)), kd.Laplace(np.float32(loc_q), np.float32(scale_q))
    close(kd.kl_divergence(p, q), expected)


def test_discrete():
    p, q = np.float32([[0.2, 0.3, 0.5], [0.0, 0.4, 0.6]]), np.float32([[0.1, 0.1, 0.8], [0.5, 0.25, 0.25]])
    close(kd.kl_divergence(kd.Categorical(probs=p), kd.Categorical(logits=np.log(q))), stats.entropy(p, q, axis=1))
    p, q = np.float32([0.2, 0.9]), np.float32([0.5, 0.3])
    expected = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    close(kd.kl_divergence(kd.Bernoulli(probs=p), kd.Bernoulli(logits=np.log(q / (1 - q)))), expected)


def test_uniform_is_infinite_outside_the_support():
    q = kd.Uniform(np.float32([0.0, 0.5]), np.float32([4.0, 4.0]))
    close(kd.kl_divergence(kd.Uniform(0.0, 1.0), q), [np.log(4.0), np.inf])


def test_multivariate_normals_in_every_pairing():
    loc, diagonal = np.float32([1.0, -2.0]), np.float32([0.5, 3.0])
    distributions = [
        (kd.MultivariateNormalDiag(loc, diagonal), loc, np.diag(diagonal**2)),
        (kd.MultivariateNormalTriL(-loc, LOWER), -loc, LOWER @ LOWER.T),
        (kd.MultivariateNormalDiag(-loc, diagonal[::-1].copy()), -loc, np.diag(diagonal[::-1] ** 2)),
    ]
    for (p, loc_p, cov_p), (q, loc_q, cov_q) in itertools.product(distributions, distributions):
        inverse = np.linalg.inv(cov_q.astype("float64"))
        log_ratio = np.linalg.slogdet(cov_q)[1] - np.linalg.slogdet(cov_p)[1]
        expected = 0.5 * (np.trace(inverse @ cov_p) + (loc_q - loc_p) @ inverse @ (loc_q - loc_p) - 2.0 + log_ratio)
        close(kd.kl_divergence(p, q), expected)


def test_independent_sums_its_event():
    loc = np.arange(6, dtype="float32").reshape(2, 3)
    p, q = kd.Independent(kd.Normal(loc, 1.0), 1), kd.Independent(kd.Normal(np.zeros((2, 3), "float32"), 1.0), 1)
    close(kd.kl_divergence(p, q), 0.5 * (loc**2).sum(axis=1))


def test_gradient(gradient):
    d_loc, d_scale = gradient(
        lambda loc, scale: kd.kl_divergence(kd.Normal(loc, scale), kd.Normal(0.0, 1.0)), [2.0, -1.0], [0.5, 3.0]
    )
    close(d_loc, [2.0, -1.0])
    close(d_scale, [0.5 - 2.0, 3.0 - 1.0 / 3.0])


NO_CLOSED_FORM = {
    "Logistic || Logistic": (
        lambda: (kd.Logistic(0.5, 1.0), kd.Logistic(-1.0, 2.0)),
        (stats.logistic(0.5, 1.0), stats.logistic(-1.0, 2.0)),
    ),
    "Normal || Laplace": (lambda: (kd.Normal(0.0, 1.0), kd.Laplace(1.0, 2.0)), (stats.norm(0, 1), stats.laplace(1, 2))),
    "Laplace || Logistic": (
        lambda: (kd.Laplace(0.0, 1.0), kd.Logistic(1.0, 2.0)),
        (stats.laplace(0, 1), stats.logistic(1, 2)),
    ),
}


@pytest.mark.parametrize("pair", NO_CLOSED_FORM)
def test_monte_carlo_is_within_four_standard_errors_of_quadrature(pair):
    make, (known_p, known_q) = NO_CLOSED_FORM[pair]

    def moment(power):
        return integrate.quad(
            lambda x: known_p.pdf(x) * (known_p.logpdf(x) - known_q.logpdf(x)) ** power, -40, 40, points=[0, 1]
        )[0]

    standard_error = np.sqrt((moment(2) - moment(1) ** 2) / 20000)
    p, q = make()
    estimate = keras.ops.convert_to_numpy(kd.kl_divergence(p, q, num_samples=20000, seed=0))
    assert abs(estimate - moment(1)) < 4.0 * standard_error
    np.testing.assert_array_equal(estimate, keras.ops.convert_to_numpy(kd.monte_carlo_kl(p, q, 20000, seed=0)))
    with pytest.raises(NotImplementedError, match=r"has no closed form here. Estimate it with `monte_carlo_kl\(p, q"):
        kd.kl_divergence(p, q)


def test_monte_carlo_agrees_with_the_closed_form_per_batch():
    p = kd.Independent(kd.Normal(np.float32([[0.0, 1.0], [2.0, 0.5]]), 0.7), 1)
    q = kd.Independent(kd.Normal(np.zeros((2, 2), "float32"), 1.5), 1)
    # Per axis log p - log q = z^2 (r^2 - 1) / 2 + z r m / scale_q + const, z standard normal, r = scale_p / scale_q.
    r = 0.7 / 1.5
    variance = 2.0 * (1.0 - r**2) ** 2 / 2.0 + np.sum((r * np.array([[0.0, 1.0], [2.0, 0.5]]) / 1.5) ** 2, axis=1)
    estimate = keras.ops.convert_to_numpy(kd.monte_carlo_kl(p, q, 20000, seed=3))
    exact = keras.ops.convert_to_numpy(kd.kl_divergence(p, q))
    assert (np.abs(estimate - exact) < 4.0 * np.sqrt(variance / 20000)).all()


def test_closed_form_takes_precedence_over_samples():
    p, q = kd.Normal(0.0, 1.0), kd.Normal(1.0, 1.0)
    close(kd.kl_divergence(p, q, num_samples=2, seed=0), 0.5)


def test_wrong_arguments():
    p = kd.Normal(np.zeros(3, "float32"), 1.0)
    with pytest.raises(TypeError, match=r"`q` must be a distribution such as .* received builtins.float"):
        kd.kl_divergence(p, 1.0)
    with pytest.raises(ValueError, match=r"same event shape; received \(\) for Normal and \(3,\) for Independent"):
        kd.kl_divergence(p, kd.Independent(p, 1))
    with pytest.raises(ValueError, match="`seed` must be given with `num_samples`=5; received None"):
        kd.kl_divergence(p, p, num_samples=5)
    with pytest.raises(ValueError, match="`num_samples` must be an int of at least 1; received 0"):
        kd.monte_carlo_kl(p, p, 0, seed=0)
