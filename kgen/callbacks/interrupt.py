"""Stopping by hand without losing what was trained."""

import signal
import threading

import keras


class GracefulStop(keras.callbacks.Callback):
    """Ends training after the present batch when Ctrl-C is pressed, so that what follows ``fit`` still runs; a second Ctrl-C aborts.

    ``interrupted`` says whether that happened, ``epochs`` how many epochs were begun.
    """

    interrupted = False
    epochs = 0
    transient = ("interrupted",)  # a training that goes on from a checkpoint has not been interrupted yet

    def on_train_begin(self, logs=None):
        self.interrupted, self.epochs = False, 0
        self._previous = None
        if threading.current_thread() is threading.main_thread():  # Python allows signal handlers there alone
            self._previous = signal.signal(signal.SIGINT, self._stop)

    def on_epoch_begin(self, epoch, logs=None):
        self.epochs = epoch + 1

    def _stop(self, signum, frame):
        if self.interrupted:
            self.on_train_end()
            raise KeyboardInterrupt
        self.interrupted = True
        self.model.stop_training = True
        print("\nStopping after this batch; what was trained is kept. Press Ctrl-C again to abort.", flush=True)

    def on_train_end(self, logs=None):
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
            self._previous = None
