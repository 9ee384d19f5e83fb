"""Training that goes on where it stopped, as if it had never stopped: the callback, and the loop of Keras's fits that it drives.

What is in a checkpoint and which is read: ``checkpoint_files``. What goes wrong, and what is changed before steps come again: ``rollback``.
The order of the data: ``data_order``. The other callbacks: ``callback_list``.
"""

import math
import pathlib
import signal
import sys
import threading
import warnings

import keras

from kgen.backend import keras_private
from kgen.callbacks import rollback as faults
from kgen.callbacks.callback_list import Callbacks
from kgen.callbacks.checkpoint_files import CheckpointFiles, Progress, assign, check_fits, progress_of, variables
from kgen.callbacks.data_order import in_known_order
from kgen.core import checks
from kgen.core.guard import StopOnNonFinite

STOPPED = 75  # the exit code after SIGTERM: EX_TEMPFAIL of sysexits.h, "try again"


class Checkpoint(keras.callbacks.Callback):
    """Keeps everything that training needs to go on, and lets ``fit`` go on from it.

    With this among its callbacks ``fit`` looks into ``folder``, loads the newest checkpoint that is whole, and continues after its last
    step: on a CPU it ends with the same weights, bit for bit, as a run that was never interrupted. A checkpoint holds the weights,
    every optimizer, averaged weights, every seed, the metrics' sums, the epoch and the batch within it, the order of the data, the history
    and the other callbacks' counters. A fit that had come to its end returns at once.

    For arrays, structures of them such as ``{"image": ..., "text": ...}``, and a ``keras.utils.PyDataset`` the order of the data is drawn
    here, from ``seed`` and the epoch; the batches of a PyDataset may depend on their index and on its attribute ``epoch``, which is set,
    alone; they are read one after the other in this process. Other datasets keep their own order, which nobody can know: checkpoints of
    those are made, and gone on from, between epochs.

    SIGTERM, by which a cluster takes a machine back, leads to a checkpoint after the present step (of those other datasets after the
    present epoch) and to ``SystemExit(75)``. On torch a ``keras.layers.Dropout`` without ``seed=`` draws from torch's own generator, which is
    not kept.

    Args:
        folder: where the checkpoints go, a file each: ``step-000000120.npz``. Each is written aside and then renamed, with a CRC-32 of
            every array; one that is damaged is left out with a warning.
        every: steps between two checkpoints; None for one at the end of each epoch. There is always one at the end of training.
        keep: how many of the newest are kept.
        monitor: a logged quantity, such as "val_loss"; the checkpoint of the epoch with its best value stays, as ``best.npz``.
        mode: "min" or "max": which value of ``monitor`` is best.
        resume: whether to go on from what is in ``folder``. False demands a folder without checkpoints.
        seed: int, of the order of the data.
        rollback: how many times in all training goes back to the last checkpoint after a loss that is not finite, or a spike; the data
            then come in another order. With 0 training stops there. What happened is in ``history["events"]``.
        lower_rate: what the learning rate is multiplied by at each rollback, in (0, 1]. It must be a number then, not a schedule.
        spike: how far a step's ``loss``, or whatever is logged as ``..._loss``, may lie above the median of the last steps (10 to 100 of
            them), in robust standard deviations (1.48 times the median absolute deviation), before that counts as a spike; None for no
            such limit. 20 is large.
    """

    def __init__(
        self,
        folder,
        *,
        every=None,
        keep=3,
        monitor=None,
        mode="min",
        resume=True,
        seed=0,
        rollback=0,
        lower_rate=1.0,
        spike=None,
    ):
        super().__init__()
        self.folder = pathlib.Path(folder)
        self.every = None if every is None else checks.positive_int("every", every)
        self.keep = checks.positive_int("keep", keep)
        if mode not in ("min", "max"):
            raise ValueError(f"mode: expected 'min' or 'max', received {mode!r}.")
        self.monitor, self.mode, self.resume = monitor, mode, resume
        self.seed = seed
        self.rollback = rollback if rollback == 0 else checks.positive_int("rollback", rollback)
        self.lower_rate = checks.in_range("lower_rate", lower_rate, 1e-6, 1.0)
        self.spike = None if spike is None else checks.in_range("spike", spike, 1.0, 1e9)
        self._files = CheckpointFiles(self.folder, self.keep)
        self._term = threading.Event()
        self.start, self.stopped_before, self._fault = 0, False, None

    def files(self):
        """The checkpoints in the folder, oldest first; without ``best.npz``."""
        return self._files.all()

    def clear(self):
        """Removes the checkpoints, once what they were for is done; the folder too, if nothing else is in it."""
        self._files.clear()

    # The loop: fits, one for each epoch where the order of the data is known, until the last epoch is done.

    def drive_fit(self, fit, model, *, x, y, batch_size, epochs, callbacks, verbose, **kwargs):
        """Called by ``GenerativeModel.fit``: runs ``fit``, Keras's own, from the newest checkpoint, and again after a rollback."""
        self.set_model(model)
        if self.rollback:  # what is not finite is dealt with here
            callbacks = [c for c in callbacks if not isinstance(c, StopOnNonFinite)]
        self._check_optimizer(model.optimizer)
        self._progress = Progress(epoch=kwargs.pop("initial_epoch", None) or 0)
        self._epochs, self._saved = epochs, 0
        self._take_data(x, y, batch_size, kwargs)
        self._open_folder()
        steps = None if self._data is None else self._data.total
        loop = self._loop = Callbacks(self, callbacks, model, verbose, epochs, steps)
        if not self._restore():
            self._save()
        previous = self._listen()
        try:
            while self._progress.epoch < epochs and not self._progress.finished:
                self._fault, self.start = None, self._progress.batch
                last = epochs
                if self._data is not None:  # each epoch is a fit of its own, of data in its order
                    last = self._progress.epoch + 1
                    kwargs |= self._data.rest(self._progress.epoch, self._progress.batch, self._progress.attempt)
                fit(epochs=last, initial_epoch=self._progress.epoch, callbacks=loop, verbose=verbose, **kwargs)
                if (self._fault is None or not self._roll_back()) and model.stop_training:
                    break
            if self._term.is_set():
                self._leave()
        finally:
            if previous is not None:
                signal.signal(signal.SIGTERM, previous)
        loop.end()
        if self.monitor is not None and self._progress.best is None:
            warnings.warn(
                f"monitor: {self.monitor!r} was never logged, so that no best.npz was kept.",
                RuntimeWarning,
                stacklevel=2,
            )
        if self._progress.events:
            model.history.history["events"] = self._progress.events
        return model.history

    def _check_optimizer(self, optimizer):
        if self.lower_rate < 1 and self.rollback:
            faults.check_rates(optimizer)
        if any(getattr(member, "use_ema", False) for member in faults.members(optimizer)):
            raise ValueError(
                "optimizer: use_ema=True puts the average in the weights' place at the end of each fit, from where training cannot go on. "
                "Use the model's own average instead: ema= of the model."
            )

    def _take_data(self, x, y, batch_size, kwargs):
        """Puts the data into an order of its own, or, where that cannot be, into fit's arguments as they are."""
        self._data = in_known_order(x, y, batch_size, self.seed, kwargs)
        if self._data is None:
            if self.every is not None:
                raise ValueError(
                    f"every: checkpoints within an epoch need arrays or a keras.utils.PyDataset, whose order kgen knows, and no "
                    f"steps_per_epoch; received x of type {type(x).__name__}. Leave every=None: one checkpoint after each epoch."
                )
            kwargs |= {"x": x, "y": y, "batch_size": batch_size}
        else:
            kwargs.setdefault("validation_batch_size", batch_size)
            kwargs["shuffle"] = False

    def _open_folder(self):
        self._files.open_folder()
        if not self.resume and self.files():
            raise FileExistsError(
                f"{self.folder} holds checkpoints of another training. Go on from them with resume=True (kgen train: --resume), "
                "name another folder, or remove them."
            )

    def _listen(self):
        """Waits for SIGTERM; returns the handler that was there. Python allows signal handlers in the main thread alone."""
        self._term.clear()
        if threading.current_thread() is not threading.main_thread():
            return None
        return signal.signal(signal.SIGTERM, lambda *_: self._term.set())

    def _leave(self):
        sys.stderr.write(f"\nSIGTERM: saved step {self._saved} in {self.folder}; the same fit goes on from there.\n")
        raise SystemExit(STOPPED)

    # What Keras calls.

    def on_epoch_begin(self, epoch, logs=None):
        self._progress.epoch = epoch
        if self._progress.batch == 0:
            self._progress.sums = {}
        if self._metrics:  # Keras has just set them to zero
            assign(self.model.metrics_variables, self._metrics)
            self._metrics = None

    def on_train_batch_end(self, batch, logs=None):
        done, progress = batch + 1, self._progress
        progress.step, progress.batch = progress.step + done - progress.batch, done
        self._fault = faults.find_fault(logs or {}, progress, self.spike)
        if self._fault:
            keras_private.model_of(self).stop_training = True
            return
        within = self._data is not None and done < self._data.total
        due = self.every is not None and progress.step - self._saved >= self.every
        # Not self.model: on JAX that collects the whole state, at each step.
        if within and (due or self._term.is_set() or keras_private.model_of(self).stop_training):
            self._save()
            if self._term.is_set():
                self._leave()

    def on_epoch_end(self, epoch, logs=None):
        progress = self._progress
        broken_off = self.stopped_before if self._data is None else progress.batch < self._data.total
        if self._fault or broken_off:
            return
        progress.epoch, progress.batch, self.start = epoch + 1, 0, 0
        # By a callback that judges an epoch, such as EarlyStopping; who presses Ctrl-C wants to go on later.
        interrupted = self.stopped_before or any(getattr(c, "interrupted", False) for c in self._loop.others)
        progress.finished = bool(keras_private.model_of(self).stop_training and not interrupted)
        best = self._improved(logs or {})
        due = self.every is None or progress.step - self._saved >= self.every
        if (
            due
            or best
            or keras_private.model_of(self).stop_training
            or self._term.is_set()
            or progress.epoch == self._epochs
        ):
            self._save(best)
        if self._term.is_set():
            self._leave()

    def _improved(self, logs):
        if self.monitor is None:
            return False
        if self.monitor not in logs:
            # See validation_freq, and what measures every few epochs; a name that never comes is warned of at the end.
            if self.monitor.startswith("val_") or any((getattr(c, "every", 1) or 1) > 1 for c in self._loop.others):
                return False
            raise ValueError(f"monitor: expected one of the logged {sorted(logs)}, received {self.monitor!r}.")
        value, best = float(logs[self.monitor]), self._progress.best
        better = best is None or (value < best if self.mode == "min" else value > best)
        if better and math.isfinite(value):
            self._progress.best = value
            return True
        return False

    # Back and forth between the training and its files.

    def will_roll_back(self):
        """Whether training goes back to the last checkpoint after this step."""
        return self._fault is not None and self._progress.attempt < self.rollback

    def _roll_back(self):
        """Back to the last checkpoint; returns False when that was done often enough."""
        fault, attempt, events = self._fault, self._progress.attempt, self._progress.events
        if attempt >= self.rollback or not self._restore():
            self._progress.events = [*events, faults.give_up(fault, attempt, self.folder)]
            return False
        event = faults.go_back(fault, self._progress, (attempt, self.rollback), self.model.optimizer, self.lower_rate)
        self._progress.events = [*events, event]
        self.model.stop_training = False
        return True

    def _save(self, best=False):
        # self.model: on JAX this brings the variables up to date
        if self._files.write(self.model, self._progress, self.seed, *self._loop.state(), best):
            self._saved = self._progress.step

    def _restore(self):
        """Loads the newest whole checkpoint into model, history and callbacks; returns whether there was one."""
        self._metrics = None
        found = self._files.newest()
        if found is None:
            return False
        file, state, arrays = found
        check_fits(file, state, arrays, self.model, self.seed, None if self._data is None else self._data.total)
        assign(variables(self.model), [arrays[f"variable_{i}"] for i in range(state["variables"])])
        if state["batch"]:
            self._metrics = [arrays[f"metric_{i}"] for i in range(len(self.model.metrics_variables))]
        self._progress = progress_of(state)
        self._saved = self._progress.step
        self._loop.restore(state, arrays)
        return True
