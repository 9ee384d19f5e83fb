"""Progressive GAN: output continuous across growth, equal learning rates, levels by steps, wrong arguments."""

import functools

import keras
import numpy as np
import pytest
from keras import ops

import kgen
from kgen import backend
from kgen.core import Batch
from kgen.gan import ProgressiveGAN
from kgen.layers import EqualizedConv2D, EqualizedDense, PixelNormalization
from kgen.networks import ProgressiveDiscriminator, ProgressiveGenerator

from contract import COMPILE

SHAPE = (8, 8, 1)
RNG = np.random.default_rng(0)


def at(network, x, level):
    level = np.full(len(x), level, "float32")
    return ops.convert_to_numpy(run(network)([ops.convert_to_tensor(x), ops.convert_to_tensor(level)]))


@functools.cache
def run(network):
    """JAX would compile each operation by itself."""
    return backend.jit(lambda inputs: network(inputs)) if keras.config.backend() == "jax" else network


def test_outputs_are_continuous_across_growth():
    keras.utils.set_random_seed(0)
    generator, discriminator = ProgressiveGenerator(4, (16, 16, 1), 8), ProgressiveDiscriminator((16, 16, 1), 8)
    assert generator.levels == discriminator.levels == 2
    for network, x in ((generator, RNG.normal(size=(4, 4))), (discriminator, RNG.uniform(-1, 1, (4, 16, 16, 1)))):
        x = x.astype("float32")
        for level in (1.0, 2.0):  # before and after a size begins or is all there
            below, here, above = (at(network, x, min(level + d, 2.0)) for d in (-1e-4, 0.0, 1e-4))
            assert np.abs(below - here).max() < 1e-3 and np.abs(above - here).max() < 1e-3
        assert np.abs(at(network, x, 1.0) - at(network, x, 2.0)).max() > 1e-2
    z = RNG.normal(size=(3, 4)).astype("float32")
    first, second, between = (at(generator, z, level) for level in (0.0, 1.0, 0.3))
    blocks = first.reshape(3, 4, 4, 4, 4, 1)
    np.testing.assert_array_equal(blocks, np.broadcast_to(blocks[:, :, :1, :, :1], blocks.shape))  # 4x4, enlarged
    np.testing.assert_allclose(between, 0.7 * first + 0.3 * second, atol=1e-5)
    x = RNG.uniform(-1, 1, (4, 16, 16, 1)).astype("float32")
    reduced = x.reshape(4, 4, 4, 4, 4, 1).mean((2, 4)).repeat(4, 1).repeat(4, 2)
    np.testing.assert_allclose(
        at(discriminator, x, 0.0), at(discriminator, reduced, 0.0), atol=1e-4
    )  # it sees no more than that


def test_data_fade_in_as_samples_do():
    model = ProgressiveGAN(
        (16, 16, 1), 4, stage_steps=4, width=8, discriminator=ProgressiveDiscriminator((16, 16, 1), 8)
    )
    model.compile(run_eagerly=True)
    x = RNG.uniform(-1, 1, (4, 16, 16, 1)).astype("float32")
    batch = Batch(ops.convert_to_tensor(x), seeds=ops.convert_to_tensor(model.row_seeds(4, 0)), conditions={})
    means = [
        x.reshape(4, n, 16 // n, n, 16 // n, 1).mean((2, 4)).repeat(16 // n, 1).repeat(16 // n, 2) for n in (4, 8, 16)
    ]
    for step, wanted in (
        (0, means[0]),
        (5, 0.75 * means[0] + 0.25 * means[1]),
        (14, 0.5 * means[1] + 0.5 * x),
        (20, x),
    ):
        model.optimizer["generator"].iterations.assign(step)
        turn = model.discriminator_losses(batch, True)
        np.testing.assert_allclose(ops.convert_to_numpy(turn.real), wanted, atol=1e-5)


def test_equalised_layers_keep_the_variance_and_pixels_their_length():
    x = RNG.normal(size=(2000, 50)).astype("float32")
    for rate in (1.0, 0.01):
        layer = EqualizedDense(64, rate=rate)
        assert ops.convert_to_numpy(layer(x)).std() == pytest.approx(1.0, abs=0.05)
        assert ops.convert_to_numpy(layer.kernel).std() == pytest.approx(1 / rate, rel=0.05)
    maps = RNG.normal(size=(8, 16, 16, 12)).astype("float32")
    y = ops.convert_to_numpy(EqualizedConv2D(32)(maps))[:, 1:-1, 1:-1]
    assert y.std() == pytest.approx(1.0, abs=0.1)
    lengths = ops.convert_to_numpy(PixelNormalization()(maps))
    np.testing.assert_allclose((lengths**2).mean(-1), 1.0, rtol=1e-4)


def test_levels_follow_the_steps_and_are_saved(tmp_path):
    keras.utils.set_random_seed(0)
    model = ProgressiveGAN(SHAPE, 4, stage_steps=2, width=8, ema=0.9)
    found = [round(float(ops.convert_to_numpy(model.level_at(step))), 3) for step in range(0, 8)]
    assert model.levels == 1 and found == [0, 0, 0, 0.5, 1, 1, 1, 1]
    model.compile(**COMPILE)
    x = RNG.uniform(-1, 1, (32, *SHAPE)).astype("float32")
    history = model.fit(x, batch_size=8, verbose=0).history  # four steps: levels 0, 0, 0, 0.5
    assert np.isfinite(np.concatenate(list(history.values()))).all()
    assert float(ops.convert_to_numpy(model.growth_level)) == 0.5
    model.save(tmp_path / "m.keras")
    again = kgen.load(tmp_path / "m.keras")
    assert float(ops.convert_to_numpy(again.growth_level)) == 0.5
    np.testing.assert_allclose(again.sample(3, seed=0), model.sample(3, seed=0), atol=1e-5)


def test_growth_beyond_the_image_is_refused():
    with pytest.raises(ValueError, match=r"levels: growth to level 3 doubles .* beyond one of \(28, 28, 1\)"):
        ProgressiveGAN((28, 28, 1), 4, levels=3)


def test_classes_are_refused():
    with pytest.raises(
        ValueError, match="num_classes: ProgressiveGAN's networks take no classes, received num_classes=3"
    ):
        ProgressiveGAN(SHAPE, 4, num_classes=3)


def test_networks_of_other_levels_are_refused():
    discriminator = ProgressiveDiscriminator((16, 16, 1), 4, 2)
    with pytest.raises(ValueError, match="discriminator: expected a network of 1 levels, .* received one of 2"):
        ProgressiveGAN((16, 16, 1), 4, width=4, levels=1, discriminator=discriminator)
    z = keras.Input((4,))
    with pytest.raises(ValueError, match="levels: expected how often the sides double, which this generator does not"):
        ProgressiveGAN((16, 16, 1), 4, generator=keras.Model(z, z), discriminator=discriminator)
