"""The callbacks of one training that takes several calls of Keras's ``fit``."""

import copy
import inspect
import itertools
import warnings

import keras
import numpy as np

from kgen.backend import keras_private


class Callbacks(keras.callbacks.CallbackList):
    """Keras's list of callbacks, for which the beginning and the end of training come once, and whose state can be kept."""

    def __init__(self, checkpoint, callbacks, model, verbose, epochs, steps):
        others = [c for c in callbacks if c is not checkpoint]
        # Keras must know of the checkpoint: beside a callback that is not async_safe training waits for its callbacks.
        super().__init__(
            [*others, checkpoint],
            add_history=True,
            add_progbar=verbose != 0,
            verbose=verbose,
            epochs=epochs,
            steps=steps,
            model=model,
        )
        self.others, self._made = others, [copy.deepcopy(_attributes(c, _is_plain)) for c in others]
        self._checkpoint = checkpoint
        self.callbacks.remove(checkpoint)
        self.callbacks.append(checkpoint)  # last, to keep what the others made of a step, and the history's line
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
            for callback in (keras_private.history_of(self), keras_private.progress_bar_of(self), self._checkpoint):
                if callback is not None:
                    callback.on_epoch_begin(epoch, logs)
        else:
            super().on_epoch_begin(epoch, logs)

    def on_train_batch_begin(self, batch, logs=None):
        super().on_train_batch_begin(batch + self._checkpoint.start, logs)

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch + self._checkpoint.start, logs)

    def on_epoch_end(self, epoch, logs=None):
        self._checkpoint.stopped_before = keras_private.model_of(self).stop_training
        if not self._checkpoint.will_roll_back():  # else the epoch has not ended: some of it comes again
            super().on_epoch_end(epoch, logs)

    def end(self):
        """The training is over."""
        if not self._begun:  # it was over before: history and callbacks as they were at its end
            self.on_train_begin()
        super().on_train_end(self._logs)

    def state(self):
        """What the other callbacks hold in plain attributes: numbers, texts, lists of those, and lists of arrays."""
        states, arrays = [], {}
        for i, (callback, made) in enumerate(zip(self.others, self._made, strict=True)):
            plain = callback.get_state() if hasattr(callback, "get_state") else {}
            for name, value in _attributes(callback).items():
                if isinstance(value, list) and value and all(isinstance(v, (np.ndarray, np.generic)) for v in value):
                    plain[name] = {"arrays": [v.dtype.name for v in value]}
                    arrays |= {f"callback_{i}_{name}_{j}": as_plain(np.asarray(v)) for j, v in enumerate(value)}
                elif _is_plain(value) and (name not in made or made[name] != value):
                    plain[name] = value
            states.append({"class": type(callback).__name__, "state": plain})
        return states, arrays

    def restore(self, state, arrays):
        """Puts history and callbacks back, now or, if training has not begun, as soon as they have forgotten their past."""
        if self._begun:
            self._put(state, arrays)
        self._restored = (state, arrays)

    def _put(self, state, arrays):
        history = keras_private.history_of(self)
        history.history, history.epoch = dict(state["history"]), list(state["epochs"])
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


def as_plain(array):
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
