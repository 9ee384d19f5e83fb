"""Binarisation: two values, the right means, and what is drawn again and when."""

import numpy as np
import pytest

from kgen.data import binarize, dynamic_binarization

X = np.linspace(-1, 1, 64, dtype="float32").reshape(4, 4, 4, 1)


def test_by_a_threshold():
    np.testing.assert_array_equal(binarize(X), np.where(X > 0, 1, -1))
    np.testing.assert_array_equal(binarize(X, threshold=0.5), np.where(X > 0.5, 1, -1))
    np.testing.assert_array_equal(binarize(np.zeros((1, 2), "float32")), -np.ones((1, 2)))
    assert binarize(X).dtype == np.float32


def test_by_chance_has_the_mean_of_the_image():
    many = binarize(np.repeat(X[:1], 20_000, axis=0), seed=3)
    assert set(np.unique(many)) == {-1.0, 1.0}
    np.testing.assert_allclose(many.mean(0), X[0], atol=4 / 20_000**0.5)
    np.testing.assert_array_equal(binarize(X, seed=3), binarize(X, seed=3))
    assert (binarize(X, seed=3) != binarize(X, seed=4)).any()
    np.testing.assert_array_equal(binarize(np.array([[-1.0, 1.0]]), seed=0), [[-1.0, 1.0]])  # black and white stay


def test_dynamically_each_epoch_draws_anew():
    x = np.repeat(np.linspace(-0.9, 0.9, 10, dtype="float32")[:, None], 8, axis=1)
    y = np.arange(10)
    data = dynamic_binarization(x, y, batch_size=4, seed=1)
    assert len(data) == 3 and [len(data[i][0]) for i in range(3)] == [4, 4, 2]
    np.testing.assert_array_equal(data[0][0], data[0][0])  # within an epoch a batch is what it is
    sums, counts = np.zeros(10), 0
    previous = None
    for _ in range(400):
        batches = [data[i] for i in range(3)]
        rows = np.concatenate([b[1] for b in batches])
        assert sorted(rows) == list(range(10))
        images = np.concatenate([b[0] for b in batches])[np.argsort(rows)]
        assert previous is None or (images != previous).any()
        previous = images
        sums += images.mean(1)
        counts += 1
        data.on_epoch_end()
    np.testing.assert_allclose(sums / counts, x[:, 0], atol=4 / (8 * 400) ** 0.5)
    again = dynamic_binarization(x, y, batch_size=4, seed=1)
    again.on_epoch_end()
    other = dynamic_binarization(x, y, batch_size=4, seed=1)
    assert (again[0][0] != other[0][0]).any()
    assert len(dynamic_binarization(x)[0]) == 1  # without labels: x alone


def test_data_to_evaluate_on_stay_the_same():
    x = np.random.default_rng(0).uniform(-1, 1, (10, 8)).astype("float32")
    data = dynamic_binarization(x, batch_size=4, anew=False)
    before = [data[i][0] for i in range(3)]
    data.on_epoch_end()  # as Keras calls it after each evaluation
    for i in range(3):
        np.testing.assert_array_equal(data[i][0], before[i])


@pytest.mark.parametrize("make", [binarize, dynamic_binarization])
@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((2, 2), "uint8"), "expected a float array .N, .... in .-1, 1.*received uint8.*127.5"),
        (np.full((2, 2), 2.0), r"expected values in \[-1, 1\], received \[2, 2\]"),
        (np.full((2, 2), np.nan), r"expected values in \[-1, 1\], received \[nan, nan\]"),
        (np.zeros((0, 2)), r"at least one row, received float64 of shape \(0, 2\)"),
    ],
)
def test_bad_data_is_named(make, x, message):
    with pytest.raises(ValueError, match=message):
        make(x)


def test_bad_labels_are_named():
    with pytest.raises(ValueError, match="y: expected 4 rows, as x has, received 3"):
        dynamic_binarization(X, np.zeros(3))
    with pytest.raises(ValueError, match="batch_size: expected an integer of at least 1, received 0"):
        dynamic_binarization(X, batch_size=0)
