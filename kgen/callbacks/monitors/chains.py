"""A monitor of Markov chains: of models that have an ``energy``."""

import math

import numpy as np

from kgen.callbacks.monitors.losses import median_and_spread
from kgen.callbacks.monitors.monitor import Monitor
from kgen.core import checks


class DivergingChains(Monitor):
    """Chains of an energy-based model that run away, or end where the energy is not that of the data.

    Where the model has learnt the data its chains end at places of the data's energies. Chains that end far below found a hole of the
    energy that no data fill; chains that end far above have not arrived.

    Args:
        x: float array (N, ...), examples of the data; 256 of them are used.
        gap: how far the median energy of the chains' ends may lie from that of the data, in robust standard deviations of the data's.
        n: number of chains.
        seed: int, of the chains.
        **kwargs: see ``Monitor``.
    """

    asks = ("sample", "energy")

    def __init__(self, x, *, gap=10.0, n=64, seed=0, **kwargs):
        super().__init__(**kwargs)
        self._x, self.gap = np.asarray(x)[:256], gap
        self.n, self.seed = checks.positive_int("n", n), seed
        if len(self._x) < 2:
            raise ValueError(f"x: expected at least 2 examples, received {len(self._x)}.")

    def find(self, logs):
        try:
            ends = self.model.sample(self.n, seed=self.seed)
        except ArithmeticError as error:
            self.advice, self.value = (
                "a smaller step_size, a lower learning rate, or a larger alpha of the objective",
                None,
            )
            return str(error).split(": ")[0]
        middle, spread = median_and_spread(self.model.energy(self._x).tolist())
        self.value = float(np.median(self.model.energy(ends)) - middle) / spread
        if self.value < -self.gap or math.isnan(self.value):
            self.advice = "a larger alpha of the objective, a lower learning rate, or noise on the data"
            return f"chains end {-self.value:.1f} spreads of the data's energy below it, where no data are"
        if self.value > self.gap:
            self.advice = "more steps, a better step_size, or a longer replay buffer"
            return f"chains end {self.value:.1f} spreads of the data's energy above it: they have not arrived"
        return None
