"""What monitors have in common.

A monitor looks once an epoch. What it finds is warned of when it begins, and written to the log as it goes on: `history["faults"]` of the fit
has one dict for each fault, with `monitor`, `epoch` (the first, from 0), `last`, `saw` and `try`.
"""

import copy
import warnings

import keras

from kgen.backend.summaries import SummaryWriter
from kgen.core import checks


class Monitor(keras.callbacks.Callback):
    """Base class. A monitor of your own implements ``find``, and names in ``asks`` what it asks of the model.

    Args:
        patience: epochs in a row in which the fault must be seen before it counts.
        stop: whether it ends training.
        log_dir: a folder for TensorBoard, which then shows the fault as text and ``value`` as a curve. None for none. It needs the
            packages tensorflow and tensorboard.
    """

    advice = ""  # what to try
    asks = ()  # attributes and methods that the model must have
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
        absent = [name for name in self.asks if not hasattr(self.model, name)]
        if absent:
            raise TypeError(
                f"{type(self).__name__}: expected a model with {' and '.join(self.asks)}, {type(self.model).__name__} has no {absent[0]}. "
                "Leave this monitor out, or train a model of a family that it watches."
            )
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
