"""The VampPrior: the mixture of the posteriors of its pseudo-inputs."""

import numpy as np
import pytest
from keras import ops

from kgen.networks import MLP
from kgen.vae import VAE, ConditionalVAE, VampPrior

RNG = np.random.default_rng(0)


def test_with_the_data_as_pseudo_inputs_it_is_the_aggregate_posterior():
    x = (3.0 * RNG.normal(size=(16, 3))).astype("float32")
    networks = {"encoder": MLP((3,), (4,), widths=(8,)), "decoder": MLP((2,), (3,), widths=())}
    model = VAE((3,), 2, prior=VampPrior((3,), 16), **networks)
    model.prior.pseudo_inputs.assign(x)
    q = model.posterior.distribution(model.posterior_rows(ops.convert_to_tensor(x)))
    z = RNG.normal(size=(5, 2)).astype("float32")
    loc, scale = (ops.convert_to_numpy(v).astype("float64") for v in (q.mean(), q.stddev()))
    each = -0.5 * ((z[:, None] - loc) / scale) ** 2 - np.log(scale * np.sqrt(2 * np.pi))
    found = model.prior_for(training=False).distribution().log_prob(ops.convert_to_tensor(z))
    np.testing.assert_allclose(ops.convert_to_numpy(found), np.log(np.exp(each.sum(-1)).mean(1)), rtol=1e-4)
    drawn = model.run_rows("draws", lambda s: model.prior_for(False).sample(s), [model.row_seeds(4000, 0)])
    np.testing.assert_allclose(drawn.mean(0), loc.mean(0), atol=0.15)
    np.testing.assert_allclose(
        np.cov(drawn.T), np.cov(loc.T, bias=True) + np.diag(np.square(scale).mean(0)), rtol=0.06, atol=0.15
    )


def test_wrong_arguments():
    with pytest.raises(
        ValueError, match=r"prior: expected VampPrior\(\(3,\)\), of pseudo-inputs like the data, received one of \(4,"
    ):
        VAE((3,), 2, prior=VampPrior((4,)))
    with pytest.raises(
        ValueError, match="prior: a VampPrior's pseudo-inputs have no conditions, and the encoder .* label"
    ):
        ConditionalVAE((3,), 2, num_classes=3, prior=VampPrior((3,)))
