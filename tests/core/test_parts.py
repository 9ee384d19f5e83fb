"""The small parts of the core: moving averages, groups of optimizers, pictures, and the order in which a model complains."""

import keras
import numpy as np
import pytest
from core.one_loss import Location, OneLoss
from core.two_player import TwoPlayer
from keras import ops
from PIL import Image

from kgen.core import GenerativeModel, OptimizerGroup, pictures
from kgen.core.averages import copy_network

# Moving averages.


def test_training_moves_the_average_and_sampling_uses_it():
    x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    model = OneLoss(ema=0.9)
    start = model.network.get_weights()
    for a, b in zip(start, model.ema_network.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    model.compile(keras.optimizers.SGD(0.1))
    model.fit(x, batch_size=8, verbose=0)
    for before, now, average in zip(start, model.network.get_weights(), model.ema_network.get_weights(), strict=True):
        np.testing.assert_allclose(average, before + 0.9 * (now - before), rtol=1e-4, atol=1e-6)  # decay min(0.9, 1/10)
    assert model.averaged("network") is model.ema_network
    assert not model.ema_network.trainable_variables
    assert OneLoss().averaged("network").name == "network"


def test_an_average_needs_a_network_that_can_be_made_again():
    class Unknown(keras.layers.Layer):
        def __init__(self, secret):
            super().__init__()

    with pytest.raises(
        TypeError, match=r"(?s)network: Unknown could not be rebuilt from its configuration .* pass ema=None"
    ):
        copy_network(Unknown(object()))
    for decay in (-0.1, 1.0):
        with pytest.raises(ValueError, match=r"ema: expected a number in \[0, 0\.999999\], received"):
            OneLoss(ema=decay)


# Optimizers of several players.


def test_one_optimizer_becomes_one_for_each_player():
    model = TwoPlayer()
    model.compile(keras.optimizers.Adam(0.125, beta_1=0.5))
    discriminator, generator = (model.optimizer[p] for p in ("discriminator", "generator"))
    assert discriminator is not generator
    assert all(float(o.learning_rate) == 0.125 and o.beta_1 == 0.5 for o in (discriminator, generator))
    assert len(discriminator.variables) == 2 + 2 * len(
        model.players["discriminator"]
    )  # iterations, rate; two moments each
    carried = {id(v) for v in model.optimizer.variables}
    assert len(carried) == len(model.optimizer.variables)
    assert {id(v) for o in (discriminator, generator) for v in o.variables} < carried


def test_a_group_is_made_again_from_its_configuration():
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 100)
    group = OptimizerGroup({"b": keras.optimizers.SGD(schedule), "a": keras.optimizers.AdamW(0.5, weight_decay=0.25)})
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(group))
    assert list(again.members) == ["a", "b"]
    assert again["a"].weight_decay == 0.25 and isinstance(again["a"], keras.optimizers.AdamW)
    assert again.get_config() == group.get_config()


def test_optimizers_that_do_not_fit_the_players_are_refused():
    with pytest.raises(
        ValueError,
        match=r"optimizer: expected one for each of \['discriminator', 'generator'\], received \['discriminator'\]",
    ):
        TwoPlayer().compile({"discriminator": "adam"})
    with pytest.raises(
        ValueError, match=r"optimizer: expected one for each of .*, received \['actor', 'discriminator'\]"
    ):
        TwoPlayer().compile(OptimizerGroup({"discriminator": keras.optimizers.SGD(), "actor": keras.optimizers.SGD()}))
    with pytest.raises(ValueError, match=r"this model has one loss and takes one optimizer, received a dict with keys"):
        Location().compile({"discriminator": "adam"})


