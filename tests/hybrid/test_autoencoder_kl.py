"""AutoencoderKL: its terms by hand, whose gradients go where, maps of latents, latent diffusion on them, saved whole."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from marks import TRAINED_ON_TORCH

import kgen
from kgen.core.config import own_copy
from kgen.hybrid import AutoencoderKL, LatentDiffusion
from kgen.networks import MLP
from kgen.networks.perceptual import perceptual_distance

from contract import COMPILE

SHAPE = (4, 4, 1)
RNG = np.random.default_rng(0)
X = RNG.uniform(-1, 1, size=(8, *SHAPE)).astype("float32")


def value(x):
    return ops.convert_to_numpy(x)


def pixels(seed):
    """A network that sees two features in each pixel."""
    keras.utils.set_random_seed(seed)
    x = keras.Input(SHAPE)
    return keras.Model(
        x, [layers.Conv2D(2, 1, bias_initializer="ones")(x), layers.Conv2D(3, 1, bias_initializer="ones")(x)]
    )


def model(**kwargs):
    keras.utils.set_random_seed(0)
    x, z = keras.Input(SHAPE), keras.Input((2, 2, 3))
    networks = {
        "encoder": keras.Model(x, layers.Conv2D(6, 2, strides=2, name="e")(x)),
        "decoder": keras.Model(z, layers.Conv2DTranspose(1, 2, strides=2, name="d")(z)),
        "discriminator": keras.Model(x, layers.Conv2D(1, 2, strides=2, name="c")(x)),
    }
    return AutoencoderKL(SHAPE, 3, **networks, **kwargs)


def test_perceptual_distance_by_hand():
    network = pixels(0)
    a, b = X[:3], X[3:6]
    assert np.abs(value(perceptual_distance(network, a, a))).max() < 1e-6
    total = 0.0
    for u, v in zip(network(a), network(b), strict=True):
        u, v = (value(h) / np.linalg.norm(value(h), axis=-1, keepdims=True) for h in (u, v))
        total = total + ((u - v) ** 2).sum(-1).mean((1, 2))
    np.testing.assert_allclose(value(perceptual_distance(network, a, b)), total, rtol=1e-4)
    assert (total > 1e-3).all()


def test_the_terms_of_the_losses():
    found = model(features=pixels(1), perceptual=0.7, adversarial_weight=0.3, beta=0.01)
    found.compile("sgd", run_eagerly=True)
    logs = found.evaluate(X, batch_size=8, verbose=0, return_dict=True)
    parts = logs["reconstruction"] + 0.7 * logs["perceptual"] + 0.01 * logs["kl"] / 16 + 0.3 * logs["adversarial"]
    assert logs["loss"] == pytest.approx(parts, rel=1e-5) and logs["perceptual"] > 0
    # KL of each latent from N(0, 1), summed over the map.
    moments = value(found.encoder.layers[1].get_layer("e")(X))
    loc, scale = moments[..., :3], np.logaddexp(0, moments[..., 3:] + 0.5413248546) + 1e-6
    kl = 0.5 * (loc**2 + scale**2 - 1) - np.log(scale)
    assert logs["kl"] == pytest.approx(kl.sum((1, 2, 3)).mean(), rel=1e-4)
    np.testing.assert_allclose(found.encode(X), loc, atol=1e-5)
    again = found.decoder.layers[2].get_layer("d")(ops.convert_to_tensor(loc))
    np.testing.assert_allclose(found.decode(loc), np.clip(value(again), -1, 1), atol=1e-5)
    np.testing.assert_allclose(found.reconstruct(X), found.decode(found.encode(X)), atol=1e-5)


def test_reconstruction_and_what_the_discriminator_says_by_hand():
    found = model(adversarial_weight=0.3)
    inner = found.encoder.layers[1].get_layer("e")
    inner.bias.assign(np.array([0, 0, 0, -30, -30, -30]))  # a posterior without width: z is its mean
    inner.kernel.assign(value(inner.kernel) * np.array([1, 1, 1, 0, 0, 0]))
    found.compile("sgd", run_eagerly=True)
    logs = found.evaluate(X, batch_size=8, verbose=0, return_dict=True)
    loc = value(inner(X))[..., :3]
    made = value(found.decoder.layers[2].get_layer("d")(ops.convert_to_tensor(loc)))
    assert logs["reconstruction"] == pytest.approx(np.abs(made - X).mean(), rel=1e-3)
    real, fake = (value(found.discriminator(v)) for v in (X, made))
    assert logs["adversarial"] == pytest.approx(-fake.mean(), rel=1e-3)  # hinge, of each patch
    judged = np.maximum(1 - real, 0).mean() + np.maximum(1 + fake, 0).mean()
    assert logs["discriminator_loss"] == pytest.approx(judged, rel=1e-3)


def test_what_it_is_made_with_is_kept():
    found = model(free_bits=3.0, prior="gaussian_mixture", ema=0.9, ema_of=["encoder"])
    again = AutoencoderKL.from_config(found.get_config())
    kept = ("free_bits", "prior", "ema_of", "ema")
    assert all(again.get_config()[name] == found.get_config()[name] for name in kept) and again.free_bits == 3.0
    assert [w.shape for w in again.weights] == [w.shape for w in found.weights]
    with pytest.raises(TypeError, match="posterior: AutoencoderKL has a Gaussian posterior of each place of a map"):
        AutoencoderKL(SHAPE, 3, posterior="full")


def test_networks_of_the_user_s_own_are_copied_more_than_once():
    found = model()
    before = own_copy(found.get_config())
    for _ in range(2):
        again = AutoencoderKL.from_config(found.get_config())
        assert found.get_config() == before
        LatentDiffusion(found, network=MLP((2, 2, 3), (2, 2, 3), widths=(8,), time=True))
    assert [w.shape for w in again.weights] == [w.shape for w in found.weights]


def test_the_classifier_whose_layers_are_its_features_goes_on_as_it_was():
    classifier = keras.Sequential([keras.Input(SHAPE), layers.Conv2D(2, 1, name="seen"), layers.Dense(3)])
    features = keras.Model(classifier.inputs, classifier.get_layer("seen").output)
    found = model(features=features)
    assert len(classifier.trainable_variables) == 4 and not found.features.trainable_variables
    np.testing.assert_array_equal(value(found.features(X)), value(features(X)))
    before = value(found.features(X))
    classifier.set_weights([w + 1 for w in classifier.get_weights()])
    np.testing.assert_array_equal(value(found.features(X)), before)


@TRAINED_ON_TORCH
def test_gradients_reach_their_own_players_only_and_the_discriminator_begins_late():
    networks = {"autoencoder": ("encoder", "decoder"), "discriminator": ("discriminator",)}

    def moved(player, **kwargs):
        found = model(features=pixels(1), perceptual=0.0, **kwargs)
        rates = {p: keras.optimizers.SGD(0.1 if p == player else 0.0) for p in networks}
        found.compile(rates, run_eagerly=True)
        before = {n: getattr(found, n).get_weights() for n in ("encoder", "decoder", "discriminator", "features")}
        found.train_on_batch(X)
        return {
            n: max(np.abs(a - b).max() for a, b in zip(old, getattr(found, n).get_weights(), strict=True))
            for n, old in before.items()
        }

    for player, own in networks.items():
        assert {n for n, size in moved(player).items() if size > 0} == set(own)
    assert max(moved("discriminator", discriminator_start=1).values()) == 0
    judged, unjudged = (moved("autoencoder", adversarial_weight=50.0, discriminator_start=start) for start in (0, 1))
    assert judged["decoder"] > 2 * unjudged["decoder"] > 0


def test_latent_diffusion_takes_its_maps_and_all_is_saved(tmp_path):
    found = model(ema=0.9)
    found.compile(**COMPILE)
    found.fit(X, batch_size=4, verbose=0)
    assert found.latent_shape == (2, 2, 3) and found.sample(2, seed=0).shape == (2, *SHAPE)
    found.save(tmp_path / "a.keras")
    again = kgen.load(tmp_path / "a.keras")
    np.testing.assert_allclose(again.encode(X), found.encode(X), atol=1e-6)
    plain = (
        "beta",
        "perceptual",
        "adversarial_weight",
        "discriminator_start",
        "latent_channels",
        "channels",
        "shape",
        "ema",
    )
    assert {k: again.get_config()[k] for k in plain} == {k: found.get_config()[k] for k in plain}
    assert [e.name for e in found.endpoints()] == ["sample", "encode", "decode", "reconstruct"]
    network = MLP((2, 2, 3), (2, 2, 3), widths=(8,), time=True)
    latent = LatentDiffusion(found, network=network)
    latent.adapt(X)
    z = latent.encode(X)
    np.testing.assert_allclose(z.reshape(-1, 3).std(0), 1.0, atol=1e-3)
    np.testing.assert_allclose(latent.decode(z), found.reconstruct(X), atol=1e-4)


def test_wrong_arguments():
    x = keras.Input(SHAPE)
    with pytest.raises(
        ValueError, match=r"encoder: expected outputs \(B, h, w, 6\), twice latent_channels, received \(B, 4, 4, 5\)"
    ):
        AutoencoderKL(SHAPE, 3, encoder=keras.Model(x, layers.Conv2D(5, 1)(x)))
    with pytest.raises(ValueError, match=r"AutoencoderKL is of images, expected \(H, W, C\), received \(3,\)"):
        AutoencoderKL((3,))
    with pytest.raises(NotImplementedError, match="no likelihood"):
        model().log_prob(X)
