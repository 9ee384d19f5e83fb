"""WGAN: clipped critics against the Wasserstein distance of shifted Gaussians."""

import keras
import numpy as np
import pytest
from gan.parts import dense
from keras import layers, ops

from kgen.gan import WGAN

from contract import COMPILE

RNG = np.random.default_rng(0)


def test_a_clipped_critic_estimates_the_wasserstein_distance_of_shifted_gaussians():
    """W_1 of N(m, I) and N(0, I) is |m|; a linear critic with weights in [-c, c] has at best c sign(m), of slope c sqrt(2) along a diagonal."""
    clip, shift = 0.05, np.array([1.5, -1.5], "float32")
    generator = keras.Sequential([keras.Input((2,)), layers.Dense(2)])
    generator.set_weights([np.eye(2, dtype="float32"), np.zeros(2, "float32")])
    critic = keras.Sequential([keras.Input((2,)), layers.Dense(1, use_bias=False)])
    critic.set_weights([np.array([[-0.3], [0.01]], "float32")])
    model = WGAN((2,), 2, generator=generator, discriminator=critic, clip=clip, n_critic=2, ema=None)
    assert critic.get_weights()[0][0, 0] == pytest.approx(-clip)  # clipped as it starts
    model.compile({"generator": keras.optimizers.SGD(0.0), "discriminator": keras.optimizers.RMSprop(0.01)}, **COMPILE)
    x = RNG.normal(size=(16_000, 2)).astype("float32") + shift
    model.fit(x, batch_size=1000, verbose=0)
    np.testing.assert_allclose(critic.get_weights()[0][:, 0], clip * np.sign(shift), rtol=1e-6)
    logs = model.evaluate(x, batch_size=16_000, verbose=0, return_dict=True)
    distance = (logs["real_logit"] - logs["fake_logit"]) / (clip * 2**0.5)
    assert distance == pytest.approx(np.linalg.norm(shift), abs=0.05)


def test_weights_stay_within_their_bounds_and_others_are_free():
    networks = {"generator": dense((3,), 2, "generator"), "discriminator": dense((2,), 1, "critic")}
    model = WGAN((2,), 3, clip=0.02, n_critic=1, **networks)
    model.compile(keras.optimizers.RMSprop(0.1), **COMPILE)
    model.fit(RNG.normal(size=(64, 2)).astype("float32"), verbose=0)
    largest = [max(np.abs(w).max() for w in n.get_weights()) for n in (model.discriminator, model.generator)]
    assert largest[0] <= 0.02 + 1e-7 and largest[1] > 0.1
    again = WGAN.from_config(model.get_config())
    assert again.get_config() == model.get_config() and again.clip == 0.02
    assert all(v.constraint.limit == 0.02 for v in again.discriminator.trainable_variables)
    assert float(ops.convert_to_numpy(WGAN((2,), 3, **networks).default_optimizer().learning_rate)) == pytest.approx(
        5e-5
    )


def test_wrong_arguments():
    with pytest.raises(ValueError, match="limit: expected a number in .*received 0"):
        WGAN((2,), 3, clip=0)
