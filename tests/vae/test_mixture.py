"""The Gaussian mixture: densities and moments against their closed forms, expectation maximisation against a known mixture."""

import numpy as np
import pytest
from keras import ops
from sklearn.mixture import GaussianMixture as Reference

import kgen
from kgen.vae import GaussianMixture

RNG = np.random.default_rng(0)
MEANS = np.array([[-3.0, 0.0], [3.0, 1.0]])
SCALES = np.array([[[1.0, 0.0], [0.8, 0.5]], [[0.5, 0.0], [-0.3, 0.4]]])


def data(n):
    which = (RNG.uniform(size=n) < 0.25).astype(int)
    return (MEANS[which] + np.einsum("nij,nj->ni", SCALES[which], RNG.normal(size=(n, 2)))).astype("float32")


@pytest.fixture(scope="module")
def model():
    found = GaussianMixture((2,), 2)
    found.fit(data(4000))
    return found


def test_the_mixture_that_made_the_data_is_found(model):
    order = np.argsort(ops.convert_to_numpy(model.loc)[:, 0])
    weights = ops.convert_to_numpy(ops.softmax(ops.convert_to_tensor(model.logits)))[order]
    np.testing.assert_allclose(weights, [0.75, 0.25], atol=0.03)
    np.testing.assert_allclose(ops.convert_to_numpy(model.loc)[order], MEANS, atol=0.1)
    np.testing.assert_allclose(ops.convert_to_numpy(model.scale_tril)[order], SCALES, atol=0.1)


def test_density_and_draws_are_those_of_the_reference(model):
    x = data(50)
    fitted = Reference(2, reg_covar=1e-4, random_state=0, max_iter=200).fit(x.astype("float64"))
    again = GaussianMixture((2,), 2)
    history = again.fit(x)
    np.testing.assert_allclose(again.log_prob(x), fitted.score_samples(x), rtol=1e-4)
    assert abs(history.history["loss"][0] + fitted.score(x)) < 1e-6
    samples = model.sample(4000, seed=0)
    weights = np.array([0.75, 0.25])
    mean = weights @ MEANS
    spread = np.einsum("k,kij->ij", weights, SCALES @ SCALES.transpose(0, 2, 1))
    spread = spread + np.einsum("k,ki,kj->ij", weights, MEANS - mean, MEANS - mean)
    np.testing.assert_allclose(samples.mean(0), mean, atol=0.15)
    np.testing.assert_allclose(np.cov(samples.T), spread, atol=0.3)
    np.testing.assert_allclose(model.sample(3, seed=0), samples[:3], atol=1e-6)


def test_saved_and_given_away_it_is_the_same(model, tmp_path):
    samples, x = model.sample(4, seed=0), data(4)
    model.save(tmp_path / "m.keras")
    model.save_to_preset(tmp_path / "preset")
    for again in (kgen.load(tmp_path / "m.keras"), kgen.from_preset(tmp_path / "preset")):
        np.testing.assert_allclose(again.sample(4, seed=0), samples, atol=1e-6)
        np.testing.assert_allclose(again.log_prob(x), model.log_prob(x), rtol=1e-5)
        assert again.get_config() == model.get_config()


def test_wrong_arguments(model):
    for call, message in [
        (lambda: model.fit(data(1)), "x: expected at least components=2 rows, received 1"),
        (lambda: model.fit(data(9), np.zeros(9)), "y: a mixture has no classes"),
        (lambda: model.fit(np.zeros((9, 3), "float32")), r"x: expected shape \(N, 2\), received \(9, 3\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
