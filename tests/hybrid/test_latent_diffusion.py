"""Latent diffusion: the latents' scale, the frozen autoencoder, sampling by hand, wrong arguments."""

import keras
import numpy as np
import pytest
from keras import ops

import kgen
from kgen.core.conditions import LabelCondition
from kgen.diffusion import DDIMSampler
from kgen.hybrid import LatentDiffusion
from kgen.networks import MLP, ResidualMLP, SpatialDecoder, SpatialEncoder, UNet
from kgen.vae import VAE, VQVAE

COMPILE = keras.config.backend() == "jax"  # TensorFlow's XLA takes longer to compile than these take to run


@pytest.fixture(scope="module")
def x():
    return kgen.data.load("digits")[0][:256]


@pytest.fixture(scope="module")
def y():
    return kgen.data.load("digits")[1][:256]


@pytest.fixture(scope="module", params=["vae", "vqvae"])
def autoencoder(request, x):
    keras.utils.set_random_seed(0)
    if request.param == "vae":
        encoder, decoder = MLP((8, 8, 1), (6,), widths=(32,)), MLP((3,), (8, 8, 1), widths=(32,))
        model = VAE((8, 8, 1), 3, encoder=encoder, decoder=decoder)
    else:
        encoder = SpatialEncoder((8, 8, 1), 3, channels=(8, 8), blocks=0)
        decoder = SpatialDecoder((2, 2, 3), 1, channels=(8, 8), blocks=0)
        model = VQVAE((8, 8, 1), 16, 3, encoder=encoder, decoder=decoder)
    model.compile(keras.optimizers.Adam(5e-3), jit_compile=COMPILE)
    model.fit(x, epochs=3, batch_size=64, verbose=0)
    return model


@pytest.fixture(scope="module")
def model(autoencoder, x, y):
    model = small(autoencoder)
    model.fit(*labelled(model, x, y), batch_size=128, verbose=0)
    return model


def small(autoencoder):
    """A model with 10 classes over a VAE, without classes over a VQ-VAE."""
    classes = 10 if isinstance(autoencoder, VAE) else None
    network = (
        ResidualMLP(3, 16, 1, conditions=[LabelCondition(10, dropout=0.1)])
        if classes
        else MLP((2, 2, 3), (2, 2, 3), (16,), time=True)
    )
    model = LatentDiffusion(autoencoder, network=network, num_classes=classes, sampler=DDIMSampler(3))
    model.compile(keras.optimizers.Adam(1e-3), jit_compile=COMPILE)
    return model


def labelled(model, x, y):
    return (x, y) if model.num_classes else (x,)


def weights(model):
    return [ops.convert_to_numpy(v).copy() for v in model.weights]


def test_latents_have_mean_0_and_standard_deviation_1(model, x):
    z = model.encode(x)
    assert z.shape == (256, *model.latent_shape)
    rows = z.reshape(-1, z.shape[-1])
    np.testing.assert_allclose(rows.mean(0), 0.0, atol=1e-4)
    np.testing.assert_allclose(rows.std(0), 1.0, atol=1e-4)


def test_decoding_what_was_encoded_is_the_autoencoders_reconstruction(model, autoencoder, x):
    np.testing.assert_allclose(model.decode(model.encode(x[:20])), autoencoder.reconstruct(x[:20]), atol=1e-4)
    np.testing.assert_allclose(model.reconstruct(x[:20]), autoencoder.reconstruct(x[:20]), atol=1e-6)


def test_the_autoencoder_stays_as_it_was_trained(model, autoencoder, x, y):
    ours, theirs, learning = weights(model.autoencoder), weights(autoencoder), weights(model.prior.network)
    scale = ops.convert_to_numpy(model.scale).copy()
    model.fit(*labelled(model, x[:128] * 0.5, y[:128]), batch_size=128, verbose=0)
    for before, after in zip(ours + theirs, weights(model.autoencoder) + weights(autoencoder), strict=True):
        np.testing.assert_array_equal(before, after)
    assert any(np.any(a != b) for a, b in zip(learning, weights(model.prior.network), strict=True))
    np.testing.assert_array_equal(ops.convert_to_numpy(model.scale), scale)  # measured once
    assert autoencoder.trainable and autoencoder.trainable_variables
    assert {v.path for v in model.trainable_variables} == {v.path for v in model.prior.network.trainable_variables}


def test_sampling_is_the_diffusion_models_then_the_decoders(model):
    guided = {"labels": [1, 2, 3, 4], "guidance": 2.0, "steps": 2}
    for keywords in ({}, guided) if model.num_classes else ({},):
        by_hand = model.decode(model.prior.sample(4, seed=5, **keywords))
        np.testing.assert_allclose(model.sample(4, seed=5, **keywords), by_hand, atol=1e-4)


def test_the_average_of_the_weights_is_kept_and_sampled(model):
    averaged, training = (ops.convert_to_numpy(n.weights[0]) for n in (model.prior.ema_network, model.prior.network))
    assert float(ops.convert_to_numpy(model.prior.ema_step)) >= 2 and np.any(averaged != training)
    assert model.prior.averaged("network") is model.prior.ema_network


