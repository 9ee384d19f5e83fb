"""The VAE: the exact optimum of a linear one, the bound, the protocol, wrong arguments."""

import math

import keras
import numpy as np
import pytest

import kgen
from kgen.core.conditions import LabelCondition, VectorCondition
from kgen.networks import MLP
from kgen.vae import VAE, GaussianLikelihood, GaussianMixturePrior


def ppca_optimum(x, q):
    """The largest log-likelihood of probabilistic PCA, nats per example (Tipping & Bishop 1999, Eq. 4 with its maximum)."""
    d = x.shape[1]
    eigenvalues = np.sort(np.linalg.eigvalsh(np.cov(x.T, bias=True)))[::-1]
    noise = eigenvalues[q:].mean()
    return -0.5 * (d * math.log(2 * math.pi) + np.log(eigenvalues[:q]).sum() + (d - q) * math.log(noise) + d)


def linear_encoder(d, q, covariance_size):
    """Mean linear in x, covariance the same for all x: what the exact posterior of a linear decoder is."""
    x = keras.Input((d,))
    mean = keras.layers.Dense(q)(x)
    covariance = keras.layers.Dense(covariance_size)(keras.layers.Rescaling(0.0)(x))
    return keras.Model(x, keras.layers.Concatenate()([mean, covariance]))


@pytest.mark.once("test_same_everywhere holds the training of every backend to the same numbers")
def test_a_linear_vae_reaches_the_probabilistic_pca_optimum():
    from sklearn.datasets import load_digits

    keras.utils.set_random_seed(0)
    raw = load_digits().data.astype("float32")
    q, d, unit = 2, 64, 4.0
    optimum = ppca_optimum(raw.astype("float64"), q)
    assert abs(optimum - -177.439971) < 1e-5
    x = (raw - raw.mean(0)) / unit  # a density of x / unit is larger by d ln(unit)
    model = VAE(
        (d,),
        q,
        encoder=linear_encoder(d, q, q * (q + 1) // 2),
        decoder=MLP((q,), (d,), widths=()),
        posterior="full",
        observation=GaussianLikelihood(),
    )
    steps = 500
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(3e-2, steps)))
    for _ in range(steps):
        model.train_on_batch(x)
    # What the decoder says about x, in closed form: N(b, W W^T + s^2 I).
    weights, bias = model.decoder.get_weights()
    scale = float(np.exp(keras.ops.convert_to_numpy(model.observation.log_scale)))
    covariance = weights.T.astype("float64") @ weights + scale**2 * np.eye(d)
    residual = x.astype("float64") - bias
    likelihood = (
        -0.5 * (d * math.log(2 * math.pi) + np.linalg.slogdet(covariance)[1])
        - 0.5 * np.einsum("ni,ij,nj->n", residual, np.linalg.inv(covariance), residual).mean()
        - d * math.log(unit)
    )
    assert optimum - 1e-2 < likelihood <= optimum + 1e-4
    # The posterior is exact too, so that the bound is tight with any number of importance samples.
    bound = model.log_prob(x, num_samples=4).mean() - d * math.log(unit)
    assert abs(bound - likelihood) < 2e-2


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    model = VAE((8, 8, 1), 4, encoder=MLP((8, 8, 1), (8,), widths=(32,)), decoder=MLP((4,), (8, 8, 1), widths=(32,)))
    model.compile(optimizer=keras.optimizers.Adam(3e-3))
    return model


@pytest.fixture(scope="module")
def x():
    return kgen.data.load("digits")[0][:256]


def test_loss_falls_and_its_parts_add_up(model, x):
    history = model.fit(x, epochs=10, batch_size=64, verbose=0).history
    assert history["loss"][-1] < history["loss"][0] - 10
    np.testing.assert_allclose(np.add(history["reconstruction"], history["kl"]), history["loss"], rtol=1e-5)
    figures = model.evaluate(x, verbose=0, return_dict=True)
    assert figures == model.evaluate(x, verbose=0, return_dict=True)
    # The importance-weighted bound is above the ELBO, and rises with the number of samples.
    one, many = (model.log_prob(x, num_samples=k).mean() for k in (1, 50))
    assert abs(one + figures["loss"]) < 1.0 and many > one


def test_the_protocol(model, x):
    z = model.encode(x[:5])
    assert z.shape == (5, 4)
    np.testing.assert_allclose(model.decode(z), model.reconstruct(x[:5]), atol=1e-5)
    path = model.interpolate(x[:2], x[2:4], steps=5)
    assert path.shape == (2, 5, 8, 8, 1)
    np.testing.assert_allclose(path[:, 0], model.reconstruct(x[:2]), atol=1e-5)
    np.testing.assert_allclose(path[:, -1], model.reconstruct(x[2:4]), atol=1e-5)
    moved = model.traverse(x[0], steps=3, span=2.0)
    assert moved.shape == (4, 3, 8, 8, 1)
    ends = np.stack([np.where(np.arange(4) == 2, v, z[0]) for v in (-2, 0, 2)]).astype("float32")
    np.testing.assert_allclose(moved[2], model.decode(ends), atol=1e-5)
    samples = model.sample(8, seed=3)
    np.testing.assert_allclose(model.sample(4, seed=3), samples[:4], atol=1e-6)
    np.testing.assert_allclose(model.sample(8, seed=3, batch_size=3), samples, atol=1e-6)
    noisy = model.sample(2000, seed=3, noise=True) - model.sample(2000, seed=3)
    scale = float(np.exp(keras.ops.convert_to_numpy(model.observation.log_scale)))
    assert abs(noisy.std() / scale - 1) < 0.03


