"""Monitors of adversarial training: the balance of its players, and the modes that samples reach."""

import numpy as np

from kgen.callbacks.monitors.monitor import Monitor
from kgen.core import checks
from kgen.core.conditions import LabelCondition


class DiscriminatorBalance(Monitor):
    """A GAN's discriminator that knows everything, so that the generator's gradient vanishes, or nothing.

    It goes by the logged mean logits of real and generated examples. Losses whose logits have no fixed scale, such as Wasserstein's, are
    not for it.

    Args:
        strong: the difference between the mean logits above which the discriminator is too strong: 10 leaves the generator's minimax
            loss a gradient of 1 / 22,000.
        weak: the difference below which it is too weak. Where generator and data agree it is 0 too, but then by itself
            and late: so this counts in the first ``early`` epochs alone.
        early: epochs.
        **kwargs: see ``Monitor``.
    """

    memory = (*Monitor.memory, "epochs")

    def __init__(self, *, strong=10.0, weak=0.02, early=10, **kwargs):
        super().__init__(**{"patience": 3, **kwargs})
        self.strong, self.weak, self.early = strong, weak, early
        self.epochs = 0

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        self.epochs = 0

    def find(self, logs):
        for name in ("real_logit", "fake_logit"):
            if name not in logs:
                raise ValueError(
                    f"DiscriminatorBalance: expected a model that logs {name!r}, this one logs {sorted(logs)}."
                )
        self.epochs += 1
        self.value = logs["real_logit"] - logs["fake_logit"]
        if self.value > self.strong:
            self.advice = (
                "R1 or a gradient penalty, spectral normalisation, or a lower learning rate of the discriminator"
            )
            return f"the discriminator is too strong: its logits differ by {self.value:.1f} between real and generated"
        if self.value < self.weak and self.epochs <= self.early:
            self.advice = (
                "a wider discriminator, more of its steps (n_critic), a higher learning rate of it or a smaller penalty"
            )
            return f"the discriminator is too weak: its logits differ by {self.value:.3f} between real and generated"
        return None


class ModeCollapse(Monitor):
    """Samples that reach few of the places where the data are.

    The examples are divided into clusters (k-means++), and each sample counts for the cluster whose centre is nearest. The effective number of
    clusters that samples reach, exp of the entropy of their shares, stands beside that of as many examples. So samples of one class, of a few modes
    of many, or all alike are found, however far from the data they lie; samples that are alike within every cluster are not.

    A generator starts with samples that are all alike, which says nothing: it counts from the ``after``-th step on.

    Args:
        x: float array (N, ...), examples of the data; up to 1,000 of them are used, drawn by ``seed``.
        least: the ratio of the two numbers below which it is a fault.
        n: number of samples drawn at the end of an epoch.
        clusters: number of clusters, lowered to an eighth of the examples.
        after: steps before it counts.
        seed: int, of the samples, the examples and the clusters.
        sample: dict of further arguments of ``model.sample``. A model of classes is asked for all of them in turn, if no ``labels`` are among them.
        **kwargs: see ``Monitor``; ``patience`` is 3 by default.
    Reference:
        k-means and the shares of its clusters: Richardson & Weiss, On GANs and GMMs, 2018, section 2 (NDB), arXiv 1805.12462.
    """

    asks = ("sample",)
    advice = (
        "a gradient penalty or R1, another loss (relativistic, Wasserstein), a lower learning rate, or larger batches"
    )
    memory = (*Monitor.memory, "steps")

    def __init__(self, x, *, least=0.5, n=64, clusters=32, after=500, seed=0, sample=None, **kwargs):
        from sklearn.cluster import KMeans

        super().__init__(**{"patience": 3, **kwargs})
        self.least, self.after = checks.in_range("least", least, 0.0, 1.0), after
        self.n, self.seed, self.sample = checks.positive_int("n", n), seed, dict(sample or {})
        x, rng = np.asarray(x), np.random.default_rng(seed)
        if len(x) < 16 or self.n < 2:
            raise ValueError(f"x, n: expected at least 16 examples and 2 samples, received {len(x)} and {self.n}.")
        x = _flat(x[rng.choice(len(x), min(1000, len(x)), replace=False)])
        distinct = len(np.unique(x, axis=0))
        if distinct < 2:
            raise ValueError("x: expected examples that differ, these are the same.")
        clusters = min(checks.positive_int("clusters", clusters), max(2, len(x) // 8), distinct)
        self._clusters = KMeans(clusters, n_init=1, random_state=seed).fit(x)
        found = self._clusters.labels_
        draws = [rng.choice(found, self.n) for _ in range(20)]
        self._real = float(np.mean([_effective_number(d) for d in draws]))
        self.steps = 0

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        self.steps = 0

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1

    def find(self, logs):
        labels = {name: np.arange(self.n) % count for name, count in _classes(self.model).items()}
        samples = _flat(self.model.sample(self.n, seed=self.seed, **{**labels, **self.sample}))
        if not np.isfinite(samples).all():
            self.value = None
            return "samples are not finite"
        reached = _effective_number(self._clusters.predict(samples))
        self.value = reached / self._real
        if self.value < self.least and self.steps >= self.after:
            return f"samples reach {reached:.1f} clusters of the data, as many examples reach {self._real:.1f}"
        return None


def _classes(model):
    """The number of classes that a model can be asked for, by the argument of ``sample`` that asks."""
    found = {c.keyword: c.count for c in getattr(model, "conditions", ()) if isinstance(c, LabelCondition)}
    count = getattr(model, "num_classes", None)
    return found if found or count is None else {"labels": count}


def _effective_number(found):
    """exp of the entropy of the shares of what ``found`` (n,) names."""
    share = np.unique(found, return_counts=True)[1] / len(found)
    return float(np.exp(-np.sum(share * np.log(share))))


def _flat(x):
    x = np.asarray(x, "float64")
    return x.reshape(len(x), -1)
