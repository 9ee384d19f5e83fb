"""From levels to numbers with a density, and back."""

import numpy as np
from keras import ops

from kgen.core import checks


class Dequantization:
    """Uniform noise within a level's cell, and a logit that spreads (0, 1) over the line.

    For values x in [-1, 1] at L equally spaced levels k = 0 to L - 1 and noise u in (0, 1)

        v = (k + u) / L,    y = logit(a + (1 - 2a) v).

    The probability of the levels is P(k) = L^-D E_u[p(v)], and p(v) = p(y) |dy/dv|. What a flow puts where v is outside of (0, 1) is
    no level's: it is missing from the sum of all P(k), and maximum likelihood drives it to 0.

    Args:
        levels: L.
        logit: a, in (0, 0.5), which keeps the logit away from infinity; or None for y = v.
    Reference:
        Theis et al., A note on the evaluation of generative models, 2016, section 3.1, arXiv 1511.01844;
        Dinh et al., Density estimation using Real NVP, 2017, section 4.1, arXiv 1605.08803.
    """

    def __init__(self, levels, logit=0.05):
        self.levels = checks.positive_int("dequantize", levels)
        if self.levels < 2:
            raise ValueError(f"dequantize: expected at least 2 levels, received {levels}.")
        self.logit = None if logit is None else checks.in_range("logit", logit, 1e-6, 0.49)

    def check(self, x):
        """Raises ValueError unless the values of array ``x`` in [-1, 1] are levels."""
        k = (x + 1.0) / 2.0 * (self.levels - 1)
        off = float(np.abs(k - np.round(k)).max())
        if off > 0.02:
            raise ValueError(
                f"x: expected values at {self.levels} levels, -1 + 2k / {self.levels - 1}, received some {off:.2g} of a step away "
                "from one. Set dequantize= to the number of levels that the data has (256 for bytes), or round the data."
            )

    def encode(self, x, noise):
        """Args: x and noise, float tensors (B, *shape). Returns ``(y, log_det)``: (B, *shape), and ln |dy/dk| of each value."""
        k = ops.round((x + 1.0) / 2.0 * (self.levels - 1))
        v = (k + noise) / self.levels
        if self.logit is None:
            return v, ops.full_like(v, -np.log(self.levels))
        s = self.logit + (1.0 - 2.0 * self.logit) * v
        log_det = np.log((1.0 - 2.0 * self.logit) / self.levels) - ops.log(s) - ops.log1p(-s)
        return ops.log(s) - ops.log1p(-s), log_det

    def decode(self, y):
        """The levels that ``y`` (B, *shape) lies in, as values in [-1, 1]."""
        v = y if self.logit is None else (ops.sigmoid(y) - self.logit) / (1.0 - 2.0 * self.logit)
        k = ops.clip(ops.floor(v * self.levels), 0.0, self.levels - 1.0)
        return 2.0 * k / (self.levels - 1) - 1.0
