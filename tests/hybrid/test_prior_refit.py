"""Prior refits: the likelihood of codes and of data rises, codes of every form go there and back, and the pair is one model."""

import keras
import numpy as np
import pytest
from keras import ops

import kgen
from kgen.autoregressive import GPT, CodePixelCNN, PixelCNN
from kgen.diffusion import DDPM, DDIMSampler
from kgen.flow import MAF
from kgen.hybrid import AutoencoderKL, PriorRefit
from kgen.networks import MLP, LadderDecoder, LadderEncoder, SpatialDecoder, SpatialEncoder
from kgen.vae import VAE, VQVAE, VQVAE2, GaussianLikelihood, GaussianMixture

RNG = np.random.default_rng(0)
# Two far clusters on a line in three dimensions: what a standard normal fits badly.
X = np.where(RNG.uniform(size=(512, 1)) < 0.5, -2.0, 2.0) + 0.2 * RNG.normal(size=(512, 1))
X = (X * [1.0, -1.0, 0.5] + 0.1 * RNG.normal(size=(512, 3))).astype("float32")


def linear_vae(seed=0):
    """z = the data's direction, whose posterior is narrow: the aggregate of the posteriors has two humps."""
    keras.utils.set_random_seed(seed)
    encoder, decoder = MLP((3,), (2,), widths=()), MLP((1,), (3,), widths=())
    vae = VAE((3,), 1, encoder=encoder, decoder=decoder, observation=GaussianLikelihood(0.1))
    direction = np.array([[1.0, -1.0, 0.5]], "float32")
    encoder.set_weights([np.concatenate([direction.T / 2.25, np.zeros((3, 1))], 1), np.array([0.0, -3.26])])
    decoder.set_weights([direction, np.zeros(3)])
    return vae


@pytest.fixture(scope="module")
def refit():
    found = PriorRefit(linear_vae(), GaussianMixture((1,), 2))
    found.fit(X)
    return found


def test_the_likelihood_of_codes_and_of_data_rises(refit):
    codes = refit.codes(X)
    mean, spread = refit.encode(X), codes - refit.encode(X)
    assert abs(spread.std() / np.log1p(np.exp(-3.26 + 0.5413)) - 1) < 0.1 and abs(mean.std() - 2) < 0.1
    normal = -0.5 * (np.square(codes[:, 0]) + np.log(2 * np.pi))
    assert refit.prior.log_prob(codes).mean() > normal.mean() + 1.0
    assert refit.likelihood == "bound"
    # Of linear networks p(x) is a mixture of Gaussians: N(w m_k, w w^T s_k^2 + 0.1^2 I).
    w = np.array([1.0, -1.0, 0.5])
    m, s = (ops.convert_to_numpy(v).reshape(2) for v in (refit.prior.loc, refit.prior.scale_tril))
    exact = np.zeros((16, 2))
    for k in range(2):
        covariance = np.outer(w, w) * s[k] ** 2 + 0.01 * np.eye(3)
        e = X[:16] - w * m[k]
        exact[:, k] = -0.5 * (np.einsum("ni,ij,nj->n", e, np.linalg.inv(covariance), e) + 3 * np.log(2 * np.pi))
        exact[:, k] += ops.convert_to_numpy(ops.log_softmax(ops.convert_to_tensor(refit.prior.logits)))[k]
        exact[:, k] -= 0.5 * np.linalg.slogdet(covariance)[1]
    found = refit.log_prob(X[:16], num_samples=100)
    np.testing.assert_allclose(found, np.logaddexp(*exact.T), atol=0.3)
    assert found.mean() > refit.autoencoder.log_prob(X[:16], num_samples=30).mean() + 0.5


def test_the_pair_is_one_model(refit, tmp_path):
    samples = refit.sample(6, seed=3)
    codes = refit.prior.sample(6, seed=3)
    np.testing.assert_allclose(samples, refit.decode(codes), atol=1e-5)
    np.testing.assert_allclose(refit.sample(6, seed=3, batch_size=4), samples, atol=1e-6)
    humps = np.abs(refit.sample(200, seed=0)[:, 0])
    assert (np.abs(humps - 2) < 1).mean() > 0.98  # of a standard normal's a third would be
    refit.save(tmp_path / "m.keras")
    refit.save_to_preset(tmp_path / "preset")
    for again in (kgen.load(tmp_path / "m.keras"), kgen.from_preset(tmp_path / "preset")):
        np.testing.assert_allclose(again.sample(6, seed=3), samples, atol=1e-6)
        assert again.get_config() == refit.get_config()
    np.testing.assert_allclose(refit.reconstruct(X[:2]), refit.decode(refit.encode(X[:2])), atol=1e-6)
    assert refit.interpolate(X[:1], X[1:2], 3).shape == (1, 3, 3)