def test_one_file_holds_both(model, x, tmp_path):
    model.save(tmp_path / "m.keras")
    loaded = kgen.load(tmp_path / "m.keras")
    np.testing.assert_allclose(loaded.sample(4, seed=0), model.sample(4, seed=0), atol=1e-5)
    np.testing.assert_allclose(loaded.encode(x[:8]), model.encode(x[:8]), atol=1e-5)
    assert getattr(loaded.autoencoder, "optimizer", None) is None


@pytest.mark.once("test_same_everywhere holds the training of every backend to the same numbers")
def test_it_learns_the_distribution_of_latents():
    # An autoencoder that changes nothing: samples follow the data, which here are two points.
    keras.utils.set_random_seed(0)
    kernel = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2, kernel_initializer="ones", name="both")])
    mean_only = keras.Sequential([keras.Input((1,)), keras.layers.Activation("linear")])
    model = LatentDiffusion(
        VAE((1,), 1, encoder=kernel, decoder=mean_only),
        network=ResidualMLP(1, 32, 1),
        sampler=DDIMSampler(20),
    )
    data = np.repeat([[3.0], [7.0]], [1000, 3000], axis=0).astype("float32")
    model.compile(keras.optimizers.Adam(3e-3), jit_compile=COMPILE)
    model.fit(data, batch_size=200, epochs=15, verbose=0)
    samples = model.sample(256, seed=0)[:, 0]
    assert np.abs(samples[:, None] - np.array([3.0, 7.0])).min(1).mean() < 0.3
    assert abs((samples > 5).mean() - 0.75) < 0.12


def test_datasets_and_iterators(autoencoder, x, y):
    model = small(autoencoder)

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, i):
            return labelled(model, x[64 * i : 64 * i + 64], y[64 * i : 64 * i + 64])

    with pytest.raises(ValueError, match="cannot be measured on an iterator; call adapt"):
        model.fit(iter([labelled(model, x[:4], y[:4])]), verbose=0)
    with pytest.raises(
        ValueError, match="the scale of the latents is not known yet. Train the model by fit, or call adapt"
    ):
        model.train_on_batch(*labelled(model, x[:4], y[:4]))
    with pytest.raises(ValueError, match="the scale of the latents is not known yet"):
        model.endpoints()
    model.fit(Batches(), verbose=0)
    np.testing.assert_allclose(model.encode(x[:128]).std(), 1.0, atol=1e-3)  # of all batches, not of the first


def test_wrong_arguments(autoencoder, model, x, y):
    fresh = LatentDiffusion(autoencoder)
    fresh.compile("adam")
    shape = ", ".join(map(str, model.latent_shape))
    cases = [
        (lambda: fresh.sample(2), "the scale of the latents is not known yet. Train the model by fit"),
        (lambda: fresh.evaluate(x, verbose=0), "the scale of the latents is not known yet"),
        (lambda: fresh.encode(x), "the scale of the latents is not known yet"),
        (lambda: fresh.fit(x, y), "y: this model has no classes"),
        (lambda: model.fit(x * 200, *labelled(model, x, y)[1:]), r"x: expected values in \[-1, 1\]"),
        (lambda: model.decode(np.zeros((2, 5), "float32")), rf"z: expected shape \(N, {shape}\), received \(2, 5\)"),
        (
            lambda: LatentDiffusion(autoencoder, network=MLP((4,), (4,), time=True)),
            rf"network: expected a network that takes \[x_t, t\] with x_t of shape \(B, {shape}\)",
        ),
        (lambda: LatentDiffusion(autoencoder, schedule="sine"), "schedule: expected one of"),
    ]
    if model.num_classes:
        cases += [
            (lambda: model.fit(x), "y: this model has 10 classes and needs labels"),
            (lambda: model.fit(x, y + 1), r"y: expected integers in \[0, 10\)"),
            (lambda: model.sample(2, labels=10), r"labels: expected integers in \[0, 10\)"),
        ]
    else:
        assert isinstance(fresh.prior.network, UNet)
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(
        TypeError, match="autoencoder: expected a trained kgen.vae.VAE or kgen.vae.VQVAE, received 'vae'"
    ):
        LatentDiffusion("vae")


def test_a_latent_that_is_neither_vector_nor_map_needs_a_network():
    def dense(name, shape):
        return MLP((4,), shape, widths=(), name=name)

    encoder = dense("encoder", (2, 3))
    decoder = MLP((2, 3), (4,), widths=())
    with pytest.raises(
        ValueError, match=r"network: latents of shape \(2, 3\) are neither vectors nor maps and need network="
    ):
        LatentDiffusion(VQVAE((4,), 5, 3, encoder=encoder, decoder=decoder))


def test_latents_that_are_all_the_same_have_no_scale():
    encoder, decoder = MLP((4,), (6,), widths=()), MLP((3,), (4,), widths=())
    with pytest.raises(
        ValueError, match="x: expected examples with different latents, received 2 whose latents are all the same"
    ):
        LatentDiffusion(VAE((4,), 3, encoder=encoder, decoder=decoder)).adapt(np.ones((2, 4), "float32"))
