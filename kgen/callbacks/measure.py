"""Metrics of samples while a model trains."""

import keras
import numpy as np

from kgen.core import checks


class Measure(keras.callbacks.Callback):
    """Computes metrics after an epoch and adds them to the logs, so that they are in the history, and ``EarlyStopping``,
    ``ModelCheckpoint`` or ``Checkpoint(monitor=)`` behind it in the list of callbacks can go by them.

        measure = kgen.callbacks.Measure([kgen.metrics.FrechetDistance(extractor="digits")], x_test, n=500)
        model.fit(x, epochs=20, callbacks=[measure])

    The seed is the same each time, so that the model alone makes the difference.

    Args:
        metrics: objects of ``kgen.metrics``, such as ``FrechetDistance``, ``PrecisionRecall``, ``BitsPerDim``.
        x: float array (N, ...), what samples are compared with, or what is reconstructed or given a likelihood: data that the model is
            not trained on.
        n: number of samples; as many as there are rows in ``x`` if None.
        every: epochs between two measurements.
        seed: int, of the samples.
        **kwargs: passed to ``model.sample``, such as ``labels=``, ``steps=``.
    """

    def __init__(self, metrics, x, *, n=None, every=1, seed=0, **kwargs):
        super().__init__()
        self.metrics = list(metrics) if isinstance(metrics, (list, tuple)) else [metrics]
        for metric in self.metrics:
            if not hasattr(metric, "of_model"):
                raise TypeError(
                    f"metrics: expected objects such as kgen.metrics.FrechetDistance(), received {metric!r}."
                )
        names = [name for metric in self.metrics for name in metric.names]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(
                    f"metrics: expected figures of different names, received {name!r} twice; leave one out."
                )
        self._x = np.asarray(x)
        if len(self._x) == 0:
            raise ValueError("x: expected at least one example, received none.")
        self.n = len(self._x) if n is None else checks.positive_int("n", n)
        self.every, self.seed, self._kwargs = checks.positive_int("every", every), seed, kwargs

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every:
            return
        drawn = []

        def samples():  # once for all metrics, and not at all for those that need none
            if not drawn:
                drawn.append(self.model.sample(self.n, seed=self.seed, **self._kwargs))
            return drawn[0]

        for metric in self.metrics:
            logs.update(metric.of_model(self.model, self._x, samples))
