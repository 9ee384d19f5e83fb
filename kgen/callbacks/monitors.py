"""Monitors: callbacks that name a fault while it happens, say since when, and what to try.

Each looks once an epoch. What it finds is warned of when it begins, and written to the log as it goes on: `history["faults"]` of the fit
has one dict for each fault, with `monitor`, `epoch` (the first, from 0), `last`, `saw` and `try`.
"""

import copy
import math
import statistics
import warnings

import keras
import numpy as np

from kgen.backend.summaries import SummaryWriter
from kgen.core import checks


class Monitor(keras.callbacks.Callback):
    """What the monitors have in common. A monitor of your own implements ``find``.

    Args:
        patience: epochs in a row in which the fault must be seen before it counts.
        stop: whether it ends training.
        log_dir: a folder for TensorBoard, which then shows the fault as text and ``value`` as a curve. None for none. It needs the
            packages tensorflow and tensorboard.
    """

    advice = ""  # what to try
    memory = ("faults", "_seen", "_advised")  # attributes that a checkpoint keeps

    def __init__(self, *, patience=1, stop=False, log_dir=None):
        super().__init__()
        self.patience, self.stop = checks.positive_int("patience", patience), stop
        self.log_dir = log_dir
        self.faults, self.value = [], None
        self._seen, self._advised = 0, self.advice
        self._writer = None

    def find(self, logs):
        """What is wrong after this epoch, as text, or None. It may set ``self.value``, the number that it went by."""
        raise NotImplementedError

    def on_train_begin(self, logs=None):
        self.faults, self._seen = [], 0

    def on_epoch_end(self, epoch, logs=None):
        saw = self.find(logs or {})
        self._to_tensorboard(epoch, saw)
        if saw is None:
            self._seen = 0
            return
        if self.advice != self._advised:  # another fault of the same monitor
            self._seen, self._advised = 0, self.advice
        self._seen += 1
        if self._seen < self.patience:
            return
        if self._seen == self.patience:
            first = epoch + 1 - self.patience
            self.faults.append({"monitor": type(self).__name__, "epoch": first, "saw": saw, "try": self.advice})
            warnings.warn(
                f"{type(self).__name__}, since epoch {first + 1}: {saw}. Try: {self.advice}.",
                RuntimeWarning,
                stacklevel=2,
            )
        self.faults[-1]["last"] = epoch
        name, first = type(self).__name__, self.faults[-1]["epoch"]
        listed = self.model.history.history.setdefault("faults", [])
        listed[:] = [f for f in listed if (f["monitor"], f["epoch"]) != (name, first)] + [dict(self.faults[-1])]
        if self.stop:
            self.model.stop_training = True

    def get_state(self):
        """What ``Checkpoint`` keeps of it."""
        return {name: copy.deepcopy(getattr(self, name)) for name in self.memory}

    def set_state(self, state):
        """Puts back what ``get_state`` gave; returns the names."""
        for name in self.memory:
            setattr(self, name, copy.deepcopy(state[name]))
        return self.memory

    def _to_tensorboard(self, epoch, saw):
        if self.log_dir is None:
            return
        if self._writer is None:
            self._writer = SummaryWriter(self.log_dir)
        name = type(self).__name__
        numbers = {} if self.value is None else {name: self.value}
        self._writer.write(epoch, numbers, {} if saw is None else {f"{name} saw": saw})


class PosteriorCollapse(Monitor):
    """Latent coordinates that a VAE's encoder does not use: their mean does not move with the example.

    A coordinate is active if the variance over examples of its posterior mean is above ``threshold``.

    Args:
        x: float array (N, *image_shape), examples to encode; a few hundred do.
        threshold: variance, in units of the prior's.
        active: the share of coordinates that must be active.
        **kwargs: see ``Monitor``.
    Reference:
        Burda et al., Importance Weighted Autoencoders, 2016, Section 5.1, arXiv 1509.00519.
    """

    advice = "a lower beta or kl_warmup=, free_bits=, or a weaker decoder"

    def __init__(self, x, *, threshold=0.01, active=0.1, **kwargs):
        super().__init__(**kwargs)
        self._x, self.threshold, self.active = np.asarray(x), threshold, checks.in_range("active", active, 0.0, 1.0)
        if len(self._x) < 2:
            raise ValueError(f"x: expected at least 2 examples, received {len(self._x)}.")

    def find(self, logs):
        variance = self.model.encode(self._x).reshape(len(self._x), -1).var(0)
        count = int((variance > self.threshold).sum())
        self.value = count / len(variance)
        if self.value < self.active or count == 0:
            return f"{count} of {len(variance)} latent coordinates move with the example"
        return None


