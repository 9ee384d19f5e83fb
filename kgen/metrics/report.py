"""Every fidelity figure of a set of generated images, each beside its floor."""

import keras
import numpy as np

from kgen.metrics._validation import check_neighbours
from kgen.metrics.classifier import FrozenClassifier
from kgen.metrics.extractors import has_probabilities, load_extractor
from kgen.metrics.fidelity import frechet_distance
from kgen.metrics.leaving_out import neighbour_figures, squared_radii

# A frozen classifier is "sure" of an image above this probability.
_SURE = 0.9
_GROUPS = 10  # of the jackknife


def fidelity_report(generated, *, train, test, extractor, k=5, labels=None, test_labels=None, seed=0):
    """Measures generated images against the test data, and training images against the same test data.

    All these figures depend on how many samples there are and on the extractor, so none means anything alone. Beside
    each `value` = metric(real=test, generated=generated) stands its `floor` = metric(real=test, generated=training
    images), from as many training images as there are generated ones: what a model would score that draws from the
    training distribution exactly. Where higher is better (all but the distance) the floor is the level to reach.

    The reference is the test split and not the larger train split, which would give finer neighbourhoods: against the
    train split, a model that copies its training images scores 1 at a distance of 0, better than new real data;
    against the test split, copying earns the floor and no more. A small test split (359 digits) makes the value coarse
    and the floor as coarse, so that they can be compared with each other and with nothing else. The shipped
    classifiers have seen the training images; between two halves of the test split the distances are the same as
    between test and train within their scatter over draws.

    Counts are equal on both sides. Where there are more generated images than training images, the distances of both
    sides use `len(train)` images, drawn without replacement by `seed`; the entry's `samples` says how many. Confidence
    and label accuracy are means over single images, so they use every generated image and every test image.

    Args:
        generated: float array (N, H, W, C) in [-1, 1], N > k.
        train: float array (T, H, W, C) in [-1, 1], the data that the model was trained on, T > k.
        test: float array (R, H, W, C) in [-1, 1], data that it was not trained on, R > k.
        extractor: `FrozenClassifier`, or whatever `load_extractor` takes: "digits", "inception", an object with
            `features(images) -> (N, D)`, a callable. Without class probabilities there is no confidence and no label
            accuracy.
        k: which nearest neighbour sets the radius of precision, recall, density and coverage.
        labels: int array (N,), the labels that the images were generated for, where they were.
        test_labels: int array (R,), the labels of `test`: they give `label_accuracy` its floor.
        seed: int, which training images (and which generated ones, where there are too many) are taken.

    Returns:
        dict of "frechet_distance", "precision", "recall", "density", "coverage", "confidence" and, with `labels`,
        "label_accuracy". Each is a dict of "value", "floor" (absent for label accuracy without `test_labels`),
        "standard_error" over draws of the generated images (a jackknife over 10 groups of them), "unit", "samples",
        "reference_samples" and "extractor", plain numbers and strings, ready for JSON. Confidence is the
        share of images to which the classifier gives a class with probability above 0.9.

    Raises:
        TypeError: `extractor` has no features, or labels or `k` are not integers.
        ValueError: an array does not fit the extractor or has at most k images, labels do not fit their images, or
            `k` < 1.

    Reference:
        Heusel et al., 2017, arXiv 1706.08500; Kynkäänniemi et al., 2019, arXiv 1904.06991; Naeem et al., 2020,
        arXiv 2002.09797.
    """
    extractor = load_extractor(extractor)
    if not (labels is None and test_labels is None) and not isinstance(extractor, FrozenClassifier):
        raise TypeError("`labels` and `test_labels` can only be checked by a `FrozenClassifier` as `extractor`.")
    check_neighbours(k)
    generated, train, test = (keras.ops.convert_to_numpy(images) for images in (generated, train, test))
    for images, argument in ((generated, "generated"), (train, "train"), (test, "test")):
        if len(images) <= k:
            raise ValueError(f"`{argument}` must have more than k = {k} images, received {len(images)}.")
    labels = _check_labels(labels, "labels", generated, extractor)
    test_labels = _check_labels(test_labels, "test_labels", test, extractor)

    test_features, test_probabilities = _extract(extractor, test, "test")
    features, probabilities = _extract(extractor, generated, "generated")
    samples = min(len(generated), len(train))
    random = np.random.default_rng(seed)
    train_features, _ = _extract(extractor, train[_subset(random, len(train), samples)], "train")
    features = features[_subset(random, len(features), samples)]

    name = getattr(extractor, "name", type(extractor).__name__)

    def entry(value, floor, error, unit, count=samples, **more):
        counts = {"samples": int(count), "reference_samples": len(test), "extractor": name}
        return {
            "value": float(value),
            "floor": float(floor),
            "standard_error": float(error),
            "unit": unit,
            **more,
            **counts,
        }

    radii = squared_radii(test_features, k)[0]
    values, errors = _figures(test_features, features, k, radii, _groups(len(features), k))
    floors, _ = _figures(test_features, train_features, k, radii)
    report = {"frechet_distance": entry(values[0], floors[0], errors[0], "squared feature units")}
    for index, (figure, unit) in enumerate(
        [("precision", "fraction"), ("recall", "fraction"), ("density", "ratio"), ("coverage", "fraction")], start=1
    ):
        report[figure] = entry(values[index], floors[index], errors[index], unit, k=int(k))
    if probabilities is not None:
        sure, test_sure = (np.mean(p.max(axis=1) > _SURE) for p in (probabilities, test_probabilities))
        error = _error_of_share(sure, len(generated))
        report["confidence"] = entry(sure, test_sure, error, f"fraction above {_SURE}", len(generated))
    if labels is not None:
        accuracy = np.mean(probabilities.argmax(axis=1) == labels)
        floor = np.nan if test_labels is None else np.mean(test_probabilities.argmax(axis=1) == test_labels)
        error = _error_of_share(accuracy, len(generated))
        report["label_accuracy"] = entry(accuracy, floor, error, "fraction", len(generated))
        if test_labels is None:
            del report["label_accuracy"]["floor"]
    return report


