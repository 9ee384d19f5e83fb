"""Adam by TensorFlow's operation against Keras's own, update by update."""

import keras
import numpy as np
import pytest

from kgen import backend

if keras.config.backend() != "tensorflow":
    pytest.skip("TensorFlow's operation", allow_module_level=True)

import tensorflow as tf

from kgen.backend import tensorflow_adam

Adam, AdamW, schedules = keras.optimizers.Adam, keras.optimizers.AdamW, keras.optimizers.schedules
OPTIMIZERS = {
    "adam": lambda: Adam(0.1, beta_1=0.5, beta_2=0.99),
    "schedule": lambda: Adam(schedules.CosineDecay(0.0, 6, warmup_target=0.1, warmup_steps=3), epsilon=1e-3),
    "clipped": lambda: AdamW(0.1, weight_decay=0.2, clipnorm=1.0),
    "clipped together": lambda: AdamW(0.1, weight_decay=0.2, global_clipnorm=1.0),
    "clipped values": lambda: Adam(0.1, clipvalue=0.5),
    "decay": lambda: Adam(0.1, weight_decay=0.2),
}


def variables():
    return [keras.Variable(np.linspace(-1, 1, 6).reshape(3, 2), name="table"), keras.Variable([0.5, 2.0], name="bias")]


def gradients(step):
    rng = np.random.default_rng(step)
    rows = tf.constant(rng.normal(size=(3, 2)), "float32")  # of an embedding: the middle row twice
    sliced = tf.IndexedSlices(rows, tf.constant([1, 0, 1]), dense_shape=tf.constant([3, 2]))
    dense = tf.constant(rng.normal(size=(3, 2)) * 10.0 ** rng.integers(-3, 2), "float32")
    return [sliced if step == 2 else dense, tf.constant(rng.normal(size=2), "float32") if step else tf.zeros(2)]


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("how", ["eager", "graph", "xla"])
def test_updates_are_those_of_keras(name, how):
    (theirs, a), (ours, b) = ((OPTIMIZERS[name](), variables()) for _ in range(2))
    for optimizer, trained in ((theirs, a), (ours, b)):
        optimizer.exclude_from_weight_decay(var_names=["bias"])
        optimizer.build(trained)

    def update(gradients):
        assert tensorflow_adam.fits(ours, gradients, b)
        backend.apply_gradients(ours, gradients, b)

    if how != "eager":
        update = tf.function(update, jit_compile=how == "xla")
    for step in range(5):
        theirs.apply([tf.convert_to_tensor(g) for g in gradients(step)], a)
        update(gradients(step))
    for expected, found in zip([*a, *theirs.variables], [*b, *ours.variables], strict=True):
        # 1 - beta_2 of float32 numbers, which Keras takes of Python's, is another by up to 6e-5 of it.
        np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-4, atol=1e-5, err_msg=found.path)


@pytest.mark.parametrize("how", ["eager", "graph", "xla"])
@pytest.mark.parametrize("name", ["adam", "clipped", "clipped together", "clipped values", "decay"])
def test_nothing_changes_where_a_gradient_is_not_finite(name, how):
    optimizer, trained = OPTIMIZERS[name](), variables()
    optimizer.build(trained)

    def update(gradients):
        backend.apply_gradients(optimizer, gradients, trained, backend.all_finite(gradients))

    if how != "eager":
        update = tf.function(update, jit_compile=how == "xla")
    given = [tf.constant(np.arange(6).reshape(3, 2), "float32"), tf.ones(2)]
    for bad in (np.nan, np.inf):
        for at in (0, 1):  # before its first update, and after it
            before = [v.numpy() for v in [*trained, *optimizer.variables]]
            update([given[0] * bad, given[1]])
            for old, variable in zip(before, [*trained, *optimizer.variables], strict=True):
                np.testing.assert_array_equal(variable.numpy(), old, err_msg=variable.path)
            if at == 0:
                update(given)
                assert all((a.numpy() != b).any() for a, b in zip(trained, before, strict=False))


def test_what_has_more_than_an_update_is_left_to_keras():
    bounded = keras.Variable([1.0])
    bounded.constraint = keras.constraints.NonNeg()
    whole, some = [tf.ones(1)], [None]
    for optimizer, trained, given, fits in (
        (Adam(), keras.Variable([1.0]), whole, True),
        (Adam(), keras.Variable([1.0]), some, False),
        (Adam(), bounded, whole, False),
        (Adam(amsgrad=True), keras.Variable([1.0]), whole, False),
        (Adam(use_ema=True), keras.Variable([1.0]), whole, False),
        (Adam(epsilon=0.0), keras.Variable([1.0]), whole, False),
        (Adam(gradient_accumulation_steps=2), keras.Variable([1.0]), whole, False),
        (Adam(loss_scale_factor=2.0), keras.Variable([1.0]), whole, False),
        (keras.optimizers.Nadam(), keras.Variable([1.0]), whole, False),
        (keras.optimizers.LossScaleOptimizer(Adam()), keras.Variable([1.0]), whole, False),
    ):
        optimizer.build([trained])
        assert bool(tensorflow_adam.fits(optimizer, given, [trained])) is fits, optimizer.get_config()
    optimizer = Adam()
    optimizer.build([keras.Variable([1.0])])
    with pytest.raises(ValueError, match="[Uu]nknown variable"):
        backend.apply_gradients(optimizer, whole, [keras.Variable([1.0])])
