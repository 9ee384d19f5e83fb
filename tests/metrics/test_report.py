import json

import numpy as np
import pytest

import kgen
from kgen.metrics import (
    density_coverage,
    fidelity_report,
    frechet_distance,
    load_classifier,
    per_class,
    precision_recall,
)


class MeanOfQuadrants:
    """A feature extractor of four numbers that is no classifier."""

    name = "quadrant means"

    def features(self, x):
        return x.reshape(len(x), 2, 4, 2, 4).mean(axis=(2, 4)).reshape(len(x), 4)


@pytest.fixture(scope="module")
def digits():
    return kgen.data.load("digits", split="train"), kgen.data.load("digits", split="test")


@pytest.fixture(scope="module")
def classifier():
    return load_classifier("digits")


def test_the_report_of_noise_is_far_below_its_floor(digits, classifier):
    (train, _), (test, test_labels) = digits
    noise = np.random.default_rng(0).uniform(-1, 1, (150, 8, 8, 1)).astype("float32")
    labels = np.arange(150) % 10
    report = fidelity_report(
        noise, train=train, test=test, extractor=classifier, labels=labels, test_labels=test_labels
    )
    assert json.loads(json.dumps(report)) == report
    names = ["frechet_distance", "precision", "recall", "density", "coverage", "confidence", "label_accuracy"]
    assert list(report) == names
    for entry in report.values():
        assert type(entry["value"]) is float and type(entry["floor"]) is float
        assert (entry["samples"], entry["reference_samples"]) == (150, 359)
        assert entry["extractor"] == "digits classifier"
    assert report["frechet_distance"]["value"] > 5.0 * report["frechet_distance"]["floor"]
    for name in ("precision", "density", "coverage", "confidence", "label_accuracy"):
        assert report[name]["value"] < 0.7 * report[name]["floor"], name
    assert report["label_accuracy"]["floor"] >= 0.985


def test_values_and_floors_are_the_metrics_against_the_test_data(digits):
    (train, _), (test, _) = digits
    generated = np.clip(test + 0.2, -1, 1)
    extractor = MeanOfQuadrants()
    report = fidelity_report(generated, train=train, test=test, extractor=extractor, k=4, seed=3)
    assert list(report) == ["frechet_distance", "precision", "recall", "density", "coverage"]
    rows = np.sort(np.random.default_rng(3).choice(len(train), len(generated), replace=False))
    real = extractor.features(test)
    for key, images in (("value", generated), ("floor", train[rows])):
        features = extractor.features(images)
        assert report["frechet_distance"][key] == frechet_distance(real, features)
        assert (report["precision"][key], report["recall"][key]) == precision_recall(real, features, k=4)
        assert (report["density"][key], report["coverage"][key]) == density_coverage(real, features, k=4)
    assert report["precision"]["k"] == 4


def test_copied_training_images_earn_the_floor_and_no_more(digits):
    (train, _), (test, _) = digits
    report = fidelity_report(train, train=train, test=test, extractor=MeanOfQuadrants())
    for entry in report.values():
        assert entry["value"] == entry["floor"]


def test_more_samples_than_training_images_are_cut_to_their_number(digits, classifier):
    (train, _), (test, _) = digits
    generated = np.concatenate([test, test])
    report = fidelity_report(generated, train=train[:200], test=test, extractor=classifier)
    assert report["frechet_distance"]["samples"] == report["coverage"]["samples"] == 200
    assert report["confidence"]["samples"] == 718
    assert report["confidence"]["value"] == report["confidence"]["floor"] > 0.9


def test_a_seed_decides_the_floor(digits):
    (train, _), (test, _) = digits
    arguments = {"train": train, "test": test, "extractor": MeanOfQuadrants()}
    first, again, other = (fidelity_report(test[:100], seed=seed, **arguments) for seed in (0, 0, 1))
    assert first == again
    assert first["frechet_distance"]["floor"] != other["frechet_distance"]["floor"]
    assert first["frechet_distance"]["value"] == other["frechet_distance"]["value"]


