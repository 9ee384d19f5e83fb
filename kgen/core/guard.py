"""The guard of a training step: what is not finite gets into no weight, optimizer, average or statistic, and training stops."""

import threading
import warnings

import keras
import numpy as np
from keras import ops

from kgen import backend


class StopOnNonFinite(keras.callbacks.Callback):
    """Stops training at the first loss or gradient that is NaN or infinite, and says where. Added by ``GenerativeModel.fit``.

    On TensorFlow Keras may run it beside training, a few steps behind: the guard below lets no step of those change anything.
    """

    # A step need not wait for the result of the one before it. JAX donates buffers, which a callback that lags may find deleted.
    async_safe = keras.config.backend() == "tensorflow"

    def on_train_begin(self, logs=None):
        self.stopped = threading.Lock()

    def on_train_batch_end(self, batch, logs=None):
        bad = [k for k, v in (logs or {}).items() if not np.isfinite(float(v))]
        if bad and self.stopped.acquire(blocking=False):  # once
            self.model.stop_training = True
            warnings.warn(
                f"Training stopped: {', '.join(bad)} or a gradient became NaN or infinite at batch {batch + 1} of this epoch. No update "
                "that was not finite was applied: the model keeps its last good state. Look for NaN in the data; else lower the "
                "learning rate or set the optimizer's clipnorm.",
                RuntimeWarning,
                stacklevel=2,
            )


class StepGuard(threading.local):
    """Knows whether everything in the running training step was finite so far.

    While a step runs ``finite`` is a boolean scalar tensor and ``share`` this replica's share of the whole batch; between steps both
    are None, so that no tensor of a traced step outlives it. They are one for each thread: ``tf.distribute`` traces each replica in
    a thread of its own.
    """

    def __init__(self):
        self.finite, self.share = None, None

    def __deepcopy__(self, memo):
        return StepGuard()

    def __reduce__(self):
        return (StepGuard, ())

    def begin(self, inputs, trackers):
        """Starts a step that reads ``inputs``.

        A running mean in ``trackers`` that is not finite means that an earlier step of this epoch was not: nothing more is
        applied until training has stopped, which several steps in one execution (``steps_per_execution``) cannot do at once.
        """
        floats = [v for v in inputs if "float" in keras.backend.standardize_dtype(v.dtype)]
        self.finite = backend.all_finite([t.total for t in trackers] + floats)
        self.share = backend.share(ops.shape(inputs[0])[0])

    def end(self):
        """Ends the step; returns whether all of it was finite."""
        finite, self.finite, self.share = self.finite, None, None
        return finite

    def scale(self, loss):
        """A mean over this replica's rows, as its share of the mean over all: replicas add their gradients up."""
        share = backend.share() if self.share is None else self.share
        return loss * ops.cast(share, loss.dtype)

    def admits(self, loss, gradients, optimizer):
        """Whether an update may be applied: its loss, its gradients and the step so far are finite.

        Returns:
            ``(finite, gradients)``: a boolean scalar tensor, and the gradients to apply.
        """
        present = [i for i, g in enumerate(gradients) if g is not None]
        if ops.is_tensor(self.share):  # a replica without rows: a mean over none of them is NaN
            loss, *gradients = [g if g is None else ops.where(self.share > 0, g, 0.0) for g in (loss, *gradients)]
        finite = backend.all_finite([gradients[i] for i in present])
        scaled = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
        if scaled:  # an overflow of the scaled loss is no fault: this optimizer skips the step and halves its scale
            finite = ops.logical_or(finite, ops.convert_to_tensor(optimizer.dynamic_scale) > 1.0)
        finite = ops.logical_and(finite, backend.all_finite([loss]))
        if self.finite is not None:
            finite = self.finite = ops.logical_and(finite, self.finite)
        if scaled and present:  # it does its own skipping: what must not be applied is shown to it as an overflow
            i, gradients = present[-1], list(gradients)
            gradients[i] = ops.where(finite, gradients[i], float("nan"))
        return finite, gradients