def test_a_group_has_no_learning_rate_and_no_update_of_its_own():
    model = TwoPlayer()
    model.compile("sgd")
    with pytest.raises(
        ValueError, match=r"learning_rate: each player has an optimizer .* one of \['discriminator', 'generator'\]"
    ):
        model.optimizer.learning_rate = 0.1
    with pytest.raises(ValueError, match="learning_rate: each player has an optimizer of its own"):
        schedule = keras.callbacks.LearningRateScheduler(lambda epoch: 0.1)
        model.fit(np.zeros((4, 2), "float32"), verbose=0, callbacks=[schedule])
    with pytest.raises(RuntimeError, match=r"Name the player whose gradients these are: optimizer\[player\], one of"):
        model.optimizer.apply([])


# Pictures.


def test_pixels_cover_the_whole_range():
    assert pictures.to_uint8([-1.0, 0.0, 1.0, 9.0, -9.0]).tolist() == [0, 128, 255, 255, 0]


def test_a_grid_puts_each_image_in_its_place(tmp_path):
    images = np.linspace(-1.0, 1.0, 5)[:, None, None, None] * np.ones((1, 40, 35, 3))
    sheet = pictures.grid(images)
    assert sheet.shape == (2 * 41 - 1, 3 * 36 - 1, 3)
    levels = pictures.to_uint8(np.linspace(-1.0, 1.0, 5))
    for i in range(5):
        top, left = (i // 3) * 41, (i % 3) * 36
        assert (sheet[top : top + 40, left : left + 35] == levels[i]).all()
    assert (sheet[41:, 72:] == 255).all() and (sheet[40] == 255).all()
    assert pictures.grid(images[..., :1], columns=5).shape == (40, 5 * 36 - 1)
    assert pictures.grid(np.zeros((1, 8, 8, 1))).shape == (32, 32)
    pictures.save_grid(images, tmp_path / "samples.png")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "samples.png")), sheet)


# What a model refuses.


def test_a_model_refuses_what_it_cannot_do():
    model, x = Location(2), np.zeros((4, 2), "float32")
    with pytest.raises(ValueError, match=r"Compile the model before fit: .*compile\(\)"):
        model.fit(x)
    for name in ("loss", "metrics", "loss_weights", "weighted_metrics"):
        with pytest.raises(ValueError, match=rf"compile\({name}=...\): Location computes its own losses"):
            model.compile("adam", **{name: "mse"})
    model.compile("adam")
    with pytest.raises(ValueError, match="fit: expected data, received x=None"):
        model.fit()
    with pytest.raises(ValueError, match=r"x: expected shape \(N, 2\), received \(4, 3\)"):
        model.evaluate(np.zeros((4, 3), "float32"))
    with pytest.raises(NotImplementedError, match="Location does not sample"):
        model.sample(1)
    with pytest.raises(NotImplementedError, match=r"Location has no likelihood \(likelihood = 'implicit'\)"):
        model.log_prob(x)
    with pytest.raises(
        NotImplementedError, match="GenerativeModel has several players: it implements update and measure"
    ):
        GenerativeModel().objective(None, training=True)


def test_a_log_that_was_not_announced_is_named(monkeypatch):
    model = Location(1)
    monkeypatch.setattr(model, "objective", lambda batch, training: (ops.sum(batch.x, -1), {"extra": 0.0}))
    model.compile("adam", run_eagerly=True)
    with pytest.raises(KeyError, match=r"Location logs 'extra', which is not among its log_names \('loss',\)"):
        model.evaluate(np.zeros((4, 1), "float32"), verbose=0)


def test_rows_are_the_same_in_batches_of_any_size():
    model = OneLoss()
    whole = model.sample(5, seed=3)
    for size in (1, 2, 5, 100):
        np.testing.assert_allclose(model.sample(5, seed=3, batch_size=size), whole, atol=1e-6)
    np.testing.assert_allclose(model.sample(2, seed=3), whole[:2], atol=1e-6)
    with pytest.raises(ValueError, match="batch_size: expected an integer of at least 1, received 0"):
        model.sample(5, batch_size=0)
    with pytest.raises(ValueError, match="n: expected an integer of at least 1, received 0"):
        model.sample(0)
