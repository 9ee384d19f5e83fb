"""The three terms of the divergence: they add up, and of a known aggregate they are its own."""

import keras
import numpy as np
import pytest
from keras import ops

from kgen.core import Batch
from kgen.core.random import row_seeds
from kgen.networks import MLP
from kgen.vae import BetaTCVAE, VampPrior

RNG = np.random.default_rng(0)


def test_the_terms_are_those_of_a_gaussian_aggregate():
    # x ~ N(0, I), z = A x + 0.5 e: q(z) = N(0, A A^T + I/4), whose total correlation is -1/2 ln det of its correlations.
    keras.utils.set_random_seed(0)
    encoder = MLP((2,), (4,), widths=())
    model = BetaTCVAE((2,), 2, encoder=encoder, decoder=MLP((2,), (2,), widths=()), beta=4.0, information=0.5)
    a = np.array([[1.0, 0.9], [0.0, 0.5]])
    raw = np.log(np.expm1(0.5)) - 0.5413248546
    encoder.set_weights([np.concatenate([a, np.zeros((2, 2))], 1), np.array([0.0, 0.0, raw, raw])])
    x = RNG.normal(size=(2000, 2)).astype("float32")
    model.compile("sgd")
    logs = model.evaluate(x, batch_size=2000, verbose=0, return_dict=True)
    covariance = a.T @ a + 0.25 * np.eye(2)
    variances = np.diag(covariance)
    assert abs(logs["total_correlation"] + 0.5 * np.log(np.linalg.det(covariance) / variances.prod())) < 0.05
    assert abs(logs["mutual_information"] - 0.5 * np.log(np.linalg.det(covariance) / 0.25**2)) < 0.1
    assert abs(logs["dimension_kl"] - 0.5 * (variances - 1 - np.log(variances)).sum()) < 0.1
    parts = [logs[n] for n in ("mutual_information", "total_correlation", "dimension_kl")]
    np.testing.assert_allclose(sum(parts), logs["kl"], rtol=1e-5)
    np.testing.assert_allclose(logs["loss"], logs["reconstruction"] + np.dot([0.5, 4.0, 1.0], parts), rtol=1e-5)


@pytest.mark.once("test_same_everywhere holds the random numbers of every backend to the same")
def test_at_each_draw_they_add_up_to_the_divergence():
    model = BetaTCVAE((3,), 2, encoder=MLP((3,), (4,), widths=(8,)), decoder=MLP((2,), (3,), widths=()))
    x = ops.convert_to_tensor(RNG.normal(size=(6, 3)).astype("float32"))
    parameters = model.posterior_rows(x)
    z = model.posterior.sample(parameters, ops.convert_to_tensor(RNG.normal(size=(6, 2)).astype("float32")))
    q, p = model.posterior.distribution(parameters), model.prior.distribution()
    terms = [ops.convert_to_numpy(t) for t in model.terms(parameters, z, p)]
    np.testing.assert_allclose(sum(terms), ops.convert_to_numpy(q.log_prob(z) - p.log_prob(z)), atol=1e-4)
    loc, scale = (ops.convert_to_numpy(v) for v in (q.mean(), q.stddev()))
    # Of the first row, by loops.
    each = [
        -0.5 * ((ops.convert_to_numpy(z)[0] - m) / s) ** 2 - np.log(s * np.sqrt(2 * np.pi))
        for m, s in zip(loc, scale, strict=True)
    ]
    joint = np.log(np.mean(np.exp(np.sum(each, 1))))
    np.testing.assert_allclose(terms[1][0], joint - np.log(np.mean(np.exp(each), 0)).sum(), atol=1e-4)
    batch = Batch(x, seeds=ops.convert_to_tensor(row_seeds(0, 6)), conditions={})
    assert ops.convert_to_numpy(model.objective(batch, training=True)[0]).shape == (6,)
    # A row that is weighed by 0 is no part of the aggregate.
    weight = ops.convert_to_tensor(np.array([1, 1, 0, 1, 1, 1], "float32"))
    some, rest = (ops.convert_to_tensor(np.delete(ops.convert_to_numpy(v), 2, 0)) for v in (parameters, z))
    for a, b in zip(model.terms(parameters, z, p, weight), model.terms(some, rest, p), strict=True):
        np.testing.assert_allclose(np.delete(ops.convert_to_numpy(a), 2), ops.convert_to_numpy(b), atol=1e-4)


@pytest.mark.parametrize("prior", ["gaussian_mixture", "vamp"])
def test_latents_that_the_prior_holds_together_are_refused(prior):
    given = VampPrior((3,), 4) if prior == "vamp" else prior
    with pytest.raises(
        ValueError, match="prior: expected one of independent latents, such as 'standard_normal', received"
    ):
        BetaTCVAE((3,), 2, prior=given)
