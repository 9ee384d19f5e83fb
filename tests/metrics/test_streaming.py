import numpy as np
import pytest

import kgen
from kgen import metrics
from kgen.metrics import FrechetDistance, frechet_distance


def sets():
    random = np.random.default_rng(0)
    mixing = random.normal(size=(8, 8))
    real = random.normal(size=(300, 8)) @ mixing + 5.0
    generated = 1.2 * random.normal(size=(211, 8)) @ mixing + 4.5
    return real, generated


@pytest.mark.parametrize("size", [1, 7, 64, 300])
def test_any_chunking_gives_the_distance_of_the_whole(size):
    real, generated = sets()
    distance = FrechetDistance()
    for start in range(0, 300, size):
        distance.update_real(real[start : start + size])
    for start in range(0, 211, size):
        if start < len(generated):
            distance.update_generated(generated[start : start + size])
    assert (distance.real_samples, distance.generated_samples) == (300, 211)
    assert distance.result() == pytest.approx(frechet_distance(real, generated), rel=1e-9)


def test_a_mean_far_from_zero_loses_no_digits():
    # A running sum of outer products would lose 12 of 16 digits here.
    real, generated = sets()
    distance = FrechetDistance()
    for start in range(0, 300, 10):
        distance.update_real(real[start : start + 10] + 1e6)
        if start < len(generated):
            distance.update_generated(generated[start : start + 10] + 1e6)
    assert distance.result() == pytest.approx(frechet_distance(real, generated), rel=1e-8)


