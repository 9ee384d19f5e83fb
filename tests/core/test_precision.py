import keras
import numpy as np
import pytest
from core.one_loss import OneLoss
from core.state import differing, restore, state
from core.two_player import TwoPlayer
from keras import ops

from kgen.core import GenerativeModel

SCALED = keras.optimizers.LossScaleOptimizer


def rows(n):
    return np.random.default_rng(0).normal(size=(n, 4)).astype("float32")


@pytest.fixture(scope="module")
def half():
    """Models in mixed_float16, compiled, with their state at the start: these tests share one compilation."""
    models = {}
    for make in (OneLoss, TwoPlayer):
        keras.utils.set_random_seed(0)
        model = make(dim=4, ema=0.9, dtype="mixed_float16")
        model.compile(keras.optimizers.SGD(0.01))
        models[make] = model, state(model)
    return models


def scale(optimizer):
    return float(ops.convert_to_numpy(optimizer.dynamic_scale))


@pytest.mark.parametrize("make", [OneLoss, TwoPlayer])
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_weights_are_float32_and_networks_compute_in_the_policys_type(make, policy, half):
    if policy == "mixed_float16":
        model, start = half[make]
        restore(model, start)
    else:
        model = make(dim=4, ema=0.9, dtype=policy)
        model.compile(keras.optimizers.SGD(0.01))
    before = state(model, "weight")
    history = model.fit(rows(16), batch_size=8, verbose=0).history
    assert np.isfinite(list(history.values())).all()
    assert {v.dtype for v in model.trainable_variables} == {"float32"}
    network = model.network if make is OneLoss else model.generator
    assert network.layers[0].compute_dtype == policy.removeprefix("mixed_")
    changed = differing(before, state(model, "weight"))
    assert {v.path for v in model.trainable_variables if "kernel" in v.path} <= set(changed)
    assert np.isfinite(list(model.evaluate(rows(16), batch_size=8, verbose=0, return_dict=True).values())).all()


def test_each_optimizer_scales_its_own_loss_in_float16_alone(half):
    assert isinstance(half[OneLoss][0].optimizer, SCALED)
    group = half[TwoPlayer][0].optimizer
    assert all(isinstance(group[p], SCALED) for p in ("discriminator", "generator"))
    assert group["discriminator"].dynamic_scale is not group["generator"].dynamic_scale
    model = TwoPlayer(dtype="mixed_bfloat16")
    model.compile("adam")
    assert not any(isinstance(model.optimizer[p], SCALED) for p in ("discriminator", "generator"))


def test_the_global_policy_counts_where_the_model_names_none():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = TwoPlayer()
    finally:
        keras.config.set_dtype_policy("float32")
    model.compile({"discriminator": SCALED(keras.optimizers.SGD(), initial_scale=8.0), "generator": "adam"})
    assert scale(model.optimizer["discriminator"]) == 8.0
    assert isinstance(model.optimizer["discriminator"].inner_optimizer, keras.optimizers.SGD)
    assert scale(model.optimizer["generator"]) == 2.0**15


def test_an_overflow_is_skipped_and_halves_the_scale(half):
    model, start = half[OneLoss]
    restore(model, start)
    model.optimizer.dynamic_scale.assign(2.0**60)
    before = {v.path: v.numpy().copy() for v in model.trainable_variables}
    history = model.fit(rows(8), batch_size=8, verbose=0).history
    assert np.isfinite(history["loss"]).all() and not model.stop_training
    assert all(np.array_equal(v.numpy(), before[v.path]) for v in model.trainable_variables)
    assert scale(model.optimizer) == 2.0**59 and int(model.optimizer.iterations) == 0


def test_an_overflow_of_one_player_leaves_the_other_training(half):
    model, start = half[TwoPlayer]
    restore(model, start)
    model.optimizer["discriminator"].dynamic_scale.assign(2.0**60)
    before = {v.path: v.numpy().copy() for v in model.trainable_variables}
    model.fit(rows(8), batch_size=8, verbose=0)
    assert all(np.array_equal(v.numpy(), before[v.path]) for v in model.players["discriminator"])
    assert scale(model.optimizer["discriminator"]) == 2.0**58  # two discriminator steps in one update
    assert scale(model.optimizer["generator"]) == 2.0**15
    assert [int(model.optimizer[p].iterations) for p in ("discriminator", "generator")] == [0, 1]
    assert not np.array_equal(model.generator.layers[0].kernel.numpy(), before[model.generator.layers[0].kernel.path])


@keras.saving.register_keras_serializable(package="kgen_tests")
class Cusp(GenerativeModel):
    """A loss whose gradient is NaN at any scale."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.w = self.add_weight(shape=(), initializer="zeros", name="w")

    def objective(self, batch, training):
        return ops.sqrt(ops.square(self.w) * 1.0) * ops.ones_like(batch.x[:, 0]), {}


def test_a_gradient_that_no_scale_makes_finite_stops_training():
    model = Cusp(dtype="mixed_float16")
    model.compile(SCALED(keras.optimizers.SGD(0.1), initial_scale=4.0))
    with pytest.warns(RuntimeWarning, match="Training stopped: loss or a gradient became NaN or infinite at batch 3"):
        model.fit(np.ones((8, 1), "float32"), batch_size=1, verbose=0)
    assert float(model.w.numpy()) == 0.0