def test_label_accuracy_without_test_labels_has_no_floor(digits, classifier):
    (train, _), (test, test_labels) = digits
    report = fidelity_report(test, train=train, test=test, extractor=classifier, labels=test_labels)
    assert report["label_accuracy"]["value"] >= 0.985
    assert "floor" not in report["label_accuracy"]
    assert "NaN" not in json.dumps(report)


def test_wrong_arguments_are_named(digits, classifier):
    (train, _), (test, _) = digits
    good = {"train": train, "test": test, "extractor": classifier}
    with pytest.raises(TypeError, match="`name` must be a classifier's name or the path of a .keras file, received 3"):
        fidelity_report(test, **{**good, "extractor": 3})
    with pytest.raises(ValueError, match="No classifier is named 'digit'; nearest: digits"):
        fidelity_report(test, **{**good, "extractor": "digit"})
    with pytest.raises(ValueError, match="`generated` must have more than k = 5 images, received 5"):
        fidelity_report(test[:5], **good)
    with pytest.raises(ValueError, match="`test` must have more than k = 5 images, received 3"):
        fidelity_report(test, **{**good, "test": test[:3]})
    with pytest.raises(ValueError, match=r"`generated` does not suit the extractor: `x` must lie in \[-1, 1\]"):
        fidelity_report(3.0 * test, **good)
    with pytest.raises(TypeError, match=r"`generated` does not suit the extractor: .*received dtype uint8"):
        fidelity_report(np.zeros((9, 8, 8, 1), np.uint8), **good)
    with pytest.raises(TypeError, match="`labels` must be integers, received dtype float64"):
        fidelity_report(test, labels=np.zeros(len(test)), **good)
    with pytest.raises(ValueError, match=r"`labels` must have shape \(359,\), one per image, received \(3,\)"):
        fidelity_report(test, labels=np.zeros(3, int), **good)
    with pytest.raises(
        ValueError, match=r"`test_labels` must lie in 0\.\.9, the classes of the digits classifier, rec"
    ):
        fidelity_report(test, test_labels=np.full(len(test), 10), **good)
    with pytest.raises(TypeError, match="`labels` and `test_labels` can only be checked by a `FrozenClassifier`"):
        fidelity_report(test, labels=np.zeros(len(test), int), **{**good, "extractor": MeanOfQuadrants()})


def test_standard_errors_are_those_of_draws(digits):
    (train, _), (test, _) = digits
    random, runs = np.random.default_rng(0), []
    for _ in range(30):  # their scatter is known within 13 %
        drawn = train[random.choice(len(train), 200, replace=False)]
        runs.append(fidelity_report(drawn, train=train, test=test, extractor=MeanOfQuadrants()))
    for name in runs[0]:
        scatter = np.std([run[name]["value"] for run in runs], ddof=1)
        claimed = np.mean([run[name]["standard_error"] for run in runs])
        # Of recall and coverage, which are shares of what any sample reaches, leaving samples out says a third too much.
        most = 1.8 if name in ("recall", "coverage") else 1.35
        assert scatter / 1.35 < claimed < most * scatter, (name, scatter, claimed)


def test_figures_of_each_class():
    real, generated = np.arange(12.0).reshape(6, 2), np.ones((4, 2))
    labels = np.array([0, 0, 2, 2])
    found = per_class(lambda a, b: (len(a), len(b), float(a[0, 0])), real, generated, [0, 1, 2, 0, 1, 2], labels)
    assert found == {0: (2, 2, 0.0), 2: (2, 2, 4.0)}
    with pytest.raises(ValueError, match=r"`real_labels` must have every class of `labels`, received none of \[2\]"):
        per_class(frechet_distance, real, generated, np.zeros(6, int), labels)
    with pytest.raises(ValueError, match=r"`labels` must have shape \(4,\), one per row, received \(1,\)"):
        per_class(frechet_distance, real, generated, np.zeros(6, int), [0])
