"""Steps of one kind on each other, and the base class of flows that are made of a few numbers."""

import math

from kgen.core import checks
from kgen.flow.autoregression import MaskedAutoregressive
from kgen.flow.couplings import Coupling, checkerboard
from kgen.flow.flow import Flow
from kgen.flow.steps import ActNorm, Permutation

MOST_STEPS = 256  # a configuration from elsewhere may ask for any number, and each takes a mask


class StackedFlow(Flow):
    """Keeps the arguments that its steps follow from, in place of the steps."""

    left_out = {}  # what a configuration means that lacks an argument: it was written before there was one

    def __init__(self, shape, steps, arguments, **kwargs):
        super().__init__(shape, steps, **kwargs)
        self._arguments = arguments
        for name, value in arguments.items():
            if name != "layers":  # Keras's own name, of what a model consists of
                setattr(self, name, value)

    def get_config(self):
        config = super().get_config()
        del config["steps"]
        return {**config, **{name: list(v) if isinstance(v, tuple) else v for name, v in self._arguments.items()}}

    @classmethod
    def from_config(cls, config):
        return super().from_config({**cls.left_out, **config})


def number_of(name, value):
    """Raises ValueError unless ``value`` is an integer from 1 to 256; returns it."""
    if checks.positive_int(name, value) > MOST_STEPS:
        raise ValueError(f"{name}: expected at most {MOST_STEPS}, received {value}.")
    return int(value)


def couplings_of(shape, name, number, transform, widths, dropout):
    """Couplings by alternating checkerboards, each after an activation normalisation.

    Args:
        shape: shape of one row.
        name: the argument that ``number`` is, for the errors.
        number: how many.
        transform, widths, dropout: as in ``Coupling``.
    Returns:
        list of ``Step``.
    """
    if math.prod(shape) < 2:
        raise ValueError(
            f"shape: a coupling transforms some values given others and needs at least 2, received {shape}."
        )
    number = number_of(name, number)  # before the masks
    masks, steps = [checkerboard(shape, parity) for parity in (0, 1)], []
    for i in range(number):
        steps += [ActNorm(), Coupling(transform, mask=masks[i % 2], widths=widths, dropout=dropout)]
    return steps


def autoregressions_of(name, number, transform, widths, direct):
    """Autoregressive steps in alternating orders, each after an activation normalisation; arguments as in ``couplings_of``."""
    steps = []
    for i in range(number_of(name, number)):
        steps += [Permutation("reverse")] if i else []
        steps += [ActNorm(), MaskedAutoregressive(transform, widths=widths, direct=direct)]
    return steps