def test_saved_and_loaded_it_is_the_same(model, x, tmp_path):
    model.save(tmp_path / "vae.keras")
    loaded = kgen.load(tmp_path / "vae.keras")
    np.testing.assert_allclose(loaded.sample(4, seed=0), model.sample(4, seed=0), atol=1e-6)
    np.testing.assert_allclose(loaded.log_prob(x[:4], num_samples=3), model.log_prob(x[:4], num_samples=3), rtol=1e-5)
    assert loaded.get_config() == model.get_config()


def test_beta_warmup_and_free_bits(x):
    def tiny(**kwargs):
        keras.utils.set_random_seed(0)
        model = VAE(
            (8, 8, 1), 4, encoder=MLP((8, 8, 1), (8,), widths=()), decoder=MLP((4,), (8, 8, 1), widths=()), **kwargs
        )
        model.compile("sgd")
        return model

    plain = tiny().evaluate(x, verbose=0, return_dict=True)
    weighted = tiny(beta=3.0).evaluate(x, verbose=0, return_dict=True)
    np.testing.assert_allclose(weighted["loss"], plain["reconstruction"] + 3 * plain["kl"], rtol=1e-5)
    free = tiny(free_bits=1e3).evaluate(x, verbose=0, return_dict=True)
    np.testing.assert_allclose(free["loss"], plain["reconstruction"] + 1e3, rtol=1e-5)
    assert abs(free["kl"] - plain["kl"]) < 1e-5
    # Just below the mean divergence of the batch, above that of many of its rows, nothing is free.
    below = tiny(free_bits=plain["kl"] * 0.99).evaluate(x, verbose=0, batch_size=len(x), return_dict=True)
    np.testing.assert_allclose(below["loss"], plain["loss"], rtol=1e-5)
    # A warm-up goes from weight 0 in its first step to beta in its tenth, and stays there.
    warming = tiny(kl_warmup=10, beta=2.0)
    for step in range(13):
        logs = warming.train_on_batch(x[:64], return_dict=True)
        weight = 2.0 * min(step / 10, 1.0)
        np.testing.assert_allclose(logs["loss"], logs["reconstruction"] + weight * logs["kl"], rtol=1e-5)
    assert logs["kl"] > 1e-3 * logs["loss"]


@pytest.mark.once("test_same_everywhere holds the training of every backend to the same numbers")
def test_a_mixture_prior_estimates_the_divergence_and_is_trained():
    def make(prior):
        keras.utils.set_random_seed(0)
        encoder, decoder = MLP((3,), (2,), widths=(16,)), MLP((1,), (3,), widths=(16,))
        model = VAE((3,), 1, encoder=encoder, decoder=decoder, prior=prior)
        model.compile(keras.optimizers.Adam(1e-2))
        return model

    x = np.random.default_rng(0).normal(size=(5000, 3)).astype("float32")
    mixture = make(GaussianMixturePrior(1))
    mixture.prior.loc.assign([[0.0]])  # one standard normal: the divergence that has a closed form
    estimate = mixture.evaluate(x, batch_size=len(x), verbose=0, return_dict=True)["kl"]
    exact = make("standard_normal").evaluate(x, batch_size=len(x), verbose=0, return_dict=True)["kl"]
    assert abs(estimate - exact) < 0.05 * max(exact, 1.0)
    before = keras.ops.convert_to_numpy(mixture.prior.raw_scale).copy()
    history = mixture.fit(x, epochs=3, batch_size=256, verbose=0).history["loss"]
    assert history[-1] < history[0]
    assert np.abs(keras.ops.convert_to_numpy(mixture.prior.raw_scale) - before).max() > 1e-3


def test_a_mixture_prior_starts_with_its_normals_apart():
    prior = GaussianMixturePrior(50)
    prior.build(20)
    assert abs(keras.ops.convert_to_numpy(prior.loc).std() - 1.0) < 0.1


