"""Solvers of differential equations against solutions that are known."""

import contextlib

import keras
import numpy as np
import pytest
from keras import ops

from kgen import backend
from kgen.numerics import DormandPrinceSolver, EulerSolver, HeunSolver, RK4Solver, ode

FIXED = [EulerSolver, HeunSolver, RK4Solver]


@pytest.fixture
def float64():
    """JAX has float64 only where it is asked for."""
    context = contextlib.nullcontext()
    if keras.config.backend() == "jax":
        import jax

        context = jax.enable_x64(True)
    with context:
        yield


def growth(t, y):
    """dy/dt = t^2 y, dz/dt = -2 t z: y = y_0 exp((t^3 - t_0^3) / 3), z = z_0 exp(t_0^2 - t^2). (Keras's cos is float32 on JAX.)"""
    t = t[:, None]
    return {"y": t * t * y["y"], "z": -2.0 * t[:, :, None] * y["z"]}


def exact(start, t_0, t_1):
    t_0, t_1 = np.asarray(t_0)[:, None], np.asarray(t_1)[:, None]
    y = start["y"] * np.exp((t_1**3 - t_0**3) / 3)
    return {"y": y, "z": start["z"] * np.exp(t_0**2 - t_1**2)[:, :, None]}


def rows(dtype="float64", n=3):
    rng = np.random.default_rng(0)
    return {"y": rng.normal(size=(n, 2)).astype(dtype), "z": rng.normal(size=(n, 2, 1)).astype(dtype)}


def solve(solver, start, t_0, t_1, function=growth):
    tensors = keras.tree.map_structure(ops.convert_to_tensor, start)
    t_0, t_1 = (ops.convert_to_tensor(np.asarray(t)) for t in (t_0, t_1))
    return keras.tree.map_structure(ops.convert_to_numpy, solver.solve(function, tensors, t_0, t_1))


def error(found, right):
    return max(np.abs(found[k] - right[k]).max() for k in right)


T_0, T_1 = [0.0, 1.0, 0.3], [1.5, -0.5, 0.3]  # the second row runs backwards, the third stays


@pytest.mark.parametrize("kind", FIXED, ids=lambda k: k.__name__)
def test_the_error_falls_with_the_order(kind, float64):
    right = exact(rows(), T_0, T_1)
    errors = []
    for steps in (40, 80):
        solution = solve(kind(steps), rows(), T_0, T_1)
        assert solution.y["y"].dtype == np.float64 and solution.finished.all() and (solution.steps == steps).all()
        errors.append(error(solution.y, right))
    assert abs(np.log2(errors[0] / errors[1]) - kind.order) < 0.15
    np.testing.assert_array_equal(solution.y["y"][2], rows()["y"][2])


@pytest.mark.parametrize("tolerance", [1e-4, 1e-7, 1e-10])
def test_the_tolerance_is_kept(tolerance, float64):
    solution = solve(DormandPrinceSolver(tolerance, tolerance), rows(), T_0, T_1)
    assert solution.finished.all() and solution.steps[2] == 0
    assert error(solution.y, exact(rows(), T_0, T_1)) < 10 * tolerance
    assert solution.steps.max() < 12 + 1.5 * tolerance ** (-1 / 5)  # of order 5, or it would take many more


def test_steps_follow_what_the_row_needs():
    """A row that is stiff takes shorter steps, and the other rows do not know of it."""

    def decay(t, y):
        return -rates[: y.shape[0], None] * y

    rates = ops.convert_to_tensor(np.array([1.0, 200.0], "float32"))
    y = np.ones((2, 3), "float32")
    both = solve(DormandPrinceSolver(), y, 0.0, 1.0, decay)
    alone = solve(DormandPrinceSolver(), y[:1], 0.0, 1.0, decay)
    np.testing.assert_allclose(both.y[0], np.exp(-1.0), rtol=1e-4)
    np.testing.assert_allclose(both.y[0], alone.y[0], rtol=1e-6)
    assert both.steps[1] > 5 * both.steps[0] and both.steps[0] == alone.steps[0]


def test_a_row_that_does_not_arrive_says_so():
    """y' = y^2 from 1 is 1 / (1 - t): infinite at 1."""
    y = np.array([[1.0], [0.5]], "float32")
    solution = solve(DormandPrinceSolver(max_steps=60), y, 0.0, 1.5, lambda t, y: ops.square(y))
    np.testing.assert_array_equal(solution.finished, [False, True])
    np.testing.assert_allclose(solution.y[1], 2.0, rtol=1e-3)
    assert solution.steps[0] == 60 and np.isfinite(solution.y).all()


@pytest.mark.parametrize("solver", [RK4Solver(20), DormandPrinceSolver()], ids=lambda s: type(s).__name__)
def test_there_and_back_compiled(solver):
    def run(y, end):
        there = solver.solve(lambda t, y: ops.sin(y) + t[:, None], y, 0.0, end).y
        return solver.solve(lambda t, y: ops.sin(y) + t[:, None], there, end, 0.0).y

    y = rows("float32")["y"]
    end = np.array([1.0, 0.5, -1.0], "float32")
    there = backend.jit(run, compiler="xla")(ops.convert_to_tensor(y), ops.convert_to_tensor(end))
    np.testing.assert_allclose(ops.convert_to_numpy(there), y, atol=2e-4)


@pytest.mark.parametrize("solver", [HeunSolver(64), RK4Solver(8)], ids=lambda s: type(s).__name__)
def test_fixed_steps_can_be_differentiated_through(solver):
    """y_1 = y_0 exp(sin 1): its derivative is exp(sin 1)."""

    def end(y):
        return solver.solve(lambda t, y: y * ops.cos(t[:, None]), y, 0.0, 1.0).y

    slope = backend.grad(lambda y: ops.sum(end(y), axis=-1), ops.convert_to_tensor(rows("float32")["y"]))
    np.testing.assert_allclose(ops.convert_to_numpy(slope), np.exp(np.sin(1.0)), rtol=1e-3)


@pytest.mark.skipif(keras.config.backend() != "torch", reason="a compiled loop calls the function once, to trace it")
@pytest.mark.parametrize("solver", [*[k(10) for k in FIXED], DormandPrinceSolver()], ids=lambda s: type(s).__name__)
def test_calls_are_counted(solver):
    count = []

    def function(t, y):
        count.append(1)
        return -y

    solution = solve(solver, rows("float32")["y"], 0.0, 1.0, function)
    adaptive = isinstance(solver, DormandPrinceSolver)
    assert len(count) == (2 + 6 * solution.steps.max() if adaptive else solver.calls())


def test_configuration():
    for solver in (EulerSolver(7), DormandPrinceSolver(1e-3, 1e-4, 5)):
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(solver))
        assert again == solver and type(again) is type(solver)
    assert isinstance(ode.get("dopri5"), DormandPrinceSolver)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RK4Solver(0), "steps: expected an integer of at least 1, received 0"),
        (lambda: DormandPrinceSolver(rtol=0.0), "rtol: expected a number"),
        (lambda: ode.get("rk45"), "solver: expected one of 'euler'"),
    ],
)
def test_wrong_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
