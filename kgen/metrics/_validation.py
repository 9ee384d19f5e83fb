"""Checks that every feature metric makes of its arguments before any work is done."""

import numpy as np


def check_features(features, argument, minimum=1):
    """Returns `features` as a float64 array (N, D), or raises.

    Args:
        features: array (N, D) of finite real numbers, one row per sample.
        argument: the name of the argument, for the message.
        minimum: the least N that the metric is defined for.

    Returns:
        float64 array (N, D).

    Raises:
        TypeError: `features` are not real numbers.
        ValueError: `features` are not of rank 2, are not finite, or have fewer than `minimum` rows.
    """
    array = check_matrix(features, argument, minimum)
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        rows = int((~np.isfinite(array)).any(axis=1).sum())
        raise ValueError(
            f"`{argument}` must be finite, received NaN or infinity in {rows} of {array.shape[0]} rows. "
            "Find out where they come from before measuring; dropping them would flatter the model."
        )
    return array


def check_matrix(features, argument, minimum=1):
    """`features` as an array of any real type (N, D), not copied; raises as `check_features`, but for what is not finite."""
    array = np.asarray(features)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"`{argument}` must hold real numbers, received an array of dtype {array.dtype}.")
    if array.ndim != 2 or array.shape[1] == 0:
        raise ValueError(
            f"`{argument}` must have shape (samples, features), received {array.shape}. "
            "Images go through a feature extractor first: `load_classifier(name).features(images)`, "
            "or are flattened: `images.reshape(len(images), -1)`."
        )
    if array.shape[0] < minimum:
        raise ValueError(f"`{argument}` must have at least {minimum} rows, received {array.shape[0]}.")
    return array


def check_same_width(real, generated):
    """Raises ValueError unless both arrays have the same number of features."""
    if real.shape[1] != generated.shape[1]:
        raise ValueError(
            "`real` and `generated` must come from the same feature extractor, "
            f"received {real.shape[1]} features and {generated.shape[1]} features."
        )


def check_neighbours(k):
    """Raises unless `k` counts neighbours: an integer of at least 1."""
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)):
        raise TypeError(f"`k` must be an integer, received {k!r}.")
    if k < 1:
        raise ValueError(f"`k` must be at least 1, received {k}.")
