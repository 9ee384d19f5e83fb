"""VAE-GAN: each player's loss trains its own networks alone, by what the paper says."""

import keras
import numpy as np
import pytest
from keras import ops
from marks import TRAINED_ON_TORCH

from kgen.gan import DiffAugment
from kgen.hybrid import VAEGAN
from kgen.networks import MLP

RNG = np.random.default_rng(0)
X = RNG.normal(size=(16, 3)).astype("float32")
NETWORKS = {"encoder": ("encoder",), "decoder": ("decoder",), "discriminator": ("features", "discriminator")}


def model(similarity=0.5):
    keras.utils.set_random_seed(0)
    networks = {"encoder": MLP((3,), (4,), widths=(8,)), "decoder": MLP((2,), (3,), widths=(8,))}
    return VAEGAN((3,), 2, features=MLP((3,), (5,), widths=(8,)), similarity=similarity, **networks)


@TRAINED_ON_TORCH
def test_gradients_reach_their_own_players_only():
    for player in NETWORKS:
        found = model()
        rates = {p: keras.optimizers.SGD(0.1 if p == player else 0.0) for p in NETWORKS}
        found.compile(rates, run_eagerly=True)
        before = {n: getattr(found, n).get_weights() for names in NETWORKS.values() for n in names}
        found.train_on_batch(X)
        moved = {
            n: any(np.abs(a - b).max() > 0 for a, b in zip(old, getattr(found, n).get_weights(), strict=True))
            for n, old in before.items()
        }
        assert moved == {n: n in NETWORKS[player] for n in before}


def test_the_losses_are_those_of_the_paper():
    found = model(similarity=0.0)
    found.compile("sgd", run_eagerly=True)
    logs = found.evaluate(X, batch_size=16, verbose=0, return_dict=True)
    np.testing.assert_allclose(logs["loss"], logs["similarity"] + logs["kl"], rtol=1e-5)
    found.discriminator.set_weights([np.zeros((5, 1)), np.zeros(1)])  # a discriminator that knows nothing: D = 1/2
    logs = found.evaluate(X, batch_size=16, verbose=0, return_dict=True)
    np.testing.assert_allclose(logs["discriminator_loss"], 2 * np.log(2), rtol=1e-5)
    np.testing.assert_allclose(logs["decoder_loss"], 2 * np.log(2), rtol=1e-5)
    assert found.sample(2, seed=0).shape == (2, 3) and found.likelihood == "implicit"
    assert ops.convert_to_numpy(found.decode_rows(ops.zeros((1, 2)))).shape == (1, 3)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(found))
    assert again.get_config() == found.get_config()
    with pytest.raises(NotImplementedError, match="no likelihood"):
        found.log_prob(X)
    with pytest.raises(TypeError, match="observation: VAEGAN takes none"):
        VAEGAN((3,), 2, observation="gaussian")


def test_the_terms_by_hand():
    """With a decoder that makes one picture of everything, what is compared and judged is known."""
    found = model(similarity=0.7)
    for weight in found.decoder.weights[:-1]:
        weight.assign(np.zeros(weight.shape))
    found.decoder.weights[-1].assign(np.array([0.3, -0.2, 0.5]))
    found.compile("sgd", run_eagerly=True)
    logs = found.evaluate(X, batch_size=16, verbose=0, return_dict=True)

    def judged(x):
        f = found.features(ops.convert_to_tensor(x))
        return ops.convert_to_numpy(f), ops.convert_to_numpy(found.discriminator(f))[:, 0]

    (f, real), (g, fake) = judged(X), judged(np.array([[0.3, -0.2, 0.5]], "float32"))
    distance, softplus = 0.5 * np.square(f - g).sum(1).mean(), lambda v: np.logaddexp(0.0, v)
    assert distance > 1e-3 and np.abs(real).max() > 1e-2
    np.testing.assert_allclose(logs["similarity"], distance, rtol=1e-4)
    np.testing.assert_allclose(logs["decoder_loss"], 0.7 * distance + 2 * softplus(-fake[0]), rtol=1e-4)
    np.testing.assert_allclose(logs["discriminator_loss"], softplus(-real).mean() + softplus(fake[0]), rtol=1e-4)


def test_free_bits_are_kept_and_an_augmentation_is_refused():
    networks = {"encoder": MLP((3,), (4,), widths=(8,)), "decoder": MLP((2,), (3,), widths=(8,))}
    found = VAEGAN((3,), 2, features=MLP((3,), (5,), widths=(8,)), free_bits=0.5, **networks)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(found))
    assert again.free_bits == 0.5 and again.get_config() == found.get_config()
    with pytest.raises(TypeError, match="augmentation: VAEGAN takes none"):
        VAEGAN((4, 4, 1), 2, augmentation=DiffAugment())


@pytest.mark.once("test_same_everywhere holds the training of every backend to the same numbers")
def test_a_prior_with_weights_learns_from_the_divergence():
    networks = {"encoder": MLP((3,), (4,), widths=(8,)), "decoder": MLP((2,), (3,), widths=(8,))}
    found = VAEGAN((3,), 2, features=MLP((3,), (5,), widths=(8,)), prior="gaussian_mixture", **networks)
    found.compile({p: keras.optimizers.SGD(0.1 if p == "encoder" else 0.0) for p in NETWORKS}, run_eagerly=True)
    before = found.prior.get_weights()
    found.train_on_batch(X)
    # Weights of the mixture among them: draws of the prior have no gradient for these.
    assert all(np.abs(a - b).max() > 0 for a, b in zip(before, found.prior.get_weights(), strict=True))


def test_default_features_cannot_shrink():
    """Else the similarity shrinks with them, the divergence is all that counts, and every picture becomes the same."""
    model = VAEGAN((8, 8, 1), 2)
    for weight in model.features.trainable_weights:
        if "kernel" in weight.path:
            weight.assign(0.5 * weight)
    x = RNG.uniform(-1, 1, (6, 8, 8, 1)).astype("float32")
    f = ops.convert_to_numpy(model.features(x))
    assert f.shape == (6, 256)
    np.testing.assert_allclose(np.square(f).mean(-1), 1.0, atol=0.1)
