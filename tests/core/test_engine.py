import keras
import numpy as np
import pytest
from core.one_loss import Location, OneLoss
from core.state import differing, largest_difference, restore, state
from core.two_player import TwoPlayer
from keras import ops

BACKEND = keras.config.backend()


def rows(n, dim, seed=0):
    return np.random.default_rng(seed).normal(size=(n, dim)).astype("float32")


def adam():
    # A bias that BatchNorm cancels has a gradient of rounding errors: without this epsilon Adam would make full steps of them.
    return keras.optimizers.Adam(0.02, beta_1=0.5, epsilon=1e-3)


@pytest.fixture(scope="module")
def one_loss():
    """A compiled model and its state at the start: these tests share one compilation."""
    keras.utils.set_random_seed(0)
    model = OneLoss(ema=0.9)
    model.compile(adam())
    return model, state(model)


@pytest.fixture(scope="module")
def two_player():
    """As ``one_loss``, for two players."""
    keras.utils.set_random_seed(0)
    model = TwoPlayer(ema=0.9)
    model.compile(adam())
    return model, state(model)


def fit(model, start, *data, **options):
    restore(model, start)
    return model.fit(*data, verbose=0, **{"shuffle": False, **options}).history


# Known answers.


def test_gradient_descent_on_a_mean_follows_its_closed_form():
    x = rows(32, 3) + np.array([5.0, -2.0, 0.5], "float32")
    model = Location(3)
    model.compile(keras.optimizers.SGD(0.1))
    history = model.fit(x, batch_size=32, epochs=5, verbose=0).history["loss"]
    mean = x.mean(axis=0)
    np.testing.assert_allclose(model.mean.numpy(), mean * (1.0 - 0.8**5), rtol=1e-5)
    before = [mean * (1.0 - 0.8**k) for k in range(5)]
    np.testing.assert_allclose(history, [np.square(x - m).sum(axis=1).mean() for m in before], rtol=1e-5)


def test_the_epochs_loss_is_the_mean_over_rows_where_the_last_batch_is_smaller():
    x = rows(10, 2)
    model = Location(2)
    model.compile(keras.optimizers.SGD(0.0))
    expected = np.square(x).sum(axis=1).mean()
    assert model.fit(x, batch_size=4, verbose=0).history["loss"] == [pytest.approx(expected, rel=1e-5)]
    assert model.evaluate(x, batch_size=3, verbose=0, return_dict=True) == {"loss": pytest.approx(expected, rel=1e-5)}


def test_sample_weights_scale_gradients_and_weigh_the_logged_mean():
    x, weight = rows(8, 1), np.array([0.0, 0.0, 1.0, 2.0, 1.0, 3.0, 0.5, 0.5], "float32")
    for shape in [(8,), (8, 1)]:
        model = Location()
        model.compile(keras.optimizers.SGD(1.0))
        loss = model.fit(x, sample_weight=weight.reshape(shape), batch_size=8, verbose=0).history["loss"]
        np.testing.assert_allclose(model.mean.numpy(), 2.0 * (weight @ x) / 8, rtol=1e-5)
        np.testing.assert_allclose(loss, [weight @ np.square(x[:, 0]) / weight.sum()], rtol=1e-5)
    with pytest.raises(ValueError, match=r"sample_weight: expected one number per row, shape \(B,\), received shape"):
        model.fit(x, sample_weight=np.ones((8, 2), "float32"), verbose=0)


def test_weight_regularisation_joins_the_gradient():
    x = rows(8, 2)
    model = Location(2, l2=0.25)
    model.mean.assign([1.0, -3.0])
    model.compile(keras.optimizers.SGD(0.5))
    model.fit(x, batch_size=8, verbose=0)
    np.testing.assert_allclose(model.mean.numpy(), x.mean(axis=0) - 0.25 * np.array([1.0, -3.0]), rtol=1e-5)


def test_two_players_move_samples_to_the_data(two_player):
    model, start = two_player
    target = np.array([2.0, -1.0], "float32")
    distance = np.linalg.norm(model.sample(256, seed=1).mean(axis=0) - target)
    history = fit(model, start, target + 0.3 * rows(160, 2), batch_size=16, epochs=8)
    assert set(history) == {"discriminator_loss", "penalty", "generator_loss"}
    assert np.isfinite(list(history.values())).all()
    assert np.linalg.norm(model.sample(256, seed=1).mean(axis=0) - target) < 0.5 * distance


