"""Images of two values, -1 and 1: by a threshold, by chance once, or by chance anew in each epoch."""

import numpy as np


def _check(x):
    """``x`` as float32, checked: floats (N, ...) in [-1, 1], a row at least."""
    x = np.asarray(x)
    if x.dtype.kind != "f" or x.ndim < 2 or not len(x):
        raise ValueError(
            f"x: expected a float array (N, ...) in [-1, 1] of at least one row, received {x.dtype} of shape {x.shape}. "
            "Pixels in 0..255 convert with x / 127.5 - 1."
        )
    low, high = float(x.min()), float(x.max())  # NaN wins in both
    if not (low >= -1 and high <= 1):
        raise ValueError(
            f"x: expected values in [-1, 1], received [{low:g}, {high:g}]. Pixels in 0..255 convert with x / 127.5 - 1."
        )
    return x.astype("float32")


def _draw(x, rng):
    """-1 or 1, with mean x."""
    return np.where(rng.random(x.shape, dtype="float32") < (x + 1) / 2, 1.0, -1.0).astype("float32")


def binarize(x, *, threshold=0.0, seed=None):
    """Makes images of -1 and 1, once (static binarisation).

    Args:
        x: float array (N, ...) in [-1, 1].
        threshold: values above it become 1, the others -1. Not used with a seed.
        seed: int, or None. With a seed each value x becomes 1 with probability (x + 1) / 2, as in Salakhutdinov & Murray's MNIST.
    Returns:
        float32 array shaped like ``x``.
    Raises:
        ValueError: ``x`` is not of floats in [-1, 1].
    Reference:
        Salakhutdinov & Murray, On the quantitative analysis of deep belief networks, 2008, section 6.1.
    """
    x = _check(x)
    if seed is None:
        return np.where(x > threshold, 1.0, -1.0).astype("float32")
    return _draw(x, np.random.default_rng(seed))


def dynamic_binarization(x, y=None, *, batch_size=32, seed=0, anew=True):
    """A dataset for ``fit`` that draws images of -1 and 1 anew in each epoch: a value x becomes 1 with probability (x + 1) / 2.

    Rows are shuffled in each epoch too. What an epoch draws depends on ``seed``, the epoch and the batch alone. Keras ends an epoch after each
    ``evaluate`` too, and after each validation: data to measure on takes ``anew=False``.

    Args:
        x: float array (N, ...) in [-1, 1].
        y: labels (N, ...), or None.
        batch_size: rows in a batch; the last one of an epoch may be smaller.
        seed: int.
        anew: whether each epoch draws again; False for data to evaluate on, which are the same each time.
    Returns:
        ``keras.utils.PyDataset`` of batches ``x`` or ``(x, y)``.
    Raises:
        ValueError: ``x`` is not of floats in [-1, 1], or ``y`` has another number of rows.
    Reference:
        Burda et al., Importance weighted autoencoders, 2016, section 5, arXiv 1509.00519.
    """
    import keras

    x = _check(x)
    if y is not None and len(y) != len(x):
        raise ValueError(f"y: expected {len(x)} rows, as x has, received {len(y)}.")
    if batch_size < 1:
        raise ValueError(f"batch_size: expected an integer of at least 1, received {batch_size!r}.")

    class DynamicBinarization(keras.utils.PyDataset):
        epoch = 0

        def __len__(self):
            return -(-len(x) // batch_size)

        def __getitem__(self, index):
            order = np.random.default_rng([seed, self.epoch]).permutation(len(x))
            rows = order[index * batch_size : (index + 1) * batch_size]
            images = _draw(x[rows], np.random.default_rng([seed, self.epoch, index]))
            return (images,) if y is None else (images, np.asarray(y)[rows])

        def on_epoch_end(self):
            self.epoch += anew

    return DynamicBinarization()
