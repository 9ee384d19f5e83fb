import numpy as np
import pytest

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
