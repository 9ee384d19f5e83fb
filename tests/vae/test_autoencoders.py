"""Autoencoders of one code for each x, against what linear ones are known to find; and the configuration of each kind."""

import keras
import numpy as np
import pytest
from keras import ops

from kgen import vae
from kgen.core import Batch
from kgen.core.random import row_seeds
from kgen.hybrid import PriorRefit
from kgen.networks import MLP

RNG = np.random.default_rng(0)
MIX = RNG.normal(size=(5, 5))


def data(n, scales=(3.0, 2.0, 0.5, 0.4, 0.3)):
    d = len(scales)
    basis = np.linalg.qr(MIX[:d, :d])[0]
    x = RNG.normal(size=(n, d)) * scales @ basis
    return (x - x.mean(0)).astype("float32")


def linear(kind, d, q, **kwargs):
    keras.utils.set_random_seed(0)
    return kind((d,), q, encoder=MLP((d,), (q,), widths=()), decoder=MLP((q,), (d,), widths=()), **kwargs)


def train(model, x, steps, rate):
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, steps)))
    return model.fit(np.tile(x, (steps, 1)), batch_size=len(x), shuffle=False, verbose=0)


def map_of(model):
    """The matrix of decoder after encoder, of linear networks."""
    return model.encoder.get_weights()[0] @ model.decoder.get_weights()[0]


def test_a_linear_autoencoder_spans_the_principal_subspace():
    x = data(256)
    model = linear(vae.Autoencoder, 5, 2)
    train(model, x, 200, 1e-1)
    axes = np.linalg.svd(x, full_matrices=False)[2][:2]
    rows = model.decoder.get_weights()[0]
    np.testing.assert_allclose(np.linalg.pinv(rows) @ rows, axes.T @ axes, atol=1e-2)
    left = np.square(x - x @ axes.T @ axes).sum(1)
    loss = model.evaluate(x, batch_size=256, verbose=0, return_dict=True)["loss"]
    assert abs(loss - (0.5 * left.mean() + 2.5 * np.log(2 * np.pi))) < 1e-2
    with pytest.raises(NotImplementedError, match=r"Autoencoder has no prior .* kgen.hybrid.PriorRefit"):
        model.sample(2)
    with pytest.raises(NotImplementedError, match="no likelihood"):
        model.log_prob(x)
    assert [e.name for e in model.endpoints()] == ["encode", "decode", "reconstruct"]
    # With a prior of its codes it samples: of linear maps of a Gaussian, the data's own covariance in that plane.
    refit = PriorRefit(model, vae.GaussianMixture((2,), 1))
    refit.fit(x)
    found = np.cov(refit.sample(4000, seed=0).T)
    np.testing.assert_allclose(found, axes.T @ axes @ np.cov(x.T) @ axes.T @ axes, atol=0.5)


def test_the_best_linear_denoiser_shrinks_by_the_ratio_of_variances():
    # The best linear map of x + s e back to x is A = C (C + s^2 I)^-1, and what is left on average is tr(C - A C).
    x = data(8192, (2.0, 1.0, 0.5))
    model = linear(vae.DenoisingAutoencoder, 3, 3, noise=1.0)
    covariance = np.cov(x.T, bias=True)
    best = np.linalg.solve(covariance + np.eye(3), covariance)
    batch = Batch(ops.convert_to_tensor(x), seeds=ops.convert_to_tensor(row_seeds(0, len(x))), conditions={})

    def loss(shrinkage, training=True):
        model.encoder.set_weights([shrinkage, np.zeros(3)])
        model.decoder.set_weights([np.eye(3), np.zeros(3)])
        return ops.convert_to_numpy(model.objective(batch, training)[0]).mean() - 1.5 * np.log(2 * np.pi)

    assert abs(loss(best) - 0.5 * np.trace(covariance - best @ covariance)) < 0.03
    assert loss(np.eye(3)) > loss(best) + 0.3 and loss(0.5 * best) > loss(best) + 0.1
    assert loss(np.eye(3), training=False) < 1e-3  # without training there is no noise