# What a step may change.


def watch_players(model, monkeypatch):
    """Makes ``minimize`` raise where it changes a weight or an optimizer of a player that it was not called for."""
    minimize = model.minimize
    turns = []

    def watched(loss_fn, variables, optimizer):
        player = next(p for p in model.players if model.optimizer[p] is optimizer)
        others = [v for p in model.players if p != player for v in (*model.players[p], *model.optimizer[p].variables)]
        before = [ops.convert_to_numpy(v.value) for v in [*variables, *others]]
        result = minimize(loss_fn, variables, optimizer)
        changed = [
            not np.array_equal(b, ops.convert_to_numpy(v.value))
            for b, v in zip(before, [*variables, *others], strict=True)
        ]
        assert sum(changed[: len(variables)]) >= len(variables) - 1  # all but a bias that BatchNorm cancels
        assert not any(changed[len(variables) :])
        turns.append(player)
        return result

    monkeypatch.setattr(model, "minimize", watched)
    return turns


def test_two_players_take_turns_and_train_alike_compiled_and_eager(two_player, monkeypatch):
    model, start = two_player
    x = rows(32, 2)
    compiled = fit(model, start, x, batch_size=16), state(model)
    eager = TwoPlayer(ema=0.9)
    eager.compile(adam(), run_eagerly=True)
    turns = watch_players(eager, monkeypatch)
    eager_history = fit(eager, dict(zip(state(eager), start.values(), strict=True)), x, batch_size=16)
    assert turns == ["discriminator", "discriminator", "generator"] * 2
    assert eager_history == {k: pytest.approx(v, abs=2e-5) for k, v in compiled[0].items()}
    assert largest_difference(state(eager), compiled[1]) < 2e-5
    assert len(differing(start, compiled[1])) > 20


def test_one_loss_trains_alike_compiled_and_eager(one_loss):
    model, start = one_loss
    x = rows(16, 4)
    compiled = fit(model, start, x, batch_size=8), state(model)
    eager = OneLoss(ema=0.9)
    eager.compile(adam(), run_eagerly=True)
    eager_history = fit(eager, dict(zip(state(eager), start.values(), strict=True)), x, batch_size=8)
    assert eager_history == {k: pytest.approx(v, abs=2e-5) for k, v in compiled[0].items()}
    assert largest_difference(state(eager), compiled[1]) < 2e-5


@pytest.mark.skipif(BACKEND != "tensorflow", reason="XLA is a choice on TensorFlow alone")
@pytest.mark.parametrize("make", [OneLoss, TwoPlayer])
def test_xla_trains_alike(make, monkeypatch):
    # TensorFlow's own random numbers differ under XLA, so that this test draws none.
    def waves(shape, seed):
        return ops.reshape(ops.sin(ops.arange(shape[0] * shape[1], dtype="float32")), shape)

    monkeypatch.setattr(keras.random, "normal", waves)
    monkeypatch.setattr(keras.random, "uniform", waves)
    model = make(dim=4, ema=0.9)
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
    model.compile(adam())
    start, ends = state(model), []
    for xla in (False, True):
        model.compile(model.optimizer, jit_compile=xla)
        fit(model, start, rows(16, 4), batch_size=8)
        ends.append(state(model, "weight", "optimizer"))
    assert largest_difference(*ends) < 2e-5


@pytest.mark.parametrize("which", ["one_loss", "two_player"])
def test_evaluate_changes_no_weight_no_statistic_and_no_optimizer(which, request):
    model, _ = request.getfixturevalue(which)
    before = state(model, "weight", "optimizer")
    model.evaluate(rows(32, model.dim), batch_size=16, verbose=0)
    assert differing(before, state(model, "weight", "optimizer")) == []


def test_evaluate_reads_running_statistics_and_drops_nothing_out(one_loss):
    model, start = one_loss
    fit(model, start, rows(32, 4), batch_size=8)
    x = rows(16, 4, seed=1)
    whole = model.evaluate(x, batch_size=16, verbose=0, return_dict=True)
    assert model.evaluate(x, batch_size=8, verbose=0, return_dict=True) == pytest.approx(whole, rel=1e-4)