@pytest.mark.once("test_same_everywhere holds the training of every backend to the same numbers")
def test_a_second_vae_and_a_flow_raise_the_likelihood_too(refit):
    """Of codes of variance s^2 the best that an affine flow can be is N(m, s^2); a second VAE comes near that or has two humps."""
    keras.utils.set_random_seed(0)
    codes = refit.codes(X)
    normal = -0.5 * (np.square(codes).mean() + np.log(2 * np.pi))
    gaussian = -0.5 * (np.log(2 * np.pi * codes.var()) + 1)
    decoder = MLP((1,), (1,), widths=(16,))
    priors = {"vae": VAE((1,), 1, encoder=MLP((1,), (2,), widths=(16,)), decoder=decoder)}
    if keras.config.backend() != "torch":  # on which flows do not run
        priors["flow"] = MAF((1,), layers=1, widths=(4,), ema=None)
    for name, prior in priors.items():
        pair = PriorRefit(refit.autoencoder, prior)
        pair.compile(keras.optimizers.Adam(0.02))
        pair.fit(X, batch_size=64, epochs=40, verbose=0)
        found = prior.log_prob(codes).mean()
        assert found > gaussian - 0.05 > normal + 0.6, name
        if name == "flow":
            assert found == pytest.approx(gaussian, abs=0.02)
        rise = pair.log_prob(X[:64]).mean() - refit.autoencoder.log_prob(X[:64]).mean()
        assert rise == pytest.approx(found - normal, abs=0.3), name


def test_rows_may_be_weighed():
    prior = VAE((1,), 1, encoder=MLP((1,), (2,), widths=()), decoder=MLP((1,), (1,), widths=()))
    model = PriorRefit(linear_vae(), prior)
    model.compile("adam", run_eagerly=keras.config.backend() != "jax")
    ones, held_out = np.ones(64, "float32"), (X[64:80], None, np.r_[np.ones(8), np.zeros(8)].astype("float32"))
    history = model.fit(X[:64], sample_weight=ones, validation_data=held_out, batch_size=64, verbose=0).history
    # Rows are weighed in the mean, as everywhere in Keras.
    wanted = model.evaluate(X[64:72], batch_size=8, verbose=0, return_dict=True)["loss"]
    np.testing.assert_allclose(history["val_loss"][0], wanted, rtol=1e-3)


def vqvae():
    keras.utils.set_random_seed(0)
    encoder = SpatialEncoder((4, 4, 1), 3, channels=(8,), blocks=1)
    decoder = SpatialDecoder((2, 2, 3), 1, channels=(8,), blocks=1)
    model = VQVAE((4, 4, 1), 5, 3, encoder=encoder, decoder=decoder)
    model.quantizer.codebook.assign(RNG.normal(size=(5, 3)))
    return model


def test_maps_of_codes_become_pixels_and_tokens(tmp_path):
    autoencoder = vqvae()
    x = RNG.uniform(-1, 1, (8, 4, 4, 1)).astype("float32")
    native = autoencoder.encode(x)
    pixels = PriorRefit(autoencoder, PixelCNN((2, 2, 1), channels=4, blocks=1, components=2, levels=5, ema=None))
    tokens = PriorRefit(autoencoder, GPT(5, 4, layers=1, heads=1, width=8))
    levels = pixels.codes(x)
    np.testing.assert_allclose(levels[..., 0], native / 2 - 1, atol=1e-6)
    np.testing.assert_array_equal(tokens.codes(x), native.reshape(8, 4))
    for refit, codes in ((pixels, levels), (tokens, tokens.codes(x))):
        found = refit.decode_prior_rows(ops.convert_to_tensor(codes))
        np.testing.assert_allclose(ops.convert_to_numpy(found), autoencoder.decode(native), atol=1e-5)
        assert refit.likelihood == "implicit" and next(e.name for e in refit.endpoints()) == "sample"
    tokens.compile("sgd", jit_compile=False)
    if keras.config.backend() != "jax":  # which takes seconds to compile each of the two loops
        native = tokens.prior.sample(3, seed=0).reshape(3, 2, 2)
        np.testing.assert_allclose(tokens.sample(3, seed=0), autoencoder.decode(native), atol=1e-5)
    if keras.config.backend() == "torch":  # the others take seconds to compile each loop and step
        for i, pair in enumerate((pixels, tokens)):
            pair.compile("adam")
            before = pair.evaluate(x, verbose=0, return_dict=True)["loss"]
            pair.fit(x, epochs=20, verbose=0)
            assert pair.evaluate(x, verbose=0, return_dict=True)["loss"] < before
            samples = pair.sample(4, seed=1)
            pair.save(tmp_path / f"{i}.keras")
            np.testing.assert_allclose(kgen.load(tmp_path / f"{i}.keras").sample(4, seed=1), samples, atol=1e-6)
    for prior, message in [
        (GaussianMixture((3,)), r"prior: expected a model of latents of shape \(2, 2, 3\), received one of \(3,\)"),
        (GPT(6, 4, layers=1, heads=1, width=8), "prior: expected a GPT of 5 tokens with context=4"),
    ]:
        with pytest.raises(ValueError, match=message):
            PriorRefit(autoencoder, prior)