class DeadCodes(Monitor):
    """Codes of a VQ-VAE's codebook that no example is given.

    Args:
        x: float array (N, *image_shape), examples to encode: enough of them that each code could be used many times.
        used: the share of the codebook that must be used.
        **kwargs: see ``Monitor``.
    """

    advice = "a codebook by moving averages with revival of dead codes, a smaller codebook, or a lower learning rate"

    def __init__(self, x, *, used=0.3, **kwargs):
        super().__init__(**kwargs)
        self._x, self.used = np.asarray(x), checks.in_range("used", used, 0.0, 1.0)

    def find(self, logs):
        codes, total = self.model.encode(self._x), self.model.num_codes
        count = len(np.unique(codes))
        self.value = count / total
        return f"{count} of {total} codes are used by {len(self._x)} examples" if self.value < self.used else None


class ModeCollapse(Monitor):
    """Samples that are too much alike: the median distance between two of them, beside that of two examples.

    Args:
        x: float array (N, ...), examples of the data; 256 of them are used.
        least: the ratio of the medians below which it is a fault.
        n: number of samples drawn at the end of an epoch.
        seed: int, of the samples.
        **kwargs: see ``Monitor``.
    """

    advice = (
        "a gradient penalty or R1, another loss (relativistic, Wasserstein), a lower learning rate, or larger batches"
    )

    def __init__(self, x, *, least=0.3, n=64, seed=0, **kwargs):
        super().__init__(**kwargs)
        self._x, self.least = np.asarray(x)[:256], least
        self.n, self.seed = checks.positive_int("n", n), seed
        if len(self._x) < 2 or self.n < 2:
            raise ValueError(f"x, n: expected at least 2 examples and 2 samples, received {len(self._x)} and {self.n}.")
        self._real = _median_distance(self._x)
        if self._real == 0:
            raise ValueError("x: expected examples that differ, half of these are the same.")

    def find(self, logs):
        self.value = _median_distance(self.model.sample(self.n, seed=self.seed)) / self._real
        if not self.value >= self.least:  # NaN too
            return f"samples lie {self.value:.2f} times as far apart as examples do"
        return None


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


class LossFaults(Monitor):
    """NaN in any logged quantity, infinity in a loss, and a spike or oscillation of ``loss`` and whatever is logged as ``..._loss``, over the epochs.

    Args:
        spike: how far an epoch's value may lie above the median of the ten before it, in robust standard deviations
            (1.48 times the median absolute deviation).
        swing: oscillation is when the last eight changes take turns in sign, but for one, and are in the median larger than this share of
            the median absolute value.
        **kwargs: see ``Monitor``.
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
        if len(past) >= 9:
            changes = np.diff(past[-9:])
            turns = int((changes[1:] * changes[:-1] < 0).sum())
            if turns >= 6 and np.median(np.abs(changes)) > self.swing * np.median(np.abs(past[-9:])):
                self.advice = (
                    "a lower learning rate, larger batches, or for a GAN a penalty and averaged weights (ema=)"
                )
                return f"{name} swings by {np.median(np.abs(changes)):.4g} from epoch to epoch"
        return None


def median_and_spread(values):
    """The median and a robust standard deviation: 1.48 times the median absolute deviation, and at least a thousandth of the median."""
    middle = statistics.median(values)
    return middle, max(1.48 * statistics.median(abs(v - middle) for v in values), 1e-3 * abs(middle), 1e-8)


def _median_distance(x):
    from scipy.spatial.distance import pdist

    return float(np.median(pdist(np.asarray(x, "float64").reshape(len(x), -1))))
