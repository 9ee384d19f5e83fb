"""Ordinary differential equations dy/dt = f(t, y): explicit Runge-Kutta methods, each a table of numbers over one base class.

``y`` is a tensor (B, ...) or a structure of them (tuples, lists, dicts); each row is an equation of its own, with its own start and
end, which may lie before the start. ``f(t, y)`` gets the times t (B,) and returns a structure like y. What is computed has the dtype of y.
"""

import typing

import keras
from keras import ops

from kgen.core import checks
from kgen.core.config import Configured, resolve


class Solution(typing.NamedTuple):
    """What ``solve`` returns: ``y`` like the start; ``steps`` int32 (B,), those tried; ``finished`` bool (B,), whether the end was reached.

    A row that did not finish is where it stopped.
    """

    y: typing.Any
    steps: typing.Any
    finished: typing.Any


def row_times(t, like):
    """Times as a tensor (B,), from a number or a tensor (B,), with the rows and the dtype of ``like`` (B, ...)."""
    return ops.cast(ops.convert_to_tensor(t), like.dtype) + ops.zeros_like(
        ops.reshape(like, (ops.shape(like)[0], -1))[:, 0]
    )


def per_row(values, x):
    """Values (B,), one for each row, shaped to broadcast against ``x`` (B, ...)."""
    return ops.reshape(values, (-1, *[1] * (len(x.shape) - 1)))


class Solver(Configured):
    """Base class. A method with stages i is k_i = f(t + c_i h, y + h sum_j a_ij k_j), y' = y + h sum_i b_i k_i.

    Args:
        steps: number of equal steps from start to end.
    """

    nodes, matrix, weights = (), (), ()  # c, the rows of a below the diagonal, b
    order = None

    def __init__(self, steps=50):
        self.steps = checks.positive_int("steps", steps)

    def calls(self):
        """How often f is called."""
        return self.steps * len(self.nodes)

    def solve(self, function, y, start, end):
        """Goes from ``start`` to ``end``: plain tensor code in one loop, for use inside of compiled functions.

        With a fixed number of steps the result can be differentiated on every backend.

        Args:
            function: f, maps (t, y) to dy/dt, a structure like y.
            y: float tensor (B, ...), or a structure of them: y at ``start``.
            start, end: times, numbers or tensors (B,); ``end`` may lie before ``start``.
        Returns:
            ``Solution``.
        """
        leaves, call = _flat(function, y)
        start, end = row_times(start, leaves[0]), row_times(end, leaves[0])
        h = (end - start) / self.steps

        def body(i, leaves):
            stages = self._stages(call, start + h * ops.cast(i, h.dtype), h, leaves)
            return _moved(leaves, h, self.weights, stages)

        leaves = ops.fori_loop(0, self.steps, body, tuple(leaves))
        steps = ops.full_like(ops.cast(start, "int32"), self.steps)
        return Solution(keras.tree.pack_sequence_as(y, leaves), steps, ops.ones_like(steps, dtype="bool"))

    def _stages(self, call, t, h, leaves, first=None):
        """The k_i, each a tuple of leaves; ``first`` is k_1 where it is known."""
        stages = [] if first is None else [first]
        for c, row in list(zip(self.nodes, self.matrix, strict=True))[len(stages) :]:
            stages.append(call(t + c * h, _moved(leaves, h, row, stages)))
        return stages


def _flat(function, y):
    """The leaves of y, and ``function`` on leaves."""
    leaves = [ops.convert_to_tensor(leaf) for leaf in keras.tree.flatten(y)]

    def call(t, leaves):
        slope = function(t, keras.tree.pack_sequence_as(y, leaves))
        return tuple(ops.cast(k, leaf.dtype) for k, leaf in zip(keras.tree.flatten(slope), leaves, strict=True))

    return leaves, call


def _combined(coefficients, stages):
    """sum_i coefficients_i stages_i, or None where all are 0."""
    terms = [(c, k) for c, k in zip(coefficients, stages, strict=False) if c]
    return [sum(c * k[i] for c, k in terms) for i in range(len(terms[0][1]))] if terms else None


def _moved(leaves, h, coefficients, stages):
    """y + h sum_i coefficients_i stages_i."""
    slopes = _combined(coefficients, stages)
    return leaves if slopes is None else tuple(y + per_row(h, y) * k for y, k in zip(leaves, slopes, strict=True))


@keras.saving.register_keras_serializable(package="kgen")
class EulerSolver(Solver):
    """y' = y + h f(t, y): order 1, one call of f a step."""

    nodes, matrix, weights, order = (0.0,), ((),), (1.0,), 1


@keras.saving.register_keras_serializable(package="kgen")
class HeunSolver(Solver):
    """The trapezoidal rule with an Euler step for its end: order 2, two calls a step."""

    nodes, matrix, weights, order = (0.0, 1.0), ((), (1.0,)), (0.5, 0.5), 2


@keras.saving.register_keras_serializable(package="kgen")
class RK4Solver(Solver):
    """The classical Runge-Kutta method: order 4, four calls a step."""

    nodes, matrix = (0.0, 0.5, 0.5, 1.0), ((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0))
    weights, order = (1 / 6, 1 / 3, 1 / 3, 1 / 6), 4


