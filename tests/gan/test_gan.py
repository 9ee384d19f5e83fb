"""The GAN: the best discriminator, who trains when and on what, the protocol, wrong arguments."""

import re

import keras
import numpy as np
import pytest
from keras import layers, ops

import kgen
from kgen.core import Batch
from kgen.core.conditions import VectorCondition
from kgen.gan import DCGAN, GAN, WGANGP, Discriminator, Generator, InfoGAN, adversarial
from kgen.networks import MLP

SGD = keras.optimizers.SGD
ADAM = keras.optimizers.Adam


def arrays(network):
    return [ops.convert_to_numpy(w).copy() for w in network.weights]


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def normal(x, mean, scale):
    return np.exp(-0.5 * ((x - mean) / scale) ** 2) / scale


PAIRS = {"two normals": [(1.0, 0.6)], "two modes": [(-1.5, 0.5), (1.0, 0.7)]}


@pytest.mark.once("test_same_everywhere holds the training of every backend to the same numbers")
@pytest.mark.parametrize("data", PAIRS)
def test_the_best_discriminator_is_the_share_of_the_data(data):
    """s(D*) = p / (p + q) (Goodfellow et al. 2014, Proposition 1), q being N(-0.5, 1)."""
    modes, q = PAIRS[data], (-0.5, 1.0)
    generator = keras.Sequential([keras.Input((1,)), layers.Dense(1)])
    generator.set_weights([np.array([[q[1]]], "float32"), np.array([q[0]], "float32")])
    discriminator = MLP((1,), (1,), widths=(32, 32), name="discriminator")
    model = GAN((1,), 1, generator=generator, discriminator=discriminator, ema=None)
    size, steps = 4096, 400
    rate = keras.optimizers.schedules.CosineDecay(1e-2, steps)
    model.compile({"generator": SGD(0.0), "discriminator": ADAM(rate, beta_2=0.99)})
    # Points in equal strata of probability: what noise there is in the data's half of the loss is gone.
    rng = np.random.default_rng(0)
    draws = np.concatenate([rng.normal(*mode, 500_000) for mode in modes])
    x = np.quantile(draws, (np.arange(size) + 0.5) / size).astype("float32")[:, None]
    model.fit(np.tile(x, (steps, 1)), batch_size=size, shuffle=False, verbose=0)
    points = np.linspace(-2.0, 2.0, 81, dtype="float32")[:, None]  # beyond, draws are few
    share = 1 / (1 + np.exp(-ops.convert_to_numpy(model.discriminate(ops.convert_to_tensor(points)))))
    p = np.mean([normal(points, *mode) for mode in modes], axis=0)
    assert np.abs(share - (p / (p + normal(points, *q)))[:, 0]).max() < 0.02


def small(n_critic=1, **kwargs):
    generator = keras.Sequential([keras.Input((3,)), layers.Dense(8), layers.BatchNormalization(), layers.Dense(2)])
    discriminator = keras.Sequential(
        [keras.Input((2,)), layers.Dense(8, "relu"), layers.BatchNormalization(), layers.Dense(1)]
    )
    return GAN((2,), 3, generator=generator, discriminator=discriminator, n_critic=n_critic, **kwargs)


def test_n_critic_steps_of_the_discriminator_for_one_of_the_generator():
    model = WGANGP(
        (2,), 3, n_critic=3, generator=MLP((3,), (2,), widths=(8,)), discriminator=MLP((2,), (1,), widths=(8,))
    )
    model.compile(ADAM(1e-4, beta_1=0.0, beta_2=0.9))
    model.fit(np.random.default_rng(0).normal(size=(48, 2)).astype("float32"), batch_size=12, epochs=2, verbose=0)
    assert int(model.optimizer["discriminator"].iterations) == 3 * 8
    assert int(model.optimizer["generator"].iterations) == 8
    assert model.optimizer["generator"].beta_1 == 0.0


