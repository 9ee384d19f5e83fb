"""A monitor of whatever is logged."""

import functools
import math
import statistics

import numpy as np

from kgen.callbacks.monitors.monitor import Monitor

# Epochs looked at, and the share that one wave must explain. Of 3,000 series of 100 independent normal numbers 0.2 % and 0.1 % exceed them
# somewhere, of uniform ones 0.6 % and 0.1 %, of autoregressive ones with a correlation of 0.5 0.1 % and 1 %.
OSCILLATION = {12: 0.955, 32: 0.65}


class LossFaults(Monitor):
    """NaN in any logged quantity, infinity in a loss, and a spike or oscillation of ``loss`` and whatever is logged as ``..._loss``, over the epochs.

    Args:
        spike: how far an epoch's value may lie above the median of the ten before it, in robust standard deviations
            (1.48 times the median absolute deviation).
        swing: oscillation is when one sine wave explains so much of the last 12 or 32 epochs (after a straight line, by at least three periods)
            as it does by chance in about one of 200 healthy trainings of 100 epochs, and its height from trough to crest is more than this
            share of the median absolute value. So losses that are noisy from epoch to epoch are left alone.
        **kwargs: see ``Monitor``.
    Reference:
        Fisher, Tests of significance in harmonic analysis, 1929 (the share that the best wave explains; its bounds here were simulated).
    """

    memory = (*Monitor.memory, "_past")

    def __init__(self, *, spike=20.0, swing=0.2, **kwargs):
        super().__init__(**kwargs)
        self.spike, self.swing = spike, swing
        self._past = {}

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        self._past = {}

    def find(self, logs):
        saw = [text for name, value in logs.items() if (text := self._look(name, float(value)))]
        return "; ".join(saw) or None

    def _look(self, name, value):
        if math.isnan(value) or (name.endswith("loss") and math.isinf(value)):
            self.advice = "a lower learning rate, the optimizer's clipnorm, and a look for NaN in the data"
            return f"{name} is {value}"
        if not name.endswith("loss"):
            return None
        past = self._past.setdefault(name, [])
        past.append(value)
        before = past[-11:-1]
        if len(before) >= 5:
            middle, spread = median_and_spread(before)
            if value > middle + self.spike * spread:
                self.advice = "the optimizer's clipnorm, a lower learning rate, or Checkpoint(rollback=)"
                return f"{name} is {value:.4g} after a median of {middle:.4g}"
        for window, least in OSCILLATION.items():
            if len(past) < window or not np.isfinite(past[-window:]).all():
                continue
            share, height, period = best_wave(past[-window:])
            if share > least and height > self.swing * np.median(np.abs(past[-window:])):
                self.advice = (
                    "a lower learning rate, larger batches, or for a GAN a penalty and averaged weights (ema=)"
                )
                return f"{name} swings by {height:.2g} every {period:.2g} epochs"
        return None


def best_wave(values):
    """The sine wave that explains most of ``values`` (n,) beside a straight line, of the periods from 2 to n / 3.

    Returns:
        ``(share, height, period)``: the share of the variance around the line that it explains, its height from trough to crest, and its period.
    """
    values, n = np.asarray(values, "float64"), len(values)
    frequencies, line, waves = _waves(n)
    rest = values - line @ (line.T @ values)
    explained = np.square(np.einsum("fnk,n->fk", waves, rest)).sum(1)
    best, total = explained.argmax(), np.square(rest).sum()
    share = explained[best] / total if total > 1e-20 * np.square(values).sum() else 0.0
    # At the highest frequency, up and down by turns, the wave's mean square is that of its crest, else half of it.
    height = 2 * np.sqrt(explained[best] / n * (1.0 if frequencies[best] == 0.5 else 2.0))
    return float(share), float(height), float(1 / frequencies[best])


@functools.lru_cache(8)
def _waves(n):
    """Frequencies (F,), and orthonormal bases of straight lines (n, 2) and, orthogonal to them, of the waves of each frequency (F, n, 2)."""
    times = np.arange(n)
    line = np.linalg.qr(np.stack([np.ones(n), times], axis=1))[0]
    frequencies = np.arange(6, n + 1) / (2 * n)
    waves = []
    for frequency in frequencies:
        angles = 2 * np.pi * frequency * times
        wave = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        basis, sizes, _ = np.linalg.svd(wave - line @ (line.T @ wave), full_matrices=False)
        waves.append(basis * (sizes > 1e-6))  # at the highest one the sine is zero
    return frequencies, line, np.array(waves)


def median_and_spread(values):
    """The median and a robust standard deviation: 1.48 times the median absolute deviation, and at least a thousandth of the median."""
    middle = statistics.median(values)
    return middle, max(1.48 * statistics.median(abs(v - middle) for v in values), 1e-3 * abs(middle), 1e-8)
