"""Multistep samplers: what was estimated in the steps before, and at which noise, makes a step of higher order at one call."""

import typing

from keras import ops

from kgen.core import checks
from kgen.diffusion.samplers import Sampler
from kgen.diffusion.schedules import like


class Past(typing.NamedTuple):
    """One of the steps before: the ``value`` kept (B, ...), lambda = ln alpha/sigma (B,) where it was made, and whether there was one (B,)."""

    value: typing.Any
    place: typing.Any
    known: typing.Any


class MultistepSampler(Sampler):
    """Base class: a carry of x, values and lambdas of the last steps, newest first, and how many steps the row has taken.

    The count is the row's own: a row without a step before takes a step of lower order, whatever the number of the step is.

    Args:
        steps: number of steps, a call each.
        order: of the steps, from 1.
        grid: as in ``Sampler``.
    """

    orders = (1, 2, 3)

    def __init__(self, steps, order, grid):
        super().__init__(steps, grid)
        if checks.positive_int("order", order) not in self.orders:
            raise ValueError(f"order: expected one of {', '.join(map(str, self.orders))}, received {order}.")
        self.order = order

    @property
    def memory(self):
        """How many values are kept."""
        return self.order - 1

    def init(self, x, taken=None):
        """``x``; values; lambdas (B,); the number of steps that the row has taken (B,)."""
        nothing, rows = ops.zeros_like(x), ops.zeros((ops.shape(x)[0],), dtype=x.dtype)
        return (x, *[nothing] * self.memory, *[rows] * self.memory, rows)

    def past(self, carry):
        """The steps before, newest first: a list of ``Past``."""
        values, places, taken = carry[1 : self.memory + 1], carry[self.memory + 1 : -1], carry[-1]
        return [Past(v, p, taken > k + 0.5) for k, (v, p) in enumerate(zip(values, places, strict=True))]

    def kept(self, x, value, place, carry):
        """The next carry: ``x``, with ``value`` and ``place`` before what ``carry`` keeps."""
        values, places, taken = carry[1 : self.memory + 1], carry[self.memory + 1 : -1], carry[-1]
        values, places = [value, *values][: self.memory], [ops.cast(place, x.dtype), *places][: self.memory]
        return (x, *values, *places, taken + 1.0)


def log_ratio(schedule, t):
    """lambda = ln alpha/sigma at times t (B,), finite at both ends."""
    return 0.5 * schedule.log_snr(t)


def quotient(a, b, where):
    """a/b for the rows ``where`` it is wanted and b is not 0, else 0: (B,)."""
    where = ops.logical_and(where, ops.not_equal(b, 0.0))
    return ops.where(where, a / ops.where(where, b, ops.ones_like(b)), ops.zeros_like(b))


def slope(data, place, step, past):
    """What the estimate changes by in a step of lambda as long as ``step``, by the last one: (B, ...), 0 where there is none."""
    return like(quotient(step, place - past.place, past.known), data) * (data - past.value)