def per_class(function, real, generated, real_labels, labels):
    """A metric within each class, for models that are told the class.

    Args:
        function: metric of two arrays of rows, such as `frechet_distance`.
        real: float array (N, D), features.
        generated: float array (M, D), features.
        real_labels: int array (N,).
        labels: int array (M,), what the samples were generated for.

    Returns:
        dict from each class of `labels` to the metric between its real and its generated rows.

    Raises:
        ValueError: labels do not fit their rows, or a class of `labels` has no real rows.
    """
    real, generated, real_labels, labels = (np.asarray(a) for a in (real, generated, real_labels, labels))
    for given, rows, argument in ((real_labels, real, "real_labels"), (labels, generated, "labels")):
        if given.shape != (len(rows),):
            raise ValueError(f"`{argument}` must have shape ({len(rows)},), one per row, received {given.shape}.")
    absent = sorted(set(labels.tolist()) - set(real_labels.tolist()))
    if absent:
        raise ValueError(f"`real_labels` must have every class of `labels`, received none of {absent}.")
    return {c: function(real[real_labels == c], generated[labels == c]) for c in sorted(set(labels.tolist()))}


def _groups(count, k):
    """Tenths of so many rows, for the jackknife; none where there are too few."""
    groups = np.array_split(np.random.default_rng(0).permutation(count), _GROUPS)
    return [] if count - len(groups[0]) <= k or len(groups[-1]) == 0 else groups


def _error_of_share(share, count):
    return np.sqrt(share * (1.0 - share) / count)


def _figures(real, generated, k, radii, groups=()):
    """The five figures, and their standard errors over draws of ``generated``: each group is left out in turn. NaN without groups."""
    distances = [frechet_distance(real, np.delete(generated, group, axis=0)) for group in ([], *groups)]
    figures = np.column_stack([distances, neighbour_figures(real, generated, k, groups, radii)])
    without = figures[1:]
    if not len(without):
        return figures[0], np.full(5, np.nan)
    return figures[0], np.sqrt((_GROUPS - 1) * np.mean((without - without.mean(0)) ** 2, axis=0))


def _subset(random, count, size):
    """Rows to take, in their own order; all of them where none is to be left out."""
    return slice(None) if size == count else np.sort(random.choice(count, size, replace=False))


def _extract(extractor, images, argument):
    try:
        if has_probabilities(extractor):
            return extractor(images)
        return keras.ops.convert_to_numpy(extractor.features(images)), None
    except (TypeError, ValueError) as error:
        raise type(error)(f"`{argument}` does not suit the extractor: {error}") from error


def _check_labels(labels, argument, images, extractor):
    if labels is None:
        return None
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"`{argument}` must be integers, received dtype {labels.dtype}.")
    if labels.shape != (len(images),):
        raise ValueError(f"`{argument}` must have shape ({len(images)},), one per image, received {labels.shape}.")
    if labels.size and not 0 <= labels.min() <= labels.max() < extractor.num_classes:
        raise ValueError(
            f"`{argument}` must lie in 0..{extractor.num_classes - 1}, the classes of the {extractor.name}, "
            f"received {labels.min()} to {labels.max()}."
        )
    return labels
