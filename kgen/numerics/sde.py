"""Stochastic differential equations dy = f(t, y) dt + g(t, y) dW (Ito), with noise from the rows' seeds."""

import keras
from keras import ops

from kgen.core import checks, random
from kgen.core.config import Configured
from kgen.numerics.ode import per_row, row_times


@keras.saving.register_keras_serializable(package="kgen")
class EulerMaruyama(Configured):
    """y' = y + h f(t, y) + sqrt|h| g(t, y) z, with z from N(0, I): strong order 1/2, weak order 1; both 1 where g is constant in y.

    Args:
        steps: number of equal steps from start to end.
    Reference:
        Kloeden & Platen, Numerical solution of stochastic differential equations, 1992, section 10.2.
    """

    def __init__(self, steps=100):
        self.steps = checks.positive_int("steps", steps)

    def calls(self):
        """How often f and g are called."""
        return self.steps

    def solve(self, drift, diffusion, y, start, end, seeds):
        """Goes from ``start`` to ``end``: plain tensor code in one loop, for use inside of compiled functions.

        Row i depends on its own start, times and seed alone: the z of step k are draws of ``fold_in(seeds, k)``, the draw's number that
        of the leaf. Backwards in time (``end`` before ``start``), f and g are those of the equation that runs backwards.

        Args:
            drift: f, maps (t, y) to a structure like y; t is (B,).
            diffusion: g, maps (t, y) to a structure like y, of numbers or tensors that broadcast against its leaves.
            y: float tensor (B, ...), or a structure of them: y at ``start``.
            start, end: times, numbers or tensors (B,).
            seeds: int32 tensor (B, 2), row seeds.
        Returns:
            y at ``end``.
        """
        leaves = [ops.convert_to_tensor(leaf) for leaf in keras.tree.flatten(y)]
        start, end = row_times(start, leaves[0]), row_times(end, leaves[0])
        h = (end - start) / self.steps
        root = ops.sqrt(ops.abs(h))

        def body(i, leaves):
            t, here = start + h * ops.cast(i, h.dtype), random.fold_in(seeds, i)
            given = keras.tree.pack_sequence_as(y, leaves)
            slopes, scales = keras.tree.flatten(drift(t, given)), keras.tree.flatten(diffusion(t, given))
            moved = []
            for k, (leaf, slope, scale) in enumerate(zip(leaves, slopes, scales, strict=True)):
                z = ops.cast(random.normal(here, tuple(leaf.shape[1:]), draw=k), leaf.dtype)
                moved.append(leaf + per_row(h, leaf) * slope + per_row(root, leaf) * scale * z)
            return tuple(moved)

        return keras.tree.pack_sequence_as(y, ops.fori_loop(0, self.steps, body, tuple(leaves)))
