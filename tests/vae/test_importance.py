"""The importance-weighted bound of a linear model: in order, up to the exact value; and both of its gradients."""

import numpy as np
import pytest
from keras import ops

from kgen import backend
from kgen.core import Batch
from kgen.core.random import row_seeds
from kgen.networks import MLP
from kgen.vae import IWAE, GaussianLikelihood

W, S, M, Q = 1.5, 0.8, 0.3, 0.6  # x = W z + S e; q(z | x) = N(M x, Q^2), which is not the posterior


def model(k, doubly=False):
    encoder, decoder = MLP((1,), (2,), widths=()), MLP((1,), (1,), widths=())
    found = IWAE(
        (1,), 1, num_samples=k, doubly=doubly, encoder=encoder, decoder=decoder, observation=GaussianLikelihood(S)
    )
    encoder.set_weights([np.array([[M, 0.0]]), np.array([0.0, np.log(np.expm1(Q)) - 0.5413248546])])
    decoder.set_weights([np.array([[W]]), np.zeros(1)])
    return found


def batch(x, seed):
    return Batch(ops.convert_to_tensor(x), seeds=ops.convert_to_tensor(row_seeds(seed, len(x))), conditions={})


@pytest.mark.once("test_same_everywhere holds the random numbers of every backend to the same")
def test_the_bounds_are_in_order_and_rise_to_the_likelihood():
    x = np.random.default_rng(0).normal(size=(4000, 1)).astype("float32")
    variance = W**2 + S**2
    exact = (-0.5 * (x**2 / variance + np.log(2 * np.pi * variance))).mean()
    one, five, many = (-ops.convert_to_numpy(model(k).objective(batch(x, 1), False)[0]).mean() for k in (1, 5, 100))
    # The ELBO has a closed form: E ln p(x | z) - KL.
    fit = -0.5 * (((x - W * M * x) ** 2 + (W * Q) ** 2) / S**2 + np.log(2 * np.pi * S**2))
    kl = 0.5 * ((M * x) ** 2 + Q**2 - 1 - 2 * np.log(Q))
    assert abs(one - (fit - kl).mean()) < 0.03
    assert one + 0.1 < five < many < exact + 0.02 and abs(many - exact) < 0.02


@pytest.mark.once("test_same_everywhere holds the random numbers of every backend to the same")
def test_doubly_reparameterised_gradients_have_the_same_mean_and_less_variance():
    x = np.full((512, 1), 1.2, "float32")
    found = {}
    for doubly in (False, True):
        iwae = model(8, doubly)
        variables = iwae.trainable_variables

        def gradients(seed, iwae=iwae, variables=variables):
            def loss():
                return ops.mean(iwae.objective(batch(x, seed), True)[0]), None

            return [ops.convert_to_numpy(g).ravel() for g in backend.value_and_grad(loss, variables)[1]]

        found[doubly] = np.array([np.concatenate(gradients(seed)) for seed in range(6)])
        assert len(variables) == 4
    mean = {k: v.mean(0) for k, v in found.items()}
    np.testing.assert_allclose(mean[True], mean[False], atol=0.05)
    # Encoder first: kernel and bias of mean and scale. The decoder's gradient is the same in both.
    assert (found[True].std(0)[:4] < 0.7 * found[False].std(0)[:4]).all()
    np.testing.assert_allclose(found[True][:, 4:], found[False][:, 4:], rtol=1e-3, atol=1e-5)