def test_wrong_arguments(model, x):
    cases = [
        (lambda: model.fit(x, np.zeros(len(x))), "y: this model has no classes"),
        (lambda: model.sample(2, labels=1), "labels: this model has no classes"),
        (
            lambda: VAE((8, 8, 1), conditions=LabelCondition(3)),
            r"encoder: a VAE with conditions needs .* network of \[x, label\]",
        ),
        (
            lambda: VAE((8, 8, 1), ema_of=["posterior"]),
            "ema_of: expected one of 'encoder', 'decoder', 'prior', 'observation'",
        ),
        (lambda: GaussianLikelihood("exact"), "scale: expected a number above 0, None or 'analytic', received 'exact'"),
        (lambda: model.fit(x * 200), r"x: expected values in \[-1, 1\]"),
        (lambda: model.encode(x[0]), r"expected shape \(N, 8, 8, 1\), received \(8, 8, 1\). For a single example"),
        (lambda: model.decode(np.zeros((2, 5), "float32")), r"z: expected shape \(N, 4\), received \(2, 5\)"),
        (lambda: model.interpolate(x[:1], x[:1], steps=1), "steps: expected at least 2"),
        (lambda: model.traverse(x[0], steps=1), "steps: expected at least 2"),
        (lambda: model.interpolate(x[:1], x[:2]), "a, b: expected as many examples in both, received 1 and 2"),
        (lambda: model.log_prob(x, num_samples=0), "num_samples: expected an integer of at least 1, received 0"),
        (lambda: VAE((8, 8, 1), 4, observation="normal"), "observation: expected one of 'gaussian', 'bernoulli'"),
        (lambda: VAE((8, 8, 1), 4, beta=-1), "beta: expected a number in"),
        (
            lambda: VAE((8, 8, 1), 4, encoder=MLP((8, 8, 1), (4,))),
            r"encoder: expected outputs \(B, 8\) \(DiagonalGaussianPosterior needs 8",
        ),
        (lambda: VAE((8, 8, 1), 4, decoder=MLP((4,), (8, 8, 2))), r"decoder: expected outputs \(B, 8, 8, 1\)"),
        (lambda: GaussianLikelihood(0.0), "scale: expected a number above 0, None or 'analytic', received 0.0"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()


def conditioned(widths=(8,)):
    """Networks of [first, size] for a VAE of rows (3,) with a vector of 2."""

    def network(first, output):
        inputs = [keras.Input((first,)), keras.Input((2,))]
        return keras.Model(inputs, MLP((first + 2,), (output,), widths=widths)(keras.layers.Concatenate()(inputs)))

    return network(3, 4), network(2, 3)


def test_a_condition_reaches_both_networks(tmp_path):
    encoder, decoder = conditioned()
    given = VectorCondition(2, -3.0, 3.0, name="size", dropout=0.5)
    model = VAE((3,), 2, encoder=encoder, decoder=decoder, conditions=[given], ema=0.9)
    model.compile(keras.optimizers.Adam(1e-2))
    rng = np.random.default_rng(0)
    size = rng.uniform(-3, 3, (64, 2)).astype("float32")
    x = np.concatenate([size, size[:, :1]], 1)
    history = model.fit({"x": x, "size": size}, epochs=3, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    model.evaluate(x, size, verbose=0)
    z = model.encode(x[:4], size=size[:4])
    assert np.abs(z - model.encode(x[:4])).max() > 1e-4  # with dropout it may be left out
    np.testing.assert_allclose(model.reconstruct(x[:4], size=size[:4]), model.decode(z, size=size[:4]), atol=1e-6)
    assert model.interpolate(x[:2], x[2:4], 3, size=size[0]).shape == (2, 3, 3)
    assert model.traverse(x[0], 3, size=size[0]).shape == (2, 3, 3)
    samples = model.sample(4, seed=0, size=size[:4])
    np.testing.assert_allclose(samples[2:3], model.sample(3, seed=0, size=size[2])[2:], atol=1e-6)
    assert model.log_prob(x[:4], num_samples=2, size=size[:4]).shape == (4,)
    assert all("size" in endpoint.inputs for endpoint in model.endpoints())
    model.save(tmp_path / "m.keras")
    np.testing.assert_array_equal(kgen.load(tmp_path / "m.keras").sample(4, seed=0, size=size[:4]), samples)
    with pytest.raises(ValueError, match=r"size: expected values in \[-3, 3\]"):
        model.sample(1, size=[9.0, 0.0])


def test_the_analytic_scale_is_the_error_of_the_reconstructions():
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(256, 3)).astype("float32")
    networks = {"encoder": MLP((3,), (2,), widths=()), "decoder": MLP((1,), (3,), widths=())}
    model = VAE((3,), 1, observation=GaussianLikelihood("analytic", initial_scale=2.0), ema=0.9, **networks)
    model.compile(keras.optimizers.SGD(0.0))
    weight = np.where(np.arange(256) < 200, 1.0, 0.0).astype("float32")
    for _ in range(150):
        model.train_on_batch(x, sample_weight=weight)
    found = float(keras.ops.convert_to_numpy(model.observation.variance))
    # The mean over z of the squared error: of linear networks |x - w m - b|^2 + |w|^2 s^2, with z ~ N(m, s^2).
    x = x[:200].astype("float64")
    (v, c), (w, b) = model.encoder.get_weights(), model.decoder.get_weights()
    m, s = (x @ v + c).T
    s = np.log1p(np.exp(s + np.log(math.e - 1)))
    error = (np.square(x - m[:, None] @ w - b) + np.square(s)[:, None] * np.square(w)).mean()
    assert abs(found / error - 1) < 0.1
    average = float(keras.ops.convert_to_numpy(model.ema_observation.variance))
    assert abs(average / found - 1) < 0.1
    assert not model.observation.trainable_variables