def test_the_batch_is_dealt_out_to_the_discriminator_steps():
    for size, expected in ((6, [[0, 3], [1, 4], [2, 5]]), (7, [[0, 3, 6], [1, 4, 0], [2, 5, 1]]), (2, [[0], [1], [0]])):
        x = np.arange(2 * size, dtype="float32").reshape(size, 2)
        for k in range(3):
            seeds = np.arange(2 * size, dtype="int32").reshape(size, 2)
            part = adversarial._dealt(Batch(x, None, None, {"label": x[:, 0]}, seeds), k, 3)
            for given, all_rows in ((part.x, x), (part.conditions["label"], x[:, 0]), (part.seeds, seeds)):
                assert ops.convert_to_numpy(given).tolist() == all_rows[expected[k]].tolist()
            assert part.y is None


def test_each_step_moves_its_own_player_alone():
    x = np.random.default_rng(0).normal(size=(16, 2)).astype("float32")
    for still, moving in (("generator", "discriminator"), ("discriminator", "generator")):
        model = small()
        model.compile({still: SGD(0.0), moving: SGD(0.1)})
        before = [ops.convert_to_numpy(v) for v in model.players[still]]
        other = [ops.convert_to_numpy(v) for v in model.players[moving]]
        model.fit(x, epochs=2, verbose=0)
        assert same(before, [ops.convert_to_numpy(v) for v in model.players[still]])
        assert not np.array_equal(other[-1], ops.convert_to_numpy(model.players[moving][-1]))


def test_moving_statistics_are_of_the_players_own_steps():
    model = small()
    first, norm = model.discriminator.layers[:2]
    norm.momentum = 0.5
    model.compile(SGD(0.0))
    x = np.full((2048, 2), 5.0, "float32")
    before = arrays(model.generator)
    model.fit(x, batch_size=2048, verbose=0)
    # Data went first and samples second, each by itself; what the discriminator saw in the generator's step has left no trace.
    noise = np.random.default_rng(1).normal(size=(20_000, 3)).astype("float32")
    real, fake = (ops.convert_to_numpy(first(v)).mean(0) for v in (x, model.generator(noise, training=True)))
    moving = ops.convert_to_numpy(norm.moving_mean)
    assert np.abs(moving - (0.25 * real + 0.5 * fake)).max() < 0.05 * np.abs(real).max()
    assert not same(before, arrays(model.generator))  # the generator's own statistics follow its batches


def test_sampling_uses_the_average_and_training_does_not():
    model = small(ema=0.9)
    model.compile(SGD(0.1))
    model.fit(np.ones((32, 2), "float32"), epochs=3, verbose=0)
    assert not same(arrays(model.generator), arrays(model.ema_generator))
    z = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
    np.testing.assert_allclose(model.decode(z), ops.convert_to_numpy(model.ema_generator(z)), atol=1e-6)
    np.testing.assert_allclose(ops.convert_to_numpy(model(z)), ops.convert_to_numpy(model.generator(z)), atol=1e-6)


def test_samples_are_decoded_latent_vectors_and_evaluation_repeats_itself():
    model = small()
    seeds = model.row_seeds(6, 3)
    z = ops.convert_to_numpy(model.latent(seeds))
    np.testing.assert_allclose(model.sample(6, seed=3), model.decode(z), atol=1e-6)
    wide = DCGAN((8, 8, 1), 50, widths=[4])
    z = ops.convert_to_numpy(wide.latent(wide.row_seeds(200, 0)))
    assert np.abs(z).max() < 1 and abs(z.var() - 1 / 3) < 0.01  # uniform on [-1, 1]
    model.compile("sgd")
    x = np.zeros((8, 2), "float32")
    assert model.evaluate(x, verbose=0, return_dict=True) == model.evaluate(x, verbose=0, return_dict=True)