def test_the_contraction_is_the_squared_jacobian():
    x = data(4096)
    model = linear(vae.ContractiveAutoencoder, 5, 3, contraction=0.5)
    model.compile(keras.optimizers.SGD(1e-2))
    logs = model.evaluate(x, batch_size=4096, verbose=0, return_dict=True)
    norm = np.square(model.encoder.get_weights()[0]).sum()
    assert abs(logs["jacobian"] / norm - 1) < 0.05
    np.testing.assert_allclose(logs["loss"], logs["reconstruction"] + 0.5 * logs["jacobian"], rtol=1e-5)
    # Its gradient is 2 W, beside that of the reconstruction, which is the same without it.
    before, plain = model.encoder.get_weights()[0], linear(vae.Autoencoder, 5, 3)
    plain.compile(keras.optimizers.SGD(1e-2))
    for each in (model, plain):
        each.train_on_batch(x)
    moved = plain.encoder.get_weights()[0] - model.encoder.get_weights()[0]
    np.testing.assert_allclose(moved, 1e-2 * 0.5 * 2 * before, atol=2e-3)


def test_sparsity_costs_the_sum_of_magnitudes():
    x = data(64)
    model = linear(vae.SparseAutoencoder, 5, 3, sparsity=0.2)
    model.compile("sgd")
    logs = model.evaluate(x, verbose=0, return_dict=True)
    np.testing.assert_allclose(logs["sparsity"], 0.2 * np.abs(model.encode(x)).sum(1).mean(), rtol=1e-4)
    np.testing.assert_allclose(logs["loss"], logs["reconstruction"] + logs["sparsity"], rtol=1e-5)


KINDS = {
    "Autoencoder": {},
    "DenoisingAutoencoder": {"noise": 0.2},
    "SparseAutoencoder": {"sparsity": 0.3},
    "ContractiveAutoencoder": {"contraction": 0.3},
    "WAE": {"discrepancy": 3.0},
    "InfoVAE": {"alpha": 0.5, "discrepancy": 3.0},
    "BetaTCVAE": {"beta": 3.0, "information": 0.5},
    "IWAE": {"num_samples": 3, "doubly": True},
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_configuration_says_all(kind):
    size = 2 if issubclass(getattr(vae, kind), vae.Autoencoder) else 4
    networks = {"encoder": MLP((3,), (size,), widths=(4,)), "decoder": MLP((2,), (3,), widths=(4,))}
    model = getattr(vae, kind)((3,), 2, **networks, **KINDS[kind])
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(model))
    assert again.get_config() == model.get_config() and type(again) is type(model)
    assert all(again.get_config()[name] == value for name, value in KINDS[kind].items())


def test_wrong_arguments():
    mixing = [keras.Input((3,)), keras.layers.BatchNormalization(name="mixer"), keras.layers.Dense(2)]
    mixing = keras.Sequential(mixing)
    for call, kind, message in [
        (lambda: vae.Autoencoder((3,), 2, beta=2.0), TypeError, "beta: Autoencoder takes none; kgen.vae.VAE does"),
        (lambda: vae.WAE((3,), 2, posterior="full"), TypeError, "posterior: WAE takes none"),
        (lambda: vae.IWAE((3,), 2, beta=2.0), ValueError, "beta, kl_warmup, free_bits: expected 1, 0 and 0"),
        (lambda: vae.BetaTCVAE((3,), 2, posterior="full"), ValueError, "posterior: expected 'diagonal'"),
        (
            lambda: vae.InfoVAE((3,), 2, alpha=-1.0, discrepancy=1.0),
            ValueError,
            r"discrepancy: expected a number in \[2",
        ),
        (
            lambda: vae.ContractiveAutoencoder((3,), 2, encoder=mixing),
            ValueError,
            "encoder: the Jacobian's penalty is one of each example, and mixer mixes them",
        ),
    ]:
        with pytest.raises(kind, match=message):
            call()