def test_memory_does_not_grow_with_the_samples():
    def numbers_held(samples):
        distance = FrechetDistance()
        random = np.random.default_rng(0)
        for _ in range(samples // 100):
            distance.update_real(random.normal(size=(100, 16)))
        side = vars(distance._real)
        return sum(np.size(value) for value in side.values())

    assert numbers_held(5000) == numbers_held(500) < 16 * 16 + 16 + 10


def test_the_features_given_are_not_changed_or_kept():
    x = np.random.default_rng(0).normal(size=(50, 4))
    copy = x.copy()
    distance = FrechetDistance()
    distance.update_real(x)
    distance.update_generated(x)
    distance.update_real(x + 1.0)
    np.testing.assert_array_equal(x, copy)
    result = distance.result()
    x[:] = 0.0
    assert distance.result() == result


def test_reset_forgets_both_sides_and_reset_generated_one():
    real, generated = sets()
    distance = FrechetDistance()
    distance.update_real(real)
    distance.update_generated(real + 10.0)
    distance.reset_generated()
    assert (distance.real_samples, distance.generated_samples) == (300, 0)
    distance.update_generated(generated)
    assert distance.result() == pytest.approx(frechet_distance(real, generated), rel=1e-12)
    distance.reset_state()
    assert (distance.real_samples, distance.generated_samples) == (0, 0)
    distance.update_real(np.zeros((2, 3)))  # Another width: nothing of the old features is left.


def test_errors_name_what_is_missing_or_wrong():
    x = np.zeros((4, 3))
    distance = FrechetDistance()
    distance.update_real(x)
    with pytest.raises(ValueError, match=r"at least 2 generated samples .* received 0: call `update_generated"):
        distance.result()
    distance.update_generated(x[:1])
    with pytest.raises(ValueError, match="at least 2 generated samples for a covariance, received 1"):
        distance.result()
    with pytest.raises(ValueError, match="must have the 3 columns of the features added before, received 2"):
        distance.update_generated(x[:, :2])
    with pytest.raises(ValueError, match=r"`features` must have shape \(samples, features\), received \(3,\)"):
        distance.update_real(x[0])
    with pytest.raises(ValueError, match="`features` must have at least 1 rows, received 0"):
        distance.update_real(x[:0])
    with pytest.raises(ValueError, match="`features` must be finite"):
        distance.update_real(np.full((2, 3), np.inf))


RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(-1, 1, (40, 12, 12, 1))
NEAR = np.clip(IMAGES + 0.1 * RNG.normal(size=IMAGES.shape), -1, 1)


@pytest.mark.parametrize(
    ("metric", "function", "names"),
    [
        (metrics.KernelDistance(subsets=3, subset_size=50), "kernel_distance", 2),
        (metrics.PrecisionRecall(k=2), "precision_recall", 2),
        (metrics.DensityCoverage(), "density_coverage", 2),
        (metrics.ClassifierTwoSampleTest(seed=1), "classifier_two_sample_test", 2),
        (metrics.SlicedWassersteinDistance(), "sliced_wasserstein_distance", 1),
        (metrics.MaximumMeanDiscrepancy(), "maximum_mean_discrepancy", 1),
        (metrics.FrechetDistance(), "frechet_distance", 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, metrics.Metric) else str(value),
)
def test_in_batches_as_at_once(metric, function, names):
    real, generated = sets()
    metric.update_state(real, generated[:100])
    metric.update_state(generated=generated[100:])
    expected = getattr(metrics, function)(real, generated, **metric.options)
    assert metric.result() == pytest.approx(expected, rel=1e-9)
    figures = metric.figures()
    assert len(figures) == names and list(figures.values()) == pytest.approx(list(np.atleast_1d(expected)), rel=1e-9)
    metric.reset_generated()
    metric.update_state(generated=real)
    assert metric.result() != pytest.approx(expected, rel=1e-3)
    metric.reset_state()
    with pytest.raises(ValueError, match="real samples"):
        metric.result()


def test_scores_without_a_real_side():
    modes = np.array([[0.0, 0.0], [4.0, 0.0]])
    coverage = metrics.ModeCoverage(modes, 0.1)
    coverage.update_state(generated=np.zeros((5, 2)))
    coverage.update_state(generated=np.full((5, 2), [4.0, 0.1]))
    assert coverage.figures() == {"modes": 2.0, "share": 1.0, "reverse_kl": 0.0}
    score = metrics.InceptionScore(splits=1)
    score.update_state(generated=np.eye(3))
    score.update_state(generated=np.eye(3))
    assert score.result() == pytest.approx((3.0, 0.0))


def test_extractors_take_images():
    x, _ = kgen.data.load("digits", split="test")
    frechet, score = FrechetDistance(extractor="digits"), metrics.InceptionScore(extractor="digits", splits=2)
    classifier = metrics.load_classifier("digits")
    frechet.update_state(x[:150], x[150:])
    score.update_state(generated=x)
    features = classifier.features(x)
    assert frechet.result() == pytest.approx(frechet_distance(features[:150], features[150:]), rel=1e-6)
    assert score.result() == pytest.approx(metrics.inception_score(classifier.probabilities(x), splits=2), rel=1e-6)
    flat = metrics.SlicedWassersteinDistance(extractor=lambda images: images.reshape(len(images), -1))
    flat.update_state(x[:100], x[100:200])
    assert flat.result() > 0
    with pytest.raises(
        TypeError, match="extractor: expected a classifier, such as 'digits' or 'inception', received flat"
    ):
        metrics.InceptionScore(extractor=flat_images)


def flat_images(images):
    return images.reshape(len(images), -1)


def test_means_over_pairs_have_a_standard_error():
    for metric, function in (
        (metrics.PeakSignalToNoiseRatio(), metrics.peak_signal_to_noise_ratio),
        (metrics.StructuralSimilarity(), metrics.structural_similarity),
        (metrics.ReconstructionError(), metrics.reconstruction_error),
    ):
        metric.update_state(IMAGES[:7], NEAR[:7])
        metric.update_state(IMAGES[7:], NEAR[7:])
        values = function(IMAGES, NEAR)
        assert metric.result() == pytest.approx((values.mean(), values.std(ddof=1) / 40**0.5))
        with pytest.raises(ValueError, match="expected pairs, real= and generated= together"):
            metric.update_state(IMAGES)
    assert metric.figures() == {"reconstruction_error": pytest.approx(np.mean((IMAGES - NEAR) ** 2))}


def test_wrong_batches_are_named():
    metric = metrics.KernelDistance()
    with pytest.raises(ValueError, match="expected real=, generated= or both, received neither"):
        metric.update_state()
    metric.update_state(real=np.zeros((3, 4)))
    with pytest.raises(ValueError, match="generated: expected the 4 columns of the features added before, received 5"):
        metric.update_state(real=np.ones((3, 4)), generated=np.zeros((3, 5)))
    metric.update_state(generated=np.zeros((3, 4)))
    assert metric.result() == metrics.kernel_distance(
        np.zeros((3, 4)), np.zeros((3, 4))
    )  # the refused rows are not in it
    metric.reset_generated()
    with pytest.raises(ValueError, match="`generated` must be finite"):
        metric.update_state(generated=np.full((3, 4), np.nan))
    with pytest.raises(ValueError, match="KernelDistance: expected generated samples; call update_state"):
        metric.result()


def test_a_large_distance_needs_little_memory(tmp_path):
    """Blocks of rows: reading float32 features from a file costs no copy of them all."""
    import tracemalloc

    rows = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", "float32", (60000, 64))
    rows[:] = np.random.default_rng(0).normal(size=(60000, 64))
    tracemalloc.start()
    assert frechet_distance(rows, rows[:30000]) < 0.1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 4096 * 64 * 8  # of a float64 copy it would be 30.7 MB
