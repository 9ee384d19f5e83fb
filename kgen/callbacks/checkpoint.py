"""Training that goes on where it stopped, as if it had never stopped."""

import json
import math
import pathlib
import signal
import sys
import threading
import warnings
import zipfile
import zlib

import keras
import numpy as np

import kgen
from kgen.backend import keras_private
from kgen.callbacks.callback_list import Callbacks, as_plain
from kgen.callbacks.data_order import in_known_order
from kgen.callbacks.monitors.losses import median_and_spread
from kgen.core import checks
from kgen.core.guard import StopOnNonFinite
from kgen.core.saving import aside, check_version

STOPPED = 75  # the exit code after SIGTERM: EX_TEMPFAIL of sysexits.h, "try again"
_DAMAGED = (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error)


class Checkpoint(keras.callbacks.Callback):
    """Keeps everything that training needs to go on, and lets ``fit`` go on from it.

    With this among its callbacks ``fit`` looks into ``folder``, loads the newest checkpoint that is whole, and continues after its last
    step: on a CPU it ends with the same weights, bit for bit, as a run that was never interrupted. A checkpoint holds the weights,
    every optimizer, averaged weights, every seed, the metrics' sums, the epoch and the batch within it, the order of the data, the history
    and the other callbacks' counters. A fit that had come to its end returns at once.

    For arrays and a ``keras.utils.PyDataset`` the order of the data is drawn here, from ``seed`` and the epoch; the batches of a PyDataset
    may depend on their index and on its attribute ``epoch``, which is set, alone; they are read one after the other in this process. Other
    datasets keep their own order, which nobody can know: checkpoints of those are made, and gone on from, between epochs.

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
        self._term = threading.Event()
        self.start, self.stopped_before, self._fault = 0, False, None

    # fit.

    def drive_fit(self, fit, model, *, x, y, batch_size, epochs, callbacks, verbose, **kwargs):
        """Called by ``GenerativeModel.fit``: runs ``fit``, Keras's own, from the newest checkpoint, and again after a rollback."""
        self.set_model(model)
        if self.rollback:  # what is not finite is dealt with here
            callbacks = [c for c in callbacks if not isinstance(c, StopOnNonFinite)]
        if self.lower_rate < 1 and self.rollback:
            _check_rates(model.optimizer)
        kwargs["initial_epoch"] = kwargs.get("initial_epoch") or 0
        if any(getattr(member, "use_ema", False) for member in _members(model.optimizer)):
            raise ValueError(
                "optimizer: use_ema=True puts the average in the weights' place at the end of each fit, from where training cannot go on. "
                "Use the model's own average instead: ema= of the model."
            )
        self._data = in_known_order(x, y, batch_size, self.seed, kwargs)
        if self._data is None:
            if self.every is not None:
                raise ValueError(
                    f"every: checkpoints within an epoch need arrays or a keras.utils.PyDataset, whose order kgen knows; received "
                    f"x of type {type(x).__name__}. Leave every=None: one checkpoint after each epoch."
                )
            kwargs |= {"x": x, "y": y, "batch_size": batch_size}
        else:
            kwargs.setdefault("validation_batch_size", batch_size)
            kwargs["shuffle"] = False
        self.folder.mkdir(parents=True, exist_ok=True)
        for left in self.folder.glob(".*.npz"):  # what a process that was killed had not finished
            left.unlink()
        if not self.resume and self.files():
            raise FileExistsError(
                f"{self.folder} holds checkpoints of another training. Go on from them with resume=True (kgen train: --resume), "
                "name another folder, or remove them."
            )
        self._best, self._attempt, self._events, self._finished = None, 0, [], False
        self._recent, self._sums = {}, {}
        self._epoch, self._batch, self._step, self._epochs = kwargs.pop("initial_epoch"), 0, 0, epochs
        steps = None if self._data is None else self._data.total
        self._saved = 0
        loop = Callbacks(self, callbacks, model, verbose, epochs, steps)
        found = self._restore(loop)
        if not found:
            self._save()
        previous = self._listen()
        try:
            while self._epoch < epochs and not self._finished:
                self._fault, self.start = None, self._batch
                last = epochs
                if self._data is not None:  # each epoch is a fit of its own, of data in its order
                    last = self._epoch + 1
                    kwargs |= self._data.rest(self._epoch, self._batch, self._attempt)
                fit(epochs=last, initial_epoch=self._epoch, callbacks=loop, verbose=verbose, **kwargs)
                if (self._fault is None or not self._roll_back(loop)) and model.stop_training:
                    break
            if self._term.is_set():
                self._leave()
        finally:
            if previous is not None:
                signal.signal(signal.SIGTERM, previous)
        loop.end()
        if self.monitor is not None and self._best is None:
            warnings.warn(
                f"monitor: {self.monitor!r} was never logged, so that no best.npz was kept.",
                RuntimeWarning,
                stacklevel=2,
            )
        if self._events:
            model.history.history["events"] = self._events
        return model.history

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
        self._epoch = epoch
        if self._batch == 0:
            self._sums = {}
        if self._metrics:  # Keras has just set them to zero
            _assign(self.model.metrics_variables, self._metrics)
            self._metrics = None

    def on_train_batch_end(self, batch, logs=None):
        done = batch + 1
        self._step, self._batch = self._step + done - self._batch, done
        self._look_at(logs or {})
        if self._fault:
            return
        within = self._data is not None and done < self._data.total
        due = self.every is not None and self._step - self._saved >= self.every
        # Not self.model: on JAX that collects the whole state, at each step.
        if within and (due or self._term.is_set() or self._model.stop_training):
            self._save()
            if self._term.is_set():
                self._leave()

    def on_epoch_end(self, epoch, logs=None):
        broken_off = self.stopped_before if self._data is None else self._batch < self._data.total
        if self._fault or broken_off:
            return
        self._epoch, self._batch, self.start = epoch + 1, 0, 0
        # By a callback that judges an epoch, such as EarlyStopping; who presses Ctrl-C wants to go on later.
        interrupted = self.stopped_before or any(getattr(c, "interrupted", False) for c in self._loop.others)
        self._finished = self._model.stop_training and not interrupted
        best = self._improved(logs or {})
        due = self.every is None or self._step - self._saved >= self.every
        if due or best or self._model.stop_training or self._term.is_set() or self._epoch == self._epochs:
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
        value = float(logs[self.monitor])
        better = self._best is None or (value < self._best if self.mode == "min" else value > self._best)
        if better and math.isfinite(value):
            self._best = value
            return True
        return False

    # Faults.

    def _look_at(self, logs):
        """Finds a loss that is not finite, and a spike. Keras shows running means: a step's own value is a difference of two sums."""
        count = self._batch
        for name, mean in logs.items():
            mean = float(mean)
            if not math.isfinite(mean):
                self._fault = {"kind": "not finite", "log": name, "value": str(mean)}
                break
            if self.spike is None or not name.endswith("loss"):
                continue
            earlier, self._sums[name] = self._sums.get(name, 0.0 if count == 1 else None), mean * count
            if earlier is None:
                continue
            value, before = mean * count - earlier, self._recent.setdefault(name, [])
            if len(before) >= 10:
                middle, spread = median_and_spread(before)
                if value > middle + self.spike * spread:
                    self._fault = {"kind": "spike", "log": name, "value": value, "median": middle}
                    break
            before.append(value)
            del before[:-100]
        if self._fault:
            self._fault |= {"epoch": self._epoch, "batch": self._batch - 1, "step": self._step}
            self._model.stop_training = True

    def will_roll_back(self):
        """Whether training goes back to the last checkpoint after this step."""
        return self._fault is not None and self._attempt < self.rollback

    def _roll_back(self, loop):
        """Back to the last checkpoint; returns False when that was done often enough."""
        fault, attempt, events = self._fault, self._attempt, self._events
        if attempt >= self.rollback or not self._restore(loop):
            self._events = [*events, {**fault, "action": "stopped"}]
            warnings.warn(
                f"Training stopped: {fault['kind']} in {fault['log']!r} at step {fault['step']}, after {attempt} rollbacks. The checkpoints "
                f"before it are in {self.folder}.",
                RuntimeWarning,
                stacklevel=2,
            )
            return False
        stored, self._attempt = self._attempt, attempt + 1
        event = {**fault, "action": "rolled back", "to_step": self._step}
        if self.lower_rate < 1:
            event["learning_rate"] = _lower_rates(self.model.optimizer, self.lower_rate ** (self._attempt - stored))
        self._events = [*events, event]
        self.model.stop_training = False
        warnings.warn(
            f"{fault['kind']} in {fault['log']!r} at step {fault['step']}: back to step {self._step}, rollback {self._attempt} of "
            f"{self.rollback}.",
            RuntimeWarning,
            stacklevel=2,
        )
        return True

    # Files.

    def files(self):
        """The checkpoints in the folder, oldest first; without ``best.npz``."""
        return sorted(self.folder.glob("step-*.npz"))

    def clear(self):
        """Removes the checkpoints, once what they were for is done; the folder too, if nothing else is in it."""
        for file in self.folder.glob("*.npz"):
            file.unlink()
        if self.folder.exists() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _save(self, best=False):
        model = self.model  # on JAX this brings the variables up to date
        history = getattr(model, "history", None)
        callbacks, arrays = self._loop.state()
        state = {
            "kgen": kgen.__version__,
            "model": type(model).__name__,
            "variables": len(_variables(model)),
            "epoch": self._epoch,
            "batch": self._batch,
            "step": self._step,
            "finished": bool(self._finished),
            "seed": self.seed,
            "attempt": self._attempt,
            "best": self._best,
            "events": self._events,
            "recent": self._recent,
            "sums": self._sums,
            "history": {k: v for k, v in history.history.items() if k != "events"} if history else {},
            "epochs": list(getattr(history, "epoch", [])),
            "callbacks": callbacks,
        }
        for i, variable in enumerate(_variables(model)):
            arrays[f"variable_{i}"] = as_plain(keras.ops.convert_to_numpy(variable))
        for i, variable in enumerate(model.metrics_variables):
            arrays[f"metric_{i}"] = as_plain(keras.ops.convert_to_numpy(variable))
        text = json.dumps(state, default=lambda v: v.item())
        arrays["state"] = np.frombuffer(text.encode(), np.uint8)
        try:
            written = f"step-{self._step:09d}.npz"
            for name in [*(["best.npz"] if best else []), written]:  # the step's comes last: it says which was the best
                with aside(self.folder / name) as temporary:
                    np.savez(temporary, **arrays)
        except OSError as error:  # training is worth more than one checkpoint
            warnings.warn(
                f"No checkpoint at step {self._step}: {error}. Training goes on.", RuntimeWarning, stacklevel=2
            )
            return
        self._saved = self._step
        for old in [f for f in self.files() if f.name <= written][: -self.keep]:
            old.unlink()

    def _restore(self, loop):
        """Loads the newest whole checkpoint into model, history and callbacks; returns whether there was one."""
        self._metrics, self._loop = None, loop
        for file in reversed(self.files()):
            try:
                with np.load(file, allow_pickle=False) as stored:
                    arrays = {name: stored[name] for name in stored.files}  # reading them checks each CRC
                state = json.loads(arrays.pop("state").tobytes())
            except _DAMAGED as error:
                warnings.warn(f"{file} is damaged and left out: {error}.", RuntimeWarning, stacklevel=2)
                file.replace(file.with_suffix(".damaged"))
                continue
            self._check_fits(file, state, arrays)
            _assign(_variables(self.model), [arrays[f"variable_{i}"] for i in range(state["variables"])])
            if state["batch"]:
                self._metrics = [arrays[f"metric_{i}"] for i in range(len(self.model.metrics_variables))]
            self._epoch, self._batch, self._step = state["epoch"], state["batch"], state["step"]
            self._attempt, self._best, self._events = state["attempt"], state["best"], state["events"]
            self._saved = self._step
            self._finished, self._recent, self._sums = state["finished"], state["recent"], state["sums"]
            loop.restore(state, arrays)
            return True
        return False

    def _check_fits(self, file, state, arrays):
        check_version(state["kgen"])
        variables = _variables(self.model)
        kept = [tuple(arrays[f"variable_{i}"].shape) for i in range(state["variables"])]
        if state["model"] != type(self.model).__name__ or kept != [tuple(v.shape) for v in variables]:
            raise ValueError(
                f"{file} is of another model: a {state['model']} with {len(kept)} variables, this is a "
                f"{type(self.model).__name__} with {len(variables)}"
                f"{'' if len(kept) != len(variables) else ' of other shapes'}. Build and compile the model as it was, or name another "
                "folder."
            )
        if state["batch"] and self._data is None:
            raise ValueError(f"{file} is within an epoch of arrays; pass the same data to go on.")
        if state["batch"] and state["batch"] >= self._data.total:
            raise ValueError(
                f"{file} is after {state['batch']} batches of an epoch, this data has {self._data.total}. Pass the same data and batch_size."
            )
        if state["seed"] != self.seed:
            raise ValueError(f"seed: {file} was made with seed {state['seed']}, received {self.seed}.")


