"""Training that goes on where it stopped, as if it had never stopped."""

import copy
import functools
import inspect
import itertools
import json
import math
import pathlib
import signal
import statistics
import sys
import threading
import warnings
import zipfile
import zlib

import keras
import numpy as np

import kgen
from kgen.core import checks
from kgen.core.guard import StopOnNonFinite
from kgen.core.saving import aside

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
        self._data = _in_known_order(x, y, batch_size, self.seed, kwargs)
        if self._data is None:
            if self.every is not None:
                raise ValueError(
                    f"every: checkpoints within an epoch need arrays or a keras.utils.PyDataset, whose order kgen knows; received "
                    f"x of type {type(x).__name__}. Leave every=None: one checkpoint after each epoch."
                )
            kwargs |= {"x": x, "y": y, "batch_size": batch_size}
        else:
            kwargs.setdefault("validation_batch_size", batch_size)
            kwargs |= {"batch_size": batch_size, "shuffle": False}
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
        loop = _Callbacks(self, callbacks, model, verbose, epochs, steps)
        found = self._restore(loop)
        if not found:
            self._save()
        previous = self._listen()
        try:
            while self._epoch < epochs and not self._finished:
                self._begin_phase()
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

    def _begin_phase(self):
        self._fault, self.start = None, self._batch

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
        interrupted = self.stopped_before or any(getattr(c, "interrupted", False) for c in self._others)
        self._finished = self._model.stop_training and not interrupted
        best = self._improved(logs or {})
        due = self.every is None or self._step - self._saved >= self.every
        if due or best or self._model.stop_training or self._term.is_set() or self._epoch == self._epochs:
            self._save(best)
        if self._term.is_set():
            self._leave()

    def _improved(self, logs):
        if self.monitor is None or (
            self.monitor not in logs and self.monitor.startswith("val_")
        ):  # see validation_freq
            return False
        if self.monitor not in logs:
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
                middle = statistics.median(before)
                spread = max(1.48 * statistics.median(abs(v - middle) for v in before), 1e-3 * abs(middle), 1e-8)
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
        callbacks, arrays = self._loop_state()
        state = {
            "kgen": kgen.__version__,
            "model": type(model).__name__,
            "variables": [[v.path, str(v.dtype)] for v in _variables(model)],
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
            arrays[f"variable_{i}"] = _as_plain(keras.ops.convert_to_numpy(variable))
        for i, variable in enumerate(model.metrics_variables):
            arrays[f"metric_{i}"] = _as_plain(keras.ops.convert_to_numpy(variable))
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

    def _loop_state(self):
        """What the other callbacks hold in plain attributes: numbers, texts, lists of those, and lists of arrays."""
        states, arrays = [], {}
        for i, (callback, made) in enumerate(zip(self._others, self._made, strict=True)):
            plain = callback.get_state() if hasattr(callback, "get_state") else {}
            for name, value in _attributes(callback).items():
                if isinstance(value, list) and value and all(isinstance(v, (np.ndarray, np.generic)) for v in value):
                    plain[name] = {"arrays": [v.dtype.name for v in value]}
                    arrays |= {f"callback_{i}_{name}_{j}": _as_plain(np.asarray(v)) for j, v in enumerate(value)}
                elif _is_plain(value) and (name not in made or made[name] != value):
                    plain[name] = value
            states.append({"class": type(callback).__name__, "state": plain})
        return states, arrays

    def _restore(self, loop):
        """Loads the newest whole checkpoint into model, history and callbacks; returns whether there was one."""
        self._metrics, self._others, self._made = None, loop.others, loop.made
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
            _assign(_variables(self.model), [arrays[f"variable_{i}"] for i in range(len(state["variables"]))])
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
        variables = _variables(self.model)
        kept = [tuple(arrays[f"variable_{i}"].shape) for i in range(len(state["variables"]))]
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


class _Callbacks(keras.callbacks.CallbackList):
    """The callbacks of one training that takes several calls of ``fit``: its beginning and its end come once."""

    def __init__(self, checkpoint, callbacks, model, verbose, epochs, steps):
        others = [c for c in callbacks if c is not checkpoint]
        super().__init__(
            [
                *others,
                checkpoint,
            ],  # Keras must know of it: beside one that is not async_safe training waits for its callbacks
            add_history=True,
            add_progbar=verbose != 0,
            verbose=verbose,
            epochs=epochs,
            steps=steps,
            model=model,
        )
        self.others, self.made = others, [copy.deepcopy(_attributes(c, _is_plain)) for c in others]
        self._checkpoint = checkpoint
        self.callbacks.remove(checkpoint)
        self.callbacks.append(
            checkpoint
        )  # the last: it keeps what the others have made of a step, the history's line too
        self._begun, self._logs, self._restored = False, None, None

    def on_train_begin(self, logs=None):
        if not self._begun:
            self._begun = True
            super().on_train_begin(logs)
            if self._restored:
                self._put(*self._restored)

    def on_train_end(self, logs=None):
        self._logs = logs

    def on_epoch_begin(self, epoch, logs=None):
        if self._checkpoint.start:  # the others have seen this epoch begin
            for callback in (self._history, self._progbar, self._checkpoint):
                if callback is not None:
                    callback.on_epoch_begin(epoch, logs)
        else:
            super().on_epoch_begin(epoch, logs)

    def on_train_batch_begin(self, batch, logs=None):
        super().on_train_batch_begin(batch + self._checkpoint.start, logs)

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch + self._checkpoint.start, logs)

    def on_epoch_end(self, epoch, logs=None):
        self._checkpoint.stopped_before = self._model.stop_training
        if not self._checkpoint.will_roll_back():  # else the epoch has not ended: some of it comes again
            super().on_epoch_end(epoch, logs)

    def end(self):
        """The training is over."""
        if not self._begun:  # it was over before: history and callbacks as they were at its end
            self.on_train_begin()
        super().on_train_end(self._logs)

    def restore(self, state, arrays):
        """Puts history and callbacks back, now or, if training has not begun, as soon as they have forgotten their past."""
        if self._begun:
            self._put(state, arrays)
        self._restored = (state, arrays)

    def _put(self, state, arrays):
        self._history.history, self._history.epoch = dict(state["history"]), list(state["epochs"])
        for i, (callback, kept) in enumerate(itertools.zip_longest(self.others, state["callbacks"])):
            if callback is None or kept is None or type(callback).__name__ != kept["class"]:
                warnings.warn(
                    f"callbacks: the checkpoint was made with {[c['class'] for c in state['callbacks']]}, these are "
                    f"{[type(c).__name__ for c in self.others]}; those from number {i + 1} on start anew.",
                    RuntimeWarning,
                    stacklevel=2,
                )
                return
            own = callback.set_state(kept["state"]) if hasattr(callback, "set_state") else None
            for name, value in kept["state"].items():
                if own is not None and name in own:
                    continue
                if isinstance(value, dict) and set(value) == {"arrays"}:
                    stored = ((dtype, arrays[f"callback_{i}_{name}_{j}"]) for j, dtype in enumerate(value["arrays"]))
                    value = [a.view(np.dtype(dtype)) if dtype == "bfloat16" else a for dtype, a in stored]
                setattr(callback, name, value)


