"""Time per training step inside ``fit``."""

import time

import keras


class StepTimer(keras.callbacks.Callback):
    """Measures from the end of an epoch's first step to the epoch's end: what ``fit`` pays once per call stays out."""

    async_safe = True  # it reads no logs: Keras may run ahead of it as it does without callbacks

    def on_train_batch_end(self, batch, logs=None):
        if batch == 0:
            self.start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.end = time.perf_counter()


class FitJob:
    """Training steps of a compiled Keras model, as a user runs them.

    Args:
        model: compiled model that trains by ``fit(x)``.
        x: numpy array, the data that there is; steps beyond it are not possible.
        batch: examples per step.
        callbacks: what else ``fit`` is given.
    """

    def __init__(self, model, x, batch, callbacks=()):
        self.model, self.x, self.batch, self.callbacks = model, x, batch, callbacks

    def __call__(self, steps):
        """Runs ``steps + 1`` steps and returns the seconds per step, the first one left out."""
        if (steps + 1) * self.batch > len(self.x):
            raise ValueError(
                f"steps: the data holds {len(self.x) // self.batch - 1} steps and one before them, asked for {steps}."
            )
        timer = StepTimer()
        x = self.x[: (steps + 1) * self.batch]
        self.model.fit(x, batch_size=self.batch, epochs=1, verbose=0, callbacks=[*self.callbacks, timer])
        return (timer.end - timer.start) / steps