@keras.saving.register_keras_serializable(package="kgen")
class DormandPrinceSolver(Solver):
    """The pair of orders 5 and 4 of Dormand and Prince: each row chooses its own steps, so that it depends on itself alone.

    A step's error, the difference of the two orders, is measured in units of ``atol`` + ``rtol`` |y|, as a root of the mean square over
    the row; above 1 the step is tried again, shorter. The loop ends when the last row has arrived, so f is called on all rows until then.
    Its length is not known beforehand: JAX differentiates it forwards alone.

    Args:
        rtol, atol: relative and absolute error of a step. In float32, below 1e-6 rounding is all that is left to see.
        max_steps: a row that has tried so many stops where it is.
    Reference:
        Dormand & Prince, A family of embedded Runge-Kutta formulae, 1980; Hairer, Norsett & Wanner, Solving ordinary differential
        equations I, 1993, section II.4 (the first step, the choice of the next).
    """

    nodes = (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
    matrix = (
        (),
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
        (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
    )
    weights = (*matrix[-1], 0.0)  # the last stage is the first of the next step
    # The weights of order 5 less those of order 4.
    error = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)
    order = 5

    def __init__(self, rtol=1e-4, atol=1e-5, max_steps=1000):
        self.rtol = checks.in_range("rtol", rtol, 1e-14, 1.0)
        self.atol = checks.in_range("atol", atol, 1e-14, 1e6)
        self.max_steps = checks.positive_int("max_steps", max_steps)

    def calls(self):
        """How often f is called at most."""
        return 2 + self.max_steps * (len(self.nodes) - 1)

    def solve(self, function, y, start, end):
        leaves, call = _flat(function, y)
        start, end = row_times(start, leaves[0]), row_times(end, leaves[0])
        slope = call(start, leaves)
        h = self._first_step(call, start, end, leaves, slope)
        steps = ops.zeros_like(start, dtype="int32")
        count = len(leaves)

        def proceed(i, t, h, steps, *_):
            return ops.logical_and(i < self.max_steps, ops.any(t != end))

        def body(i, t, h, steps, *state):
            leaves, slope = state[:count], state[count:]
            last = ops.abs(h) >= ops.abs(end - t)
            h = ops.where(last, end - t, h)
            stages = self._stages(call, t, h, leaves, first=slope)
            moved = _moved(leaves, h, self.weights, stages)
            error = [per_row(h, e) * e for e in _combined(self.error, stages)]
            size = self._size(error, leaves, moved)
            accepted = ops.logical_and(size <= 1.0, t != end)  # false for NaN
            factor = 0.9 * ops.power(ops.maximum(size, 1e-10), -1 / self.order)
            factor = ops.where(size < float("inf"), ops.clip(factor, 0.2, 10.0), 0.2)  # NaN too
            steps = steps + ops.cast(t != end, "int32")
            t = ops.where(accepted, ops.where(last, end, t + h), t)
            new, old = (*moved, *stages[-1]), state
            state = [ops.where(per_row(accepted, a), a, b) for a, b in zip(new, old, strict=True)]
            return (i + 1, t, h * factor, steps, *state)

        loop = (ops.convert_to_tensor(0, dtype="int32"), start, h, steps, *leaves, *slope)
        _, t, _, steps, *state = ops.while_loop(proceed, body, loop)
        return Solution(keras.tree.pack_sequence_as(y, state[:count]), steps, t == end)

    def _size(self, values, *around):
        """The norm of ``values`` (leaves) in units of the tolerance at the leaves ``around``: (B,)."""
        scaled = []
        for value, *ys in zip(values, *around, strict=True):
            scale = self.atol + self.rtol * ops.max(ops.stack([ops.abs(y) for y in ys]), axis=0)
            scaled.append(ops.reshape(value / scale, (ops.shape(value)[0], -1)))
        return ops.sqrt(ops.mean(ops.square(ops.concatenate(scaled, axis=-1)), axis=-1))

    def _first_step(self, call, start, end, leaves, slope):
        """Hairer, Norsett & Wanner 1993, section II.4: a step whose explicit Euler error would be small, with the sign of the way."""
        way = end - start
        place, speed = self._size(leaves, leaves), self._size(slope, leaves)
        h = ops.where(ops.minimum(place, speed) < 1e-5, 1e-6, 0.01 * place / ops.maximum(speed, 1e-10))
        h = ops.minimum(ops.cast(h, way.dtype), ops.abs(way)) * ops.sign(way)
        beyond = call(start + h, _moved(leaves, h, (1.0,), [slope]))
        change = self._size([a - b for a, b in zip(beyond, slope, strict=True)], leaves)
        bend = ops.maximum(speed, change / ops.maximum(ops.abs(h), 1e-10))
        longer = ops.where(bend <= 1e-15, 1e-3, ops.power(0.01 / ops.maximum(bend, 1e-15), 1 / self.order))
        longer = ops.minimum(ops.minimum(100.0 * ops.abs(h), ops.cast(longer, way.dtype)), ops.abs(way))
        return ops.where(longer > 0.0, longer, ops.abs(h)) * ops.sign(way)


def get(solver):
    """A ``Solver`` from itself, "euler", "heun", "rk4" or "dopri5", or its configuration."""
    names = {"euler": EulerSolver, "heun": HeunSolver, "rk4": RK4Solver, "dopri5": DormandPrinceSolver}
    return resolve("solver", solver, Solver, names)
