import keras
import numpy as np
import pytest
from core.one_loss import Location, OneLoss
from core.state import differing, restore, state
from core.two_player import TwoPlayer
from keras import ops

from kgen.core import GenerativeModel

BACKEND = keras.config.backend()


def batches(x, size, bad=None):
    """A dataset of the rows of ``x``, with one NaN in batch ``bad``: what no check sees before training."""
    import tensorflow as tf

    x = x.copy()
    if bad is not None:
        x[bad * size, 0] = np.nan
    return tf.data.Dataset.from_tensor_slices((x,)).batch(size)


def rows(n, dim):
    return np.random.default_rng(0).normal(size=(n, dim)).astype("float32")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_arrays_are_refused_before_any_work(value):
    x = rows(6, 4)
    x[3, 1] = x[4, 0] = value
    model = OneLoss()
    model.compile("adam")
    before = state(model)
    for method in (model.fit, model.evaluate):
        with pytest.raises(ValueError, match=r"x: expected finite numbers, .* in 2 of 6 rows \(first: row 3\)"):
            method(x, verbose=0)
    with pytest.raises(ValueError, match="x: expected finite numbers"):
        model.fit(batches(x, 6), verbose=0)
    assert differing(before, state(model)) == []


@pytest.mark.parametrize("make", [OneLoss, TwoPlayer])
def test_a_bad_batch_stops_training_and_leaves_no_trace(make):
    model = make(dim=4, ema=0.9)
    model.compile("adam")
    start, x = state(model), rows(32, 4)
    model.fit(batches(x[:8], 8), verbose=0, shuffle=False)
    good = state(model, "weight", "optimizer")
    restore(model, start)
    with pytest.warns(
        RuntimeWarning, match=r"Training stopped: .*loss.* became NaN or infinite at batch 2 of this epoch"
    ):
        history = model.fit(batches(x, 8, bad=1), epochs=3, verbose=0, shuffle=False)
    assert len(history.epoch) == 1
    after = state(model, "weight", "optimizer")
    assert differing(good, after) == []
    assert all(np.isfinite(v).all() for v in after.values())


@pytest.mark.skipif(BACKEND == "torch", reason="Keras has no steps_per_execution on torch")
def test_no_later_step_of_the_same_execution_is_applied():
    x = rows(32, 2)
    model = Location(2)
    model.compile(keras.optimizers.SGD(0.1), steps_per_execution=4)
    with pytest.warns(RuntimeWarning, match="Training stopped: loss"):
        model.fit(batches(x, 8, bad=1), verbose=0)
    np.testing.assert_allclose(model.mean.numpy(), 0.2 * x[:8].mean(axis=0), rtol=1e-5)


def test_training_goes_on_after_it_was_stopped():
    x = rows(16, 2)
    model = Location(2)
    model.compile(keras.optimizers.SGD(0.5))
    with pytest.warns(RuntimeWarning):
        model.fit(batches(x, 8, bad=1), verbose=0)
    assert np.isfinite(model.fit(x, batch_size=16, verbose=0).history["loss"]).all()
    np.testing.assert_allclose(model.mean.numpy(), x.mean(axis=0), rtol=1e-5)


def test_an_exploding_loss_keeps_the_last_finite_weights():
    model = Location(1)
    model.compile(keras.optimizers.SGD(1e30, momentum=0.5))
    with pytest.warns(
        RuntimeWarning, match="at batch 2 of this epoch.*lower the learning rate or set the optimizer's clipnorm"
    ):
        model.fit(np.ones((6, 1), "float32"), batch_size=2, verbose=0)
    np.testing.assert_allclose(model.mean.numpy(), [2e30], rtol=1e-5)
    assert int(model.optimizer.iterations) == 1


def test_a_player_that_explodes_holds_the_others():
    model = TwoPlayer()
    model.compile({"discriminator": keras.optimizers.SGD(1e38), "generator": "adam"})
    before = state(model)
    with pytest.warns(RuntimeWarning, match="Training stopped: discriminator_loss"):
        model.fit(rows(8, 2), batch_size=8, verbose=0)
    assert [int(model.optimizer[p].iterations) for p in ("discriminator", "generator")] == [1, 0]
    changed = differing(before, state(model, "weight", "seed", "optimizer"))
    assert not any("generator" in path and "batch_norm" in path for path in changed)


@keras.saving.register_keras_serializable(package="kgen_tests")
class Cusp(GenerativeModel):
    """A loss that is 0 and whose gradient is NaN: |w|, written as a root, at w = 0."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.w = self.add_weight(shape=(), initializer="zeros", name="w")

    def objective(self, batch, training):
        root = ops.sqrt(ops.square(self.w) * 1.0)
        return root * ops.ones_like(batch.x[:, 0]), {}


def test_a_gradient_that_is_nan_stops_training_though_the_loss_is_finite():
    model = Cusp()
    model.compile("adam")
    with pytest.warns(RuntimeWarning, match="loss or a gradient became NaN or infinite at batch 1"):
        model.fit(np.ones((6, 1), "float32"), batch_size=2, verbose=0)
    assert float(model.w.numpy()) == 0.0 and int(model.optimizer.iterations) == 0


def test_the_guard_copies_running_statistics_and_no_frozen_network():
    model = OneLoss(ema=0.9)
    assert sorted(v.path.split("/")[-1] for v in model._statistics()) == ["moving_mean", "moving_variance"]
    model.network.trainable = False
    assert model._statistics() == []