class _Arrays:
    """Rows in an order that is drawn from (seed, epoch, attempt). Arrays that are put in order beforehand: Keras trains on those fastest."""

    def __init__(self, arrays, batch_size, shuffle, seed):
        self.arrays, self.batch_size, self.shuffle, self.seed = arrays, batch_size, shuffle, seed
        self.total = -(-len(arrays[0]) // batch_size)

    def rest(self, epoch, start, attempt):
        """What ``fit`` is given for an epoch from its batch ``start`` on."""
        count = len(self.arrays[0])
        order = _order(count, self.seed, epoch, attempt) if self.shuffle else np.arange(count)
        rows = order[start * self.batch_size :]
        x, y, weight = (a if a is None else a[rows] for a in self.arrays)
        return {"x": x, "y": y, "sample_weight": weight}


class _Batches:
    """The same for a PyDataset, whose batches are put in order."""

    def __init__(self, dataset, shuffle, seed):
        self.dataset, self.shuffle, self.seed, self.total = dataset, shuffle, seed, dataset.num_batches

    def rest(self, epoch, start, attempt):
        """What ``fit`` is given for an epoch from its batch ``start`` on."""
        order = _order(self.total, self.seed, epoch, attempt) if self.shuffle else np.arange(self.total)
        return {"x": _Reordered(self.dataset, order[start:], epoch)}


class _Reordered(keras.utils.PyDataset):
    """Some batches of ``dataset``, in an order."""

    def __init__(self, dataset, order, epoch):
        super().__init__()
        self.dataset, self.order, self.epoch = dataset, order, epoch

    def __len__(self):
        return len(self.order)

    def __getitem__(self, i):
        if hasattr(self.dataset, "epoch"):  # as kgen.data.TokenWindows, which draws anew in each
            self.dataset.epoch = self.epoch
        return self.dataset[int(self.order[i])]


@functools.lru_cache(maxsize=4)
def _order(count, seed, epoch, attempt):
    return np.random.default_rng([seed, epoch, attempt]).permutation(count)


def _in_known_order(x, y, batch_size, seed, arguments):
    """The data in an order of its own, or None if that is unknown. Takes what it deals with itself out of fit's ``arguments``."""
    shuffle = bool(arguments.get("shuffle", True))
    if arguments.get("steps_per_epoch") is not None:
        return None
    if isinstance(x, keras.utils.PyDataset):
        return None if x.num_batches is None else _Batches(x, shuffle, seed)
    given = (x, y, arguments.get("sample_weight"))
    arrays = tuple(checks.as_array(a) for a in given)
    if any(a is None and b is not None for a, b in zip(arrays, given, strict=True)):
        return None
    split = arguments.pop("validation_split", 0.0) or 0.0
    if split and arguments.get("validation_data") is None:  # Keras's rule: the last rows, before any are moved
        kept = math.floor(len(arrays[0]) * (1.0 - split))
        arguments["validation_data"] = tuple(a if a is None else a[kept:] for a in arrays)
        arrays = tuple(a if a is None else a[:kept] for a in arrays)
    return _Arrays(arrays, 32 if batch_size is None else batch_size, shuffle, seed)


def _variables(model):
    """All that a step changes but the metrics: weights, averages, seeds and optimizers, each once."""
    from keras.src.random.seed_generator import global_seed_generator

    found = {id(v): v for v in [*model.variables, *model.optimizer.variables, global_seed_generator().state]}
    for metric in model.metrics_variables:
        found.pop(id(metric), None)
    return list(found.values())


def _assign(variables, arrays):
    for variable, array in zip(variables, arrays, strict=True):
        dtype = keras.backend.standardize_dtype(variable.dtype)
        variable.assign(array.view(np.dtype(dtype)) if array.dtype == np.uint16 != dtype else array)


def _as_plain(array):
    """numpy's files know no bfloat16: its bits are kept."""
    return array.view(np.uint16) if array.dtype.name == "bfloat16" else array


def _attributes(callback, wanted=lambda value: True):
    """A callback's public attributes by name, without its settings, which are the user's, and those that it calls transient."""
    left_out = {"params", *getattr(callback, "transient", ()), *inspect.signature(type(callback).__init__).parameters}
    return {k: v for k, v in vars(callback).items() if k not in left_out and not k.startswith("_") and wanted(v)}


def _is_plain(value):
    if isinstance(value, (list, tuple)):
        return isinstance(value, list) and all(_is_plain(v) for v in value)
    return value is None or isinstance(value, (bool, int, float, str, np.number))


def _members(optimizer):
    members = list(optimizer.members.values()) if hasattr(optimizer, "members") else [optimizer]
    return [getattr(member, "inner_optimizer", member) for member in members]


def _check_rates(optimizer):
    for member in _members(optimizer):
        if isinstance(member._learning_rate, keras.optimizers.schedules.LearningRateSchedule):
            raise ValueError(
                f"lower_rate: {member.name} follows a {type(member._learning_rate).__name__}, which cannot be lowered. Pass a number "
                "as its learning rate, or lower_rate=1."
            )


def _lower_rates(optimizer, factor):
    rates = []
    for member in _members(optimizer):
        member.learning_rate = float(keras.ops.convert_to_numpy(member.learning_rate)) * factor
        rates.append(float(keras.ops.convert_to_numpy(member.learning_rate)))
    return rates[0] if len(rates) == 1 else rates
