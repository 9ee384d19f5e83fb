"""FactorVAE and the adversarial autoencoder: their discriminators against divergences of Gaussians, and what each player trains."""

import keras
import numpy as np
import pytest
from keras import ops

from kgen.hybrid import AdversarialAutoencoder, FactorVAE
from kgen.networks import MLP

RNG = np.random.default_rng(0)
COMPILE = {"jit_compile": False} if keras.config.backend() == "tensorflow" else {}


def weights(networks):
    return [ops.convert_to_numpy(v).copy() for n in networks for v in n.trainable_variables]


def trained_discriminator(model, x, steps=150):
    """What the discriminator says of the codes of x once it is trained, the autoencoder staying as it is."""
    first, *_ = model.players
    rate = keras.optimizers.schedules.CosineDecay(2e-2, steps)
    model.compile({first: keras.optimizers.SGD(0.0), "discriminator": keras.optimizers.Adam(rate)}, **COMPILE)
    before = weights([model.encoder, model.decoder])
    discriminator = weights([model.discriminator])
    model.fit(np.tile(x, (steps, 1)), batch_size=len(x), shuffle=False, verbose=0)
    for a, b in zip(before, weights([model.encoder, model.decoder]), strict=True):
        np.testing.assert_array_equal(a, b)
    assert all(np.abs(a - b).max() > 0 for a, b in zip(discriminator, weights([model.discriminator]), strict=True))


@pytest.mark.once("test_same_everywhere holds the training of every backend to the same numbers")
def test_the_discriminator_of_factor_vae_finds_the_total_correlation():
    keras.utils.set_random_seed(0)
    encoder, decoder = MLP((2,), (4,), widths=()), MLP((2,), (2,), widths=(8,))
    model = FactorVAE(
        (2,), 2, encoder=encoder, decoder=decoder, discriminator=MLP((2,), (1,), widths=(32,)), correlation=3.0
    )
    a, raw = np.array([[1.0, 0.8], [0.0, 0.6]]), np.log(np.expm1(0.2)) - 0.5413248546
    encoder.set_weights([np.concatenate([a, np.zeros((2, 2))], 1), np.array([0.0, 0.0, raw, raw])])
    x = RNG.normal(size=(1024, 2)).astype("float32")
    trained_discriminator(model, x)
    covariance = a.T @ np.cov(x.T) @ a + 0.04 * np.eye(2)
    exact = -0.5 * np.log(np.linalg.det(covariance) / np.diag(covariance).prod())
    logs = model.evaluate(x, batch_size=1024, verbose=0, return_dict=True)
    assert exact > 0.4 and abs(logs["total_correlation"] - exact) < 0.12
    wanted = logs["reconstruction"] + logs["kl"] + 3.0 * logs["total_correlation"]
    np.testing.assert_allclose(logs["loss"], wanted, rtol=1e-4)


@pytest.mark.once("test_same_everywhere holds the training of every backend to the same numbers")
def test_the_discriminator_of_the_adversarial_autoencoder_finds_the_divergence_from_the_prior():
    keras.utils.set_random_seed(0)
    networks = {"encoder": MLP((2,), (2,), widths=()), "decoder": MLP((2,), (2,), widths=())}
    model = AdversarialAutoencoder((2,), 2, discriminator=MLP((2,), (1,), widths=(32,)), adversarial=3.0, **networks)
    model.encoder.set_weights([np.diag([1.4, 0.7]), np.array([0.5, 0.0])])
    x = RNG.normal(size=(1024, 2)).astype("float32")
    trained_discriminator(model, x)
    z = model.encode(x)
    mean, covariance = z.mean(0), np.cov(z.T)
    exact = 0.5 * (np.trace(covariance) + mean @ mean - 2 - np.log(np.linalg.det(covariance)))
    logits = ops.convert_to_numpy(model.logits(ops.convert_to_tensor(z)))
    assert exact > 0.3 and abs(-logits.mean() - exact) < 0.12  # ln p - ln q at its best
    logs = model.evaluate(x, batch_size=1024, verbose=0, return_dict=True)
    np.testing.assert_allclose(logs["adversarial"], np.logaddexp(0, -logits).mean(), rtol=1e-4)
    np.testing.assert_allclose(logs["loss"], logs["reconstruction"] + 3.0 * logs["adversarial"], rtol=1e-4)
    assert model.sample(3, seed=0).shape == (3, 2)
    assert [e.name for e in model.endpoints()] == ["sample", "encode", "decode", "reconstruct"]
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(model))
    assert again.get_config() == model.get_config()
    with pytest.raises(TypeError, match="beta: AdversarialAutoencoder takes none"):
        AdversarialAutoencoder((2,), 2, beta=2.0)
