"""What every condition is."""

import numpy as np
from keras import ops

from kgen.core import checks
from kgen.core.config import Configured

# Names that models and endpoints have given to something else.
_RESERVED = "batch_size frames guidance labels mask model n sampler seed seeds steps strength t x y z"
RESERVED = frozenset(_RESERVED.split())


class Condition(Configured):
    """Base class.

    Args:
        name: under which it is given: in ``fit({..., name: ...})``, ``sample(name=...)`` and to a server.
        dropout: share of training examples from which it is hidden, in [0, 1]. Above 0 it may be left out when sampling, and guidance
            knows what it does.
    """

    kind = "condition"
    given = True  # False: made from the data itself, by ``made``; ``fit`` is not asked for it

    def __init__(self, name, dropout=0.0):
        if not isinstance(name, str) or not name.isidentifier() or name in RESERVED:
            raise ValueError(
                f"name: expected a Python name other than {', '.join(sorted(RESERVED))}, received {name!r}."
            )
        self.name = name
        self.dropout = checks.in_range("dropout", dropout, 0.0, 1.0)

    @property
    def optional(self):
        """Whether it may be left out: the network has learned what its null value means."""
        return self.dropout > 0

    @property
    def keyword(self):
        """Its name among the arguments of ``sample``."""
        return self.name

    def specs(self):
        """Its tensors: a dict from each one's name to its ``TensorSpec``."""
        raise NotImplementedError

    def check(self, value, n, argument=None):
        """The value of ``n`` rows as numpy arrays.

        Args:
            value: what a user gave.
            n: number of rows.
            argument: what to call it in an error; its name by default.
        Returns:
            dict from the name of each tensor to an array (n, ...).
        Raises:
            ValueError, TypeError: shape, range, dtype or number of rows.
        """
        raise NotImplementedError

    def read(self, text):
        """The value of one row that a command line's text stands for; here the text itself.

        Raises:
            ValueError: it stands for none.
        """
        return text

    def rows(self, value, n, argument=None):
        """As ``check``, where one value may stand for all rows."""
        shapes = [spec.shape for spec in self.specs().values()]
        one = np.ndim(value) == len(shapes[0])
        return self.check(np.broadcast_to(value, (n, *np.shape(value))) if one else value, n, argument or self.keyword)

    def tensors(self, value):
        """A batch's value, as ``fit`` was given it, as tensors by name and of the right dtypes."""
        (name, spec), *_ = self.specs().items()
        value = value[name] if isinstance(value, dict) else value
        return {name: ops.cast(ops.reshape(value, (-1, *spec.shape)), spec.dtype)}

    def made(self, x, seeds):
        """Its tensors by name, made from the data x (B, ...) and row seeds (B, 2), where it is not ``given``."""
        raise NotImplementedError

    def null(self):
        """What means "not given": a dict from each tensor's name to a number that fills it."""
        return dict.fromkeys(self.specs(), 0)

    def hide(self, values, hidden):
        """``values`` with the null value in the rows where ``hidden`` (B,) is true."""
        null = self.null()
        return {name: ops.where(_like(hidden, v), ops.cast(null[name], v.dtype), v) for name, v in values.items()}


def read_numbers(text, number, expected):
    """The numbers of a text such as "0.5,1", each read by ``number``; raises ValueError, which says what was ``expected``, for anything else."""
    try:
        return [number(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"expected {expected}, received {text!r}.") from None


def _like(rows, value):
    return ops.reshape(rows, (-1, *[1] * (len(value.shape) - 1)))
