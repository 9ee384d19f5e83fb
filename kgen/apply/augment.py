"""More training data: what samples of each class add to a classifier that has few real examples."""

import numpy as np

from kgen.core import checks


def augment(model, x, y, *, per_class, seed=0, **options):
    """Real examples with samples of every class beside them.

    Args:
        model: a model that samples by ``labels=``, trained on these examples: what it learnt from others would be no fair help.
        x: float array (N, ...).
        y: int array (N,).
        per_class: number of samples of each class of ``y``.
        seed: int, of the samples and of the order.
        **options: passed to ``model.sample``, such as ``guidance=``.
    Returns:
        ``(x, y)``: float32 array (N + K per_class, ...) and int32 array, in random order.
    Raises:
        ValueError: the model knows no labels, or there is not one label per example.
    """
    x, y = _labelled(x, y)
    if getattr(model, "num_classes", None) is None:
        raise ValueError(f"model: expected one that samples by labels=, this {type(model).__name__} has no classes.")
    labels = np.repeat(np.unique(y), checks.positive_int("per_class", per_class)).astype("int32")
    samples = model.sample(len(labels), labels=labels, seed=seed, **options)
    order = np.random.default_rng(seed).permutation(len(x) + len(samples))
    return np.concatenate([x, samples]).astype("float32")[order], np.concatenate([y, labels])[order]


def compare(model, x, y, x_test, y_test, *, per_class, classifier=None, seed=0, **options):
    """A classifier's accuracy on test data before and after ``augment``.

    Args:
        model, x, y, per_class, seed, **options: as in ``augment``.
        x_test: float array (M, ...), real examples that neither model nor classifier has seen.
        y_test: int array (M,).
        classifier: function that makes an unfitted classifier with scikit-learn's ``fit`` and ``predict`` for rows (N, D); logistic
            regression if None.
    Returns:
        dict: ``before`` and ``after``, accuracies in [0, 1]; ``standard_error`` of their difference, over the test examples; ``samples``.
    Raises:
        ValueError: as ``augment``.
    """
    if classifier is None:
        from sklearn.linear_model import LogisticRegression

        def classifier():
            return LogisticRegression(max_iter=2000)

    x, y = _labelled(x, y)
    x_test, y_test = _labelled(x_test, y_test)
    more_x, more_y = augment(model, x, y, per_class=per_class, seed=seed, **options)
    right = []
    for images, labels in ((x, y), (more_x, more_y)):
        fitted = classifier().fit(images.reshape(len(images), -1), labels)
        right.append(fitted.predict(x_test.reshape(len(x_test), -1)) == y_test)
    difference = right[1].astype(float) - right[0]
    return {
        "before": float(right[0].mean()),
        "after": float(right[1].mean()),
        "standard_error": float(difference.std() / len(difference) ** 0.5),
        "samples": len(more_x) - len(x),
    }


def _labelled(x, y):
    x, y = np.asarray(x), np.asarray(y)
    if y.shape != (len(x),) or len(x) == 0 or y.dtype.kind not in "iu":
        raise ValueError(f"y: expected one int for each of {len(x)} examples, received {y.dtype} of shape {y.shape}.")
    return x.astype("float32"), y.astype("int32")