def test_codes_of_several_levels_are_drawn_from_the_top(tmp_path):
    keras.utils.set_random_seed(0)
    shapes = ((2,), (2,))
    encoder = LadderEncoder((3,), shapes, (4, 4, 4))
    autoencoder = VQVAE2((3,), 5, 2, encoder=encoder, decoder=LadderDecoder(shapes, (3,), (4, 4, 4), stochastic=False))
    for quantizer in autoencoder.quantizers:
        quantizer.codebook.assign(RNG.normal(size=(5, 2)))
    pair = PriorRefit(autoencoder, CodePixelCNN(((), ()), 5, channels=4, blocks=1, width=3, ema=None))
    np.testing.assert_array_equal(pair.codes(X[:8]), autoencoder.encode(X[:8]))
    if (
        keras.config.backend() == "torch"
    ):  # the others take seconds to compile each loop; tests/autoregressive samples on them
        pair.compile("adam")
        pair.fit(X, batch_size=256, verbose=0)
        figures = pair.evaluate(X, verbose=0, return_dict=True)
        assert abs(figures["bits_0"] + figures["bits_1"] - figures["bits"]) < 1e-4
        samples = pair.sample(4, seed=1)
        np.testing.assert_allclose(samples, autoencoder.decode(pair.prior.sample(4, seed=1)), atol=1e-5)
        pair.save(tmp_path / "m.keras")
        np.testing.assert_allclose(kgen.load(tmp_path / "m.keras").sample(4, seed=1), samples, atol=1e-6)
    with pytest.raises(ValueError, match=r"prior: expected a CodePixelCNN of maps \(\(\), \(\)\) with num_codes=5"):
        PriorRefit(autoencoder, CodePixelCNN(((2,),), 5, channels=4, blocks=1))


def test_wrong_arguments(refit):
    gpt = GPT(5, 4, layers=1, heads=1, width=8)
    maps, mlp = AutoencoderKL((4, 4, 1), 2, channels=(4,)), MLP((2, 2, 2), (2, 2, 2), widths=(4,), time=True)
    assert PriorRefit(maps, GaussianMixture((2, 2, 2), 2)).sample(1, seed=0).shape == (1, 4, 4, 1)
    diffusion = PriorRefit(maps, DDPM((2, 2, 2), network=mlp, clip=False, sampler=DDIMSampler(2)))
    diffusion.compile("adam", jit_compile=False)
    diffusion.fit(RNG.uniform(-1, 1, (8, 4, 4, 1)).astype("float32"), verbose=0)
    drawn = diffusion.prior.sample(2, seed=0)
    np.testing.assert_allclose(diffusion.sample(2, seed=0), maps.decode(drawn), atol=1e-5)
    for call, kind, message in [
        (lambda: PriorRefit(gpt, refit.prior), TypeError, "autoencoder: expected a trained"),
        (lambda: PriorRefit(refit.autoencoder, "mixture"), TypeError, "prior: expected a model such as"),
        (lambda: PriorRefit(refit.autoencoder, gpt), ValueError, "a GPT is a model of integer codes"),
        (
            lambda: refit.fit(X, epochs=3),
            TypeError,
            "epochs: the fit of a GaussianMixture takes iterations, seed, verbose",
        ),
        (
            lambda: PriorRefit(maps, DDPM((2, 2, 2), network=mlp)),
            ValueError,
            "maps takes them with clip=False",
        ),
        (lambda: refit.sample(1, labels=0), ValueError, "this model has no classes"),
    ]:
        with pytest.raises(kind, match=message):
            call()
