import keras
import numpy as np
import pytest
from keras import layers, ops

from kgen import backend

X = np.array([[0.3, -1.2, 0.7], [1.1, 0.4, -0.5]], "float32")
T = np.array([[1.0, 0.5, -2.0], [0.3, -0.7, 0.2]], "float32")


def numbers(x):
    return ops.convert_to_numpy(x)


def tensor(x):
    return ops.convert_to_tensor(x)


def run_both(fn, *args, variables=()):
    """``fn`` eager and compiled, as numpy; they must agree."""
    eager = keras.tree.map_structure(numbers, fn(*map(tensor, args)))
    compiled = keras.tree.map_structure(numbers, backend.jit(fn, variables)(*map(tensor, args)))
    for a, b in zip(keras.tree.flatten(eager), keras.tree.flatten(compiled), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    return eager


def cubes(x):
    return ops.sum(x**3, axis=-1)


def squash(x):
    """Rows to rows, with a full Jacobian: sin of x times a constant matrix."""
    return ops.sin(ops.matmul(x, tensor(MATRIX)))


MATRIX = np.array([[0.2, -1.0], [0.5, 0.3], [1.5, -0.4]], "float32")


def jacobian(x):
    """d squash_j / d x_i of each row: (B, 3, 2)."""
    return MATRIX[None] * np.cos(x @ MATRIX)[:, None, :]


# Against closed forms, on their own and compiled.


def test_grad_is_the_gradient_of_each_row():
    np.testing.assert_allclose(run_both(lambda x: backend.grad(cubes, x), X), 3 * X**2, rtol=1e-5)


def test_derivatives_of_what_does_not_depend_on_x_are_zero():
    constant = tensor(np.ones(2, "float32"))
    for fn in (lambda v: 0.0 * ops.sum(v, -1), lambda v: constant):
        np.testing.assert_array_equal(run_both(lambda x, fn=fn: backend.grad(fn, x), X), 0.0 * X)
        np.testing.assert_array_equal(run_both(lambda x, fn=fn: backend.vjp(fn, x)[1](constant), X), 0.0 * X)
        np.testing.assert_array_equal(run_both(lambda x, t, fn=fn: backend.jvp(fn, x, t)[1], X, T), [0.0, 0.0])


def test_only_the_argument_is_differentiated():
    """The same tensor, read from outside of the function, is a constant there."""
    np.testing.assert_allclose(run_both(lambda x: backend.grad(lambda v: ops.sum(v * x, axis=-1), x), X), X, rtol=1e-6)

    def both(x):  # d/dx of sum x^3, then of the above within it
        return backend.grad(lambda u: ops.sum(u * backend.grad(lambda v: ops.sum(v * u, axis=-1), u), axis=-1), x)

    np.testing.assert_allclose(run_both(both, X), 2 * X, rtol=1e-6)


def test_grad_of_grad():
    def hessian_times_ones(x):
        return backend.grad(lambda v: ops.sum(backend.grad(cubes, v), axis=-1), x)

    np.testing.assert_allclose(run_both(hessian_times_ones, X), 6 * X, rtol=1e-5)


def test_vjp():
    weights = np.array([[1.0, -2.0], [0.5, 3.0]], "float32")

    def pulled(x, cotangent):
        y, pullback = backend.vjp(squash, x)
        return y, pullback(cotangent)

    y, gradient = run_both(pulled, X, weights)
    np.testing.assert_allclose(y, np.sin(X @ MATRIX), rtol=1e-5)
    np.testing.assert_allclose(gradient, np.einsum("bij,bj->bi", jacobian(X), weights), rtol=1e-5, atol=1e-6)


def test_a_pullback_may_be_called_again():
    def rows_of_the_jacobian(x):
        _, pullback = backend.vjp(squash, x)
        basis = np.eye(2, dtype="float32")
        return ops.stack([pullback(tensor(np.tile(basis[j], (2, 1)))) for j in range(2)], axis=-1)

    np.testing.assert_allclose(run_both(rows_of_the_jacobian, X), jacobian(X), rtol=1e-5, atol=1e-6)


def test_jvp():
    y, dy = run_both(lambda x, t: backend.jvp(squash, x, t), X, T)
    np.testing.assert_allclose(y, np.sin(X @ MATRIX), rtol=1e-5)
    np.testing.assert_allclose(dy, np.einsum("bij,bi->bj", jacobian(X), T), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("through", ["grad", "vjp", "jvp"])
def test_derivatives_of_a_network_with_state(through):
    """BatchNorm's statistics and a dropout's seed are assigned inside the derivative; both must be there after it, as numbers."""
    network = keras.Sequential(
        [keras.Input((3,)), layers.BatchNormalization(), layers.Dropout(0.5, seed=1), layers.Dense(2)]
    )
    statistics, seed = network.layers[0].moving_mean, network.layers[1].seed_generator.state
    before = statistics.numpy().copy(), seed.numpy().copy()

    def call(x):
        return network(x, training=True)

    if through == "grad":
        backend.grad(lambda x: ops.sum(call(x), axis=-1), tensor(X))
    elif through == "vjp":
        backend.vjp(call, tensor(X))
    else:
        backend.jvp(call, tensor(X), tensor(T))
    np.testing.assert_allclose(statistics.numpy(), 0.01 * X.mean(axis=0), rtol=1e-4)
    assert (before[1] != seed.numpy()).any()
    assert network(X, training=True).shape == (2, 2)  # no tracer was left behind


def test_jit_of_a_network_with_state_leaves_it_usable():
    network = keras.Sequential(
        [keras.Input((3,)), layers.BatchNormalization(), layers.Dropout(0.5, seed=1), layers.Dense(2)]
    )
    compiled = backend.jit(lambda x: network(x, training=False), network.variables)
    first = numbers(compiled(tensor(X)))
    np.testing.assert_allclose(first, numbers(network(X, training=False)), rtol=1e-5, atol=1e-6)
    network.layers[-1].bias.assign([10.0, 20.0])  # a compiled function sees the present weights
    np.testing.assert_allclose(numbers(compiled(tensor(X))) - first, np.tile([10.0, 20.0], (2, 1)), rtol=1e-4)


# Inside of a training gradient.


@pytest.fixture
def square():
    """A network w^2 |x|^2 / 2 with one weight: everything about it is known."""

    class Square(keras.layers.Layer):
        def build(self, shape):
            self.w = self.add_weight(shape=(), initializer=keras.initializers.Constant(1.5), name="w")

        def call(self, x):
            return 0.5 * ops.square(self.w) * ops.sum(ops.square(x), axis=-1)

    layer = Square()
    layer.build((None, 3))
    return layer


def test_value_and_grad(square):
    unused = keras.Variable([1.0], name="unused")
    (loss, aux), (gradient, nothing) = backend.value_and_grad(
        lambda: (ops.mean(square(tensor(X))), {"rows": square(tensor(X))}), [square.w, unused]
    )
    squares = np.square(X).sum(axis=1)
    np.testing.assert_allclose(numbers(loss), 0.5 * 2.25 * squares.mean(), rtol=1e-5)
    np.testing.assert_allclose(numbers(aux["rows"]), 0.5 * 2.25 * squares, rtol=1e-5)
    np.testing.assert_allclose(numbers(gradient), 1.5 * squares.mean(), rtol=1e-5)
    assert nothing is None or not numbers(nothing).any()


def derivative_losses(square):
    """Losses made of derivatives, with their value and their derivative with respect to w."""
    w, squares = 1.5, np.square(X).sum(axis=1)
    along = (X * T).sum(axis=1)

    def penalty(x):  # |w^2 x|^2
        return ops.mean(ops.sum(ops.square(backend.grad(square, x)), axis=-1))

    def pulled(x):
        _, pullback = backend.vjp(square, x)
        return ops.mean(ops.sum(ops.square(pullback(ops.ones((2,)))), axis=-1))

    def pushed(x):  # (w^2 x.t)^2
        return ops.mean(ops.square(backend.jvp(square, x, tensor(T))[1]))

    return {
        "grad": (penalty, w**4 * squares.mean(), 4 * w**3 * squares.mean()),
        "vjp": (pulled, w**4 * squares.mean(), 4 * w**3 * squares.mean()),
        "jvp": (pushed, w**4 * np.square(along).mean(), 4 * w**3 * np.square(along).mean()),
    }


@pytest.mark.parametrize("through", ["grad", "vjp", "jvp"])
def test_weights_receive_gradients_through_a_derivative(square, through):
    fn, value, slope = derivative_losses(square)[through]

    def both(x):
        (loss, _), (gradient,) = backend.value_and_grad(lambda: (fn(x), ()), [square.w])
        return loss, gradient

    loss, gradient = (numbers(v) for v in both(tensor(X)))
    np.testing.assert_allclose([loss, gradient], [value, slope], rtol=1e-5)
    if keras.config.backend() != "torch":  # there jit runs without recording gradients
        np.testing.assert_allclose(run_both(both, X, variables=[square.w]), [value, slope], rtol=1e-5)


def test_state_assigned_inside_two_derivatives_comes_out():
    norm = layers.BatchNormalization(momentum=0.5)
    norm.build((None, 3))

    def loss_fn():
        slope = backend.grad(lambda v: ops.sum(norm(v, training=True) ** 2, axis=-1), tensor(X))
        return ops.mean(slope), ()

    backend.value_and_grad(loss_fn, norm.trainable_variables)
    np.testing.assert_allclose(norm.moving_mean.numpy(), 0.5 * X.mean(axis=0), rtol=1e-5)


# The guard's parts.


def test_all_finite():
    good = [tensor(X), tensor(np.ones((), "float16")), tensor(np.full(3, 1e4, "float16"))]
    assert bool(numbers(backend.all_finite(good)))
    assert bool(numbers(backend.all_finite([])))
    for bad in (np.nan, np.inf, -np.inf):
        assert not bool(numbers(backend.all_finite([*good, tensor(np.array([0.0, bad], "float32"))])))
    assert not bool(numbers(backend.all_finite([tensor(np.array([np.inf, -np.inf], "float32"))])))


@pytest.mark.skipif(keras.config.backend() != "jax", reason="only JAX compiles every step by XLA")
def test_a_guarded_step_is_compiled_to_a_program_as_long_as_its_variables_are_many():
    """XLA once copied the sum over all gradients into the update of each variable."""
    import jax

    def additions(count):
        def step(gradients):
            finite = backend.all_finite(gradients)
            return [ops.where(finite, 2.0 * g, g) for g in gradients]

        program = jax.jit(step).lower([np.ones(3, "float32")] * count).compile().as_text()
        return program.count(" add(")

    assert additions(40) < 3 * additions(20)


def test_gradients_are_applied_only_where_finite_is_true():
    weight = keras.Variable([1.0, 2.0])
    optimizer = keras.optimizers.SGD(0.5, momentum=0.9)
    optimizer.build([weight])
    backend.apply_gradients(optimizer, [ops.ones(2)], [weight], ops.convert_to_tensor(False))
    assert weight.numpy().tolist() == [1.0, 2.0] and int(optimizer.iterations) == 0
    backend.apply_gradients(optimizer, [ops.ones(2)], [weight], ops.convert_to_tensor(True))
    assert weight.numpy().tolist() == [0.5, 1.5] and int(optimizer.iterations) == 1


def test_a_row_that_was_looked_up_twice_has_one_gradient():
    table = keras.Variable(np.zeros((3, 1), "float32"))
    slopes = tensor(np.array([[0.001], [0.002], [0.003]], "float32"))
    looked_up = tensor(np.array([0, 0, 1], "int32"))

    def loss_fn():
        return ops.sum(ops.take(table, looked_up, axis=0) * slopes), None

    _, (gradient,) = backend.value_and_grad(loss_fn, [table])
    np.testing.assert_allclose(numbers(ops.convert_to_tensor(gradient))[:, 0], [0.003, 0.003, 0.0], rtol=1e-6)
    optimizer = keras.optimizers.Adam(0.01, epsilon=1e-3)
    optimizer.build([table])
    backend.apply_gradients(optimizer, [gradient], [table])
    first, second, _ = numbers(table)[:, 0]
    assert first == pytest.approx(second, rel=1e-5) and first < 0  # of equal gradients, equal steps


def test_rows_of_each_example_at_its_own_places():
    x = np.arange(24, dtype="float32").reshape(2, 4, 3)
    places = np.array([[3, 0, 3], [1, 2, 1]], "int32")
    np.testing.assert_array_equal(run_both(backend.take_rows, x, places), x[[[0], [1]], places])

    def squares(x, places):
        return backend.grad(lambda v: ops.sum(backend.take_rows(v, places) ** 2, axis=(1, 2)), x)

    taken = np.array([[1, 0, 0, 2], [0, 2, 1, 0]], "float32")  # how often
    np.testing.assert_allclose(run_both(squares, x, places), 2 * x * taken[..., None])


def test_a_loop_whose_body_takes_gradients():
    def descent(x):
        def body(i, carry):
            x, counted = carry
            return x - 0.1 * backend.grad(cubes, x), counted + ops.cast(i, "float32")

        return backend.fori_loop(1, 4, body, (x, ops.zeros(())))

    x, counted = run_both(descent, X)
    expected = X
    for _ in range(3):
        expected = expected - 0.3 * expected**2
    np.testing.assert_allclose(x, expected, rtol=1e-5)
    assert counted == 6


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_average_moves_towards_a_value(dtype):
    average, value = keras.Variable(np.zeros(2, "float32")), keras.Variable([1.0, -2.0], dtype=dtype)
    backend.move_towards(average, value, ops.convert_to_tensor(0.25))
    assert average.numpy().tolist() == [0.25, -0.5]
    backend.move_towards(average, ops.zeros(2), ops.convert_to_tensor(0.0))
    assert average.numpy().tolist() == [0.25, -0.5]