def test_ways_between_two_seeds_end_at_their_samples():
    linear = GAN((2,), 3, generator=MLP((3,), (2,), widths=()), discriminator=MLP((2,), (1,), widths=()), ema=None)
    way = linear.interpolate_seeds(4, 0, 1, steps=3)
    assert way.shape == (4, 3, 2)
    for end, seed in ((0, 0), (-1, 1)):
        np.testing.assert_allclose(way[:, end], linear.sample(4, seed=seed), atol=1e-6)
    a, b = (ops.convert_to_numpy(linear.latent(linear.row_seeds(4, seed))) for seed in (0, 1))
    lengths = [np.linalg.norm(v, axis=1, keepdims=True) for v in (a, b)]
    middle = a / lengths[0] + b / lengths[1]  # of the great circle, between the directions
    middle *= 0.5 * sum(lengths) / np.linalg.norm(middle, axis=1, keepdims=True)
    np.testing.assert_allclose(way[:, 1], linear.decode(middle), atol=1e-5)

    cube, codes = DCGAN((8, 8, 1), 50, widths=[4]), InfoGAN((2,), 3, categories=2, codes=1, ema=None)
    a, b = np.random.default_rng(0).standard_normal((2, 1, 50)).astype("float32")
    np.testing.assert_allclose(cube.latent_way(a, b, 3)[:, 1], 0.5 * (a + b), atol=1e-6)  # a cube's way is straight
    way = codes.latent_way(a[:, :6], b[:, :6], 3)[:, 1]
    np.testing.assert_allclose(way[:, 3:], 0.5 * (a + b)[:, 3:6], atol=1e-6)
    assert np.abs(way[:, :3] - 0.5 * (a + b)[:, :3]).max() > 0.1  # that of its noise is not
    with pytest.raises(ValueError, match="steps"):
        linear.interpolate_seeds(1, 0, 1, steps=1)


def test_a_networks_own_penalties_are_paid():
    regular = keras.Sequential([keras.Input((2,)), layers.Dense(1, kernel_regularizer=keras.regularizers.L2(10.0))])
    model = GAN((2,), 3, generator=MLP((3,), (2,), widths=()), discriminator=regular, ema=None)
    model.compile({"generator": SGD(0.0), "discriminator": SGD(0.01)})
    model.fit(np.zeros((3200, 2), "float32"), batch_size=32, verbose=0)
    assert np.abs(regular.get_weights()[0]).max() < 0.02


@pytest.mark.once("the sizes of a network are no backend's")
def test_default_networks():
    points, images = GAN((3,), 4), GAN((12, 8, 3), 4)
    assert points.sample(2, seed=0).shape == (2, 3) and images.sample(2, seed=0).shape == (2, 12, 8, 3)
    assert "spectral_conv_0" in [layer.name for layer in images.discriminator.layers]
    assert GAN((6, 2), 4).sample(2, seed=0).shape == (2, 6, 2)
    assert GAN((7, 5, 1), 4).sample(2, seed=0).shape == (2, 7, 5, 1)  # sides that cannot be halved


@pytest.mark.once("the sizes of a network are no backend's")
def test_dcgan_has_the_papers_layers():
    """Radford et al. 2016, section 3 and figure 1: 64x64 images, z of length 100."""
    generator = kgen.gan.DCGANGenerator(100, (64, 64, 3))
    expected = [("Dense", (16384,)), ("Reshape", (4, 4, 1024))]
    for side, channels in ((8, 512), (16, 256), (32, 128), (64, 3)):
        before = expected[-1][1]
        expected += [("BatchNormalization", before), ("ReLU", before), ("Conv2DTranspose", (side, side, channels))]
    found = [(type(layer).__name__, tuple(layer.output.shape[1:])) for layer in generator.layers[1:]]
    assert found == expected
    discriminator = kgen.gan.DCGANDiscriminator((64, 64, 3))
    expected = [("Conv2D", (32, 32, 128)), ("LeakyReLU", (32, 32, 128))]
    for side, channels in ((16, 256), (8, 512), (4, 1024)):
        shape = (side, side, channels)
        expected += [("Conv2D", shape), ("BatchNormalization", shape), ("LeakyReLU", shape)]
    expected += [("Flatten", (16384,)), ("Dense", (1,))]
    found = [(type(layer).__name__, tuple(layer.output.shape[1:])) for layer in discriminator.layers[1:]]
    assert found == expected
    convolutions = [la for n in (generator, discriminator) for la in n.layers if "Conv" in type(la).__name__]
    assert len(convolutions) == 8
    for layer in convolutions:
        assert layer.kernel_size == (5, 5) and layer.strides == (2, 2)
        assert abs(ops.convert_to_numpy(layer.kernel).std() - 0.02) < 1e-3
    assert convolutions[3].activation is keras.activations.tanh
    slopes = {la.negative_slope for la in discriminator.layers if isinstance(la, layers.LeakyReLU)}
    assert {round(float(slope), 6) for slope in slopes} == {0.2}