# Keras's data adapters and options.


class Batches(keras.utils.PyDataset):
    def __init__(self, x, size):
        super().__init__()
        self.x, self.size = x, size

    def __len__(self):
        return len(self.x) // self.size

    def __getitem__(self, i):
        return (self.x[i * self.size : (i + 1) * self.size],)


DATA_LOADER = pytest.param("DataLoader", marks=pytest.mark.across("torch"))


def adapters(x, size):
    import tensorflow as tf

    def loader():
        import torch

        return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.from_numpy(x)), batch_size=size)

    return {
        "array": lambda: x,
        "backend tensor": lambda: ops.convert_to_tensor(x),
        "tf.data": lambda: tf.data.Dataset.from_tensor_slices((x,)).batch(size),
        "PyDataset": lambda: Batches(x, size),
        "generator": lambda: ((x[i : i + size],) for i in range(0, len(x), size)),
        "DataLoader": loader,
    }


@pytest.mark.parametrize("adapter", ["backend tensor", "tf.data", "PyDataset", "generator", DATA_LOADER])
def test_every_data_adapter_gives_the_same_training(one_loss, adapter):
    model, start = one_loss
    sources = adapters(rows(24, 4), 8)
    expected = fit(model, start, sources["array"](), batch_size=8)
    ends = [state(model)]
    batches = {"batch_size": 8} if adapter == "backend tensor" else {}
    history = fit(model, start, sources[adapter](), **batches)
    ends.append(state(model))
    assert history == {k: pytest.approx(v, abs=1e-6) for k, v in expected.items()}
    assert largest_difference(*ends) < 1e-6


def test_labels_reach_the_check_and_the_batch(one_loss):
    model, start = one_loss
    fit(model, start, rows(8, 4), np.arange(8))
    with pytest.raises(ValueError, match=r"y: expected integers in \[0, 10\), received values from 0 to 10"):
        model.fit(rows(11, 4), np.arange(11), verbose=0)


def test_single_batches_are_checked_too(one_loss):
    model, _ = one_loss
    for step in (model.train_on_batch, model.test_on_batch):
        with pytest.raises(ValueError, match="x: .*NaN"):
            step(np.full((4, model.dim), np.nan, "float32"))


def test_validation_is_what_evaluate_gives(one_loss):
    model, start = one_loss
    held_out = rows(12, 4, seed=1)
    history = fit(model, start, rows(24, 4), batch_size=8, validation_data=(held_out,))
    figures = model.evaluate(held_out, batch_size=8, verbose=0, return_dict=True)
    assert {k: history[f"val_{k}"] for k in figures} == {k: [pytest.approx(v, rel=1e-5)] for k, v in figures.items()}


def test_several_steps_in_one_execution_are_the_same_training():
    x = rows(24, 2)
    means = []
    for steps in (1, 2):
        model = Location(2)
        model.compile(keras.optimizers.SGD(0.1), steps_per_execution=steps)
        if BACKEND == "torch" and steps > 1:
            with pytest.raises(ValueError, match="steps_per_execution"):
                model.fit(x, batch_size=8, verbose=0)
            return
        model.fit(x, batch_size=8, shuffle=False, verbose=0)
        means.append(model.mean.numpy())
    np.testing.assert_allclose(means[0], means[1], rtol=1e-6)


def test_learning_rate_callbacks_steer_the_optimizer():
    model = Location(1)
    model.compile(keras.optimizers.SGD(1.0))
    x = np.ones((4, 1), "float32")
    rates = model.fit(
        x, epochs=3, verbose=0, callbacks=keras.callbacks.LearningRateScheduler(lambda k: [0.25, 0.0, 0.5][k])
    )
    assert rates.history["learning_rate"] == [0.25, 0.0, 0.5]
    np.testing.assert_allclose(rates.history["loss"], [1.0, 0.25, 0.25], rtol=1e-6)  # 1 - mean: 1, then 1/2, 1/2
    plateau = keras.callbacks.ReduceLROnPlateau(monitor="loss", factor=0.5, patience=1, min_delta=10.0)
    model.fit(x, epochs=3, verbose=0, callbacks=[plateau])
    assert float(model.optimizer.learning_rate) == 0.125
