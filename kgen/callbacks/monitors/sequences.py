"""A monitor of sequences that a model writes one token after the other."""

import numpy as np

from kgen.callbacks.monitors.monitor import Monitor
from kgen.core import checks


class ExposureBias(Monitor):
    """Sequences that a language model goes on writing from its own words drift away from what it has learnt on those of others.

    It compares nats per token of the model's own sequences with those of the data, both under the model and over the last quarter of
    the context. A model that is calibrated finds both equally likely. Far fewer nats for its own: it repeats itself, or knows its training
    data by heart. Far more: it loses the thread.

    Args:
        x: int array (N, L), sequences of tokens that the model is not trained on, L >= 8.
        ratio: how many times as large the one may be as the other.
        n: number of sequences drawn.
        seed: int, of the sequences.
        sample: dict of further arguments of ``model.sample``, such as ``{"temperature": 0.8}``, if that is how the model will be used.
        **kwargs: see ``Monitor``.
    Reference:
        Braverman et al., Calibration, Entropy Rates, and Memory in Language Models, 2020, arXiv 1906.05664.
    """

    asks = ("sample", "log_prob")

    def __init__(self, x, *, ratio=1.5, n=32, seed=0, sample=None, **kwargs):
        super().__init__(**kwargs)
        self._x = np.asarray(x)
        self.ratio, self.n, self.seed = checks.in_range("ratio", ratio, 1.0, 1e6), checks.positive_int("n", n), seed
        self.sample = dict(sample or {})
        if self._x.ndim != 2 or len(self._x) == 0 or self._x.shape[1] < 8:
            raise ValueError(f"x: expected tokens (N, L) with L of at least 8, received shape {self._x.shape}.")

    def find(self, logs):
        own = self.model.sample(self.n, seed=self.seed, length=self._x.shape[1], **self.sample)
        drawn, data = self._late_nats(own), self._late_nats(self._x)
        self.value = drawn / data
        if self.value < 1 / self.ratio:
            self.advice = "more data, dropout or an earlier stop if it is learnt by heart; a higher temperature if it repeats itself"
        elif not self.value <= self.ratio:  # NaN too
            self.advice = "a longer training, or min_p, top_p or a lower temperature when sampling"
        else:
            return None
        return f"late in its own sequences a token has {drawn:.3g} nats, in those of the data {data:.3g}"

    def _late_nats(self, x):
        late = x.shape[1] // 4
        return float(np.mean(self.model.log_prob(x[:, :-late]) - self.model.log_prob(x))) / late
