"""Gradients of convolutions in branches and loops: the same numbers, in the order of dimensions that XLA's CPU compiler is fast at."""

import keras
import numpy as np
import pytest
from keras import ops

from kgen import backend

if keras.config.backend() != "jax":
    pytest.skip("of JAX alone", allow_module_level=True)

import jax

from kgen.backend.jax_convolutions import canonical

if jax.default_backend() != "cpu":
    pytest.skip("elsewhere than on a CPU functions are left as they are", allow_module_level=True)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 9, 7, 4)).astype("float32")
ORDER = jax.lax.ConvDimensionNumbers((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))


def orders(jaxpr):
    """The orders of dimensions of all convolutions, those in branches and loops among them."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            yield equation.params["dimension_numbers"]
        for value in jax.tree.leaves(equation.params, is_leaf=lambda v: hasattr(v, "jaxpr") or hasattr(v, "eqns")):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from orders(inner)


def slopes(options, groups, x):
    """Of the mean square of a network's slope, a second order, with respect to its kernel and what it sees."""
    kernel = ops.convert_to_tensor(np.random.default_rng(1).normal(size=(3, 3, 4 // groups, 8)).astype("float32"))

    def penalty(kernel, x):
        def energy(x):
            return ops.sum(ops.tanh(ops.conv(x, kernel, **options)), axis=(1, 2, 3))

        return ops.sum(ops.square(backend.grad(energy, x)))

    return jax.grad(penalty, argnums=(0, 1))(kernel, ops.convert_to_tensor(x))


@pytest.mark.parametrize(
    ("options", "groups"),
    [
        ({"padding": "same"}, 1),
        ({"strides": 2, "padding": "same"}, 1),
        ({"dilation_rate": 2, "padding": "valid"}, 1),
        ({"padding": "valid"}, 2),
    ],
    ids=["same", "strided", "dilated", "in groups"],
)
def test_the_same_numbers_in_one_order(options, groups):
    plain, ordered = (
        jax.make_jaxpr(f)() for f in (lambda: slopes(options, groups, X), canonical(lambda: slopes(options, groups, X)))
    )
    assert set(orders(plain.jaxpr)) != {ORDER} == set(orders(ordered.jaxpr))
    for a, b in zip(slopes(options, groups, X), canonical(lambda: slopes(options, groups, X))(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_in_branches_and_loops():
    def branch(x):
        return backend.when(ops.sum(x) > 0, lambda: slopes({}, 1, x)[1], lambda: x)

    def loop(x):
        return backend.fori_loop(0, 2, lambda _, x: x + 0.01 * slopes({"padding": "same"}, 1, x)[1], x)

    for fn in (branch, loop):
        assert set(orders(jax.make_jaxpr(fn)(X).jaxpr)) == {ORDER}
    expected = X
    for _ in range(2):
        expected = expected + 0.01 * np.asarray(slopes({"padding": "same"}, 1, expected)[1])
    np.testing.assert_allclose(jax.jit(loop)(X), expected, rtol=1e-3, atol=1e-3)