def _variables(model):
    """All that a step changes but the metrics: weights, averages, seeds and optimizers, each once."""
    found = {id(v): v for v in [*model.variables, *model.optimizer.variables, keras_private.global_seed()]}
    for metric in model.metrics_variables:
        found.pop(id(metric), None)
    return list(found.values())


def _assign(variables, arrays):
    for variable, array in zip(variables, arrays, strict=True):
        dtype = keras.backend.standardize_dtype(variable.dtype)
        variable.assign(array.view(np.dtype(dtype)) if array.dtype == np.uint16 != dtype else array)


def _members(optimizer):
    members = list(optimizer.members.values()) if hasattr(optimizer, "members") else [optimizer]
    return [getattr(member, "inner_optimizer", member) for member in members]


def _check_rates(optimizer):
    for member in _members(optimizer):
        rate = keras_private.rate_as_given(member)
        if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
            raise ValueError(
                f"lower_rate: {member.name} follows a {type(rate).__name__}, which cannot be lowered. Pass a number "
                "as its learning rate, or lower_rate=1."
            )


def _lower_rates(optimizer, factor):
    rates = []
    for member in _members(optimizer):
        member.learning_rate = float(keras.ops.convert_to_numpy(member.learning_rate)) * factor
        rates.append(float(keras.ops.convert_to_numpy(member.learning_rate)))
    return rates[0] if len(rates) == 1 else rates
