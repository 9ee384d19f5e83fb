"""``when`` computes one of two functions and skips the other, on its own, compiled, inside a gradient, and inside a training step."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from kgen import backend


def numbers(x):
    return keras.tree.map_structure(lambda v: None if v is None else ops.convert_to_numpy(v), x)


def compiled(fn, variables=()):
    return backend.jit(fn, variables)


@pytest.mark.parametrize("wrap", [lambda fn: fn, compiled], ids=["eager", "compiled"])
def test_gives_what_the_branch_taken_returns(wrap):
    def fn(x, n):
        first = ops.equal(n[0] % 2, 0)
        return backend.when(first, lambda: {"y": x**2, "n": 1, "none": None}, lambda: {"y": -x, "n": 0, "none": None})

    x = np.array([1.0, 3.0], "float32")
    for n in (4, 5):
        result = numbers(wrap(fn)(ops.convert_to_tensor(x), ops.convert_to_tensor([n])))
        np.testing.assert_array_equal(result["y"], x**2 if n == 4 else -x)
        assert int(result["n"]) == (n == 4) and result["none"] is None


def test_a_python_bool_is_a_condition():
    assert float(backend.when(True, lambda: 1.0, lambda: 2.0)) == 1.0
    assert float(backend.when(False, lambda: 1.0, lambda: 2.0)) == 2.0


@pytest.mark.parametrize("taken", [True, False])
def test_gradients_flow_through_the_branch_taken_alone(taken):
    """The other branch gives log 0 and a gradient of NaN, which would go through ``where``."""
    w = keras.Variable([2.0, 3.0])

    def both(flag, zero):
        def loss_fn():
            scale = ops.sum(w)  # made outside of the branches

            def good():
                return scale * ops.sum(w)

            return backend.when(flag[0] > 0.5, good, lambda: ops.sum(ops.log(zero * w))), ()

        (loss, _), (gradient,) = backend.value_and_grad(loss_fn, [w])
        return loss, gradient

    arguments = ops.convert_to_tensor([float(taken)]), ops.convert_to_tensor([0.0, 0.0])
    run = both if keras.config.backend() == "torch" else backend.jit(both, [w])  # torch's jit records no gradients
    loss, gradient = numbers(run(*arguments))
    if taken:
        np.testing.assert_allclose(gradient, [10.0, 10.0], rtol=1e-6)
        assert float(loss) == pytest.approx(25.0)
    else:
        assert np.isneginf(loss) and np.isnan(gradient).all()


class Lazy(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.count, self.other = (self.add_weight(shape=(), initializer="zeros", trainable=False) for _ in range(2))
        self.seeds = keras.random.SeedGenerator(3)
        self.norm = layers.BatchNormalization(momentum=0.5)
        self.norm.build((None, 2))
        self.built = True


@pytest.mark.parametrize("taken", [True, False])
def test_assignments_of_the_branch_taken_come_out_of_a_compiled_step(taken):
    from kgen.core import GenerativeModel

    layer = Lazy()
    start = numbers(layer.seeds.state).copy()

    class Model(GenerativeModel):
        log_names = ("loss",)

        def __init__(self):
            super().__init__()
            self.layer = layer
            self.w = keras.layers.Dense(1)
            self.w.build((None, 2))

        def objective(self, batch, training):
            def then():
                layer.count.assign_add(1.0)
                noise = keras.random.normal((2,), seed=layer.seeds)
                return ops.mean(layer.norm(batch.x + 0.0 * noise, training=True)), noise

            def otherwise():
                layer.other.assign(7.0)
                return ops.mean(batch.x), ops.zeros((2,))

            lazy, _ = backend.when(batch.x[0, 0] > 0.0, then, otherwise)
            return ops.square(self.w(batch.x))[:, 0] + 0.0 * lazy, {}

    model = Model()
    model.compile(keras.optimizers.SGD(0.0))
    sign = 1.0 if taken else -1.0
    model.fit(np.full((6, 2), sign, "float32"), batch_size=2, epochs=1, verbose=0)  # three steps
    assert float(layer.count) == (3.0 if taken else 0.0) and float(layer.other) == (0.0 if taken else 7.0)
    assert (numbers(layer.seeds.state) != start).any() == taken
    np.testing.assert_allclose(numbers(layer.norm.moving_mean), 0.875 if taken else 0.0)


def test_the_other_branch_is_skipped_for_real():
    """A loop of 10^9 rounds in the branch that is not taken: computing it would not end."""
    if keras.config.backend() == "torch":
        calls = []
        backend.when(ops.convert_to_tensor(False), lambda: calls.append(1), lambda: None)
        assert not calls
        return

    def fn(x):
        def forever():
            return ops.while_loop(lambda i, y: i < 10**9, lambda i, y: (i + 1, ops.sin(y)), (0, x))[1]

        return backend.when(x[0] > 0.0, forever, lambda: -x)

    x = ops.convert_to_tensor([-1.0, 2.0])
    np.testing.assert_array_equal(numbers(backend.jit(fn)(x)), [1.0, -2.0])


def test_the_first_row_is_the_first_without_replicas():
    row = backend.first_row(5)
    assert int(row) == 0 and keras.backend.standardize_dtype(row.dtype) == "int32"