def says(text, error=ValueError):
    return pytest.raises(error, match=re.escape(text))


def test_wrong_arguments():
    with says("latent_dim: expected an integer of at least 1, received 0."):
        GAN((2,), 0)
    with says("n_critic: expected an integer of at least 1, received 1.5."):
        GAN((2,), n_critic=1.5)
    with says("shape: expected an integer of at least 1, received -2."):
        GAN((-2,))
    with says("generator: expected outputs (B, 2), received (1, 3)."):
        GAN((2,), 4, generator=MLP((4,), (3,)))
    with says("generator: expected a network of inputs (B, 5); it failed on them: "):
        GAN((2,), 5, generator=MLP((4,), (2,)))
    with says(
        "discriminator: expected one logit for each example, (B, 1), received (1, 2). End it with Dense(1), without"
    ):
        GAN((2,), discriminator=MLP((2,), (2,)))
    with says("discriminator: expected a network of inputs (B, 2); it failed on them: "):
        GAN((2,), discriminator=MLP((3,), (1,)))
    with says(
        "num_classes: expected a generator and a discriminator that take what samples are conditioned on, received"
    ):
        GAN((2,), num_classes=3)
    with says("conditions: expected a generator and a discriminator that take what samples are conditioned on"):
        GAN((2,), conditions=[VectorCondition(2, name="pose")])
    with says("num_classes: DCGAN's networks take no classes, received num_classes=3. ConditionalGAN and ACGAN make"):
        DCGAN((8, 8, 1), num_classes=3)
    with says("widths: 2 stages halve the sides that often, and need them divisible by 4; received shape (6, 6, 1)."):
        Generator(3, (6, 6, 1), [4, 4])
    with says("widths: expected an integer of at least 1, received 0."):
        Discriminator((8, 8, 1), [0])
    with says("shape: DCGAN makes images, expected (H, W, C), received (2,)."):
        DCGAN((2,))
    with says("shape: expected sides that can be halved and are above 4, received (7, 7, 1)."):
        DCGAN((7, 7, 1))
    norm = keras.Sequential([keras.Input((2,)), layers.BatchNormalization(name="mixer"), layers.Dense(1)])
    with says(
        "discriminator: a gradient penalty is one of each example, and mixer mixes them; expected a network without"
    ):
        WGANGP((2,), discriminator=norm)


def test_wrong_data():
    model = GAN((8, 8, 1), 2, generator=Generator(2, (8, 8, 1), [4]), discriminator=Discriminator((8, 8, 1), [4]))
    with says("optimizer: expected one for each of ['discriminator', 'generator'], received ['critic', 'generator']."):
        model.compile({"generator": "adam", "critic": "adam"})
    model.compile("adam")
    images = np.zeros((4, 8, 8, 1), "float32")
    with says("x: expected values in [-1, 1], received [0, 255]. Convert pixels"):
        model.fit(np.where(np.arange(4)[:, None, None, None] > 1, 255.0, images).astype("float32"))
    with says("x: expected shape (N, 8, 8, 1), received (4, 8, 8). Grey images need a channel axis: x[..., None]."):
        model.fit(images[..., 0])
    with says("y: this model has no classes. Train by fit(x)"):
        model.fit(images, np.zeros(4, "int32"))
    with says("labels: this model has no classes; make it with num_classes= to condition on them."):
        model.sample(2, labels=1)
    with says("z: expected shape (N, 2), received (4, 3)."):
        model.decode(np.zeros((4, 3), "float32"))
    with says("sample_weight: GAN does not weigh its rows; repeat in the data what is to be seen more often."):
        model.fit(images, sample_weight=np.ones(4), verbose=0)
