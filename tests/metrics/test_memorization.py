"""A model that copies its data is caught, one that does not is not."""

import itertools

import numpy as np
import pytest
from PIL import Image

import kgen
from kgen.metrics import membership_auc, memorization_report, nearest_neighbours, save_nearest_pairs


def normal(n, seed, d=4):
    return np.random.default_rng(seed).normal(size=(n, d))


def test_nearest_neighbours_by_hand():
    data = np.array([[0.0, 0.0], [3.0, 4.0], [10.0, 0.0]])
    indices, distances = nearest_neighbours([[0.0, 1.0], [3.0, 5.0], [9.0, 0.0]], data)
    np.testing.assert_array_equal(indices, [0, 1, 2])
    np.testing.assert_allclose(distances, 1.0)


def test_copies_are_caught_and_fresh_samples_are_not():
    train, test = normal(500, 0), normal(600, 1)
    fresh = memorization_report(normal(1000, 2), train, test)
    assert abs(fresh["nearer_to_train"]["value"] - 0.5) < 0.05
    assert fresh["copies"]["value"] < 0.03 and fresh["duplicates"]["value"] < 0.1
    rng = np.random.default_rng(3)
    copied = memorization_report(train[rng.integers(0, 500, 1000)] + 1e-3 * normal(1000, 4), train, test)
    assert copied["nearer_to_train"]["value"] > 0.95 and copied["copies"]["value"] > 0.95
    assert copied["duplicates"]["value"] > 0.5 and copied["duplicates"]["floor"] < 0.05
    binary = [(x > 0).astype(float) for x in (train, test)]  # where many are equal
    same = memorization_report(binary[0], *binary)["copies"]
    assert same["value"] == 1.0 and same["floor"] > 0.9
    half = np.concatenate([normal(500, 5), train[:500]])
    assert memorization_report(half, train, test)["copies"]["value"] == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("rows", [30, 359])
def test_copies_of_any_training_rows_are_caught_with_few_test_rows(rows):
    train, test = normal(1400, 0), normal(rows, 1)
    copied = memorization_report(train[400:], train, test)
    assert copied["copies"]["value"] == 1.0 and copied["copies"]["floor"] < 0.05
    fresh = memorization_report(normal(1000, 2), train, test)
    for name in ("nearer_to_train", "copies", "duplicates"):
        entry = fresh[name]
        error = np.hypot(entry["standard_error"], entry["floor_standard_error"])
        assert 0 < error < 0.1 and abs(entry["value"] - entry["floor"]) < 3.5 * error, (name, entry)
    # Where subsets hold many of the originals, copies are nearer to the training data too, by far more than the error.
    entry = copied["nearer_to_train"]
    assert rows == 30 or entry["value"] - 0.5 > 3 * entry["standard_error"]


def test_the_order_of_rows_says_nothing():
    train, test = normal(900, 0), normal(200, 1)
    report = memorization_report(normal(400, 2), train, test)["nearer_to_train"]
    for key in (0, 1):
        inorder = train[np.argsort(train[:, key])]
        again = memorization_report(normal(400, 2), inorder, test)["nearer_to_train"]
        assert again["value"] == pytest.approx(report["value"], abs=1e-9)
    assert abs(report["value"] - 0.5) < 3 * report["standard_error"]


def test_the_share_is_the_mean_over_all_subsets_of_the_larger_set():
    samples, many, few = normal(20, 0), np.round(normal(9, 1), 1), np.round(normal(5, 2), 1)
    samples, many[3] = np.round(samples, 1), few[1]  # with ties
    far = [np.linalg.norm(samples[:, None] - x, axis=-1) for x in (many, few)]
    shares = []
    for rows in itertools.combinations(range(9), 5):
        a, b = far[0][:, rows].min(1), far[1].min(1)
        shares.append(np.mean(a < b) + 0.5 * np.mean(a == b))
    assert memorization_report(samples, many, few)["nearer_to_train"]["value"] == pytest.approx(np.mean(shares))
    assert memorization_report(samples, few, many)["nearer_to_train"]["value"] == pytest.approx(1 - np.mean(shares))


def test_standard_errors_are_those_of_new_draws():
    reports = [
        memorization_report(*(normal(n, 3 * run + part) for part, n in enumerate((150, 200, 80)))) for run in range(40)
    ]
    for name in ("nearer_to_train", "duplicates"):
        scatter = np.std([r[name]["value"] for r in reports], ddof=1)
        claimed = np.mean([r[name]["standard_error"] for r in reports])
        assert scatter / 1.5 < claimed < 1.7 * scatter, (name, scatter, claimed)
    # Of copies the error of the floor counts too: it sets the distance.
    scatter = np.std([r["copies"]["value"] for r in reports], ddof=1)
    claimed = np.mean([np.hypot(r["copies"]["standard_error"], r["copies"]["floor_standard_error"]) for r in reports])
    assert scatter / 1.7 < claimed < 1.7 * scatter


def test_membership_of_likelihoods_and_of_distances():
    auc, p = membership_auc(normal(2000, 0, 1)[:, 0] + 1.0, normal(2000, 1, 1)[:, 0])
    assert auc == pytest.approx(0.7602, abs=0.03) and p < 1e-6  # Phi(1 / sqrt 2)
    auc, p = membership_auc(normal(2000, 0, 1)[:, 0], normal(2000, 1, 1)[:, 0])
    assert abs(auc - 0.5) < 0.03 and p > 1e-3
    train, test = normal(300, 2), normal(300, 3)
    for samples, low, high in ((train[:200], 0.75, 1.0), (normal(200, 4), 0.4, 0.6)):
        scores = [-nearest_neighbours(x, samples)[1] for x in (train, test)]
        assert low < membership_auc(*scores)[0] < high


def test_digits_that_are_not_copied():
    train, test = (kgen.data.load("digits", split=s)[0] for s in ("train", "test"))
    report = memorization_report(test[:150], train, test[150:])
    assert report["copies"]["value"] < 0.05


def test_wrong_arguments():
    x = normal(5, 0)
    for call, message in (
        (lambda: nearest_neighbours(x, x[:, :2]), "samples, data: expected rows of one size, received 4 and 2"),
        (lambda: nearest_neighbours(x[0], x), r"samples: expected an array \(N, ...\)"),
        (
            lambda: nearest_neighbours(x * np.nan, x),
            "`samples` must be finite, received NaN or infinity in 5 of 5 rows",
        ),
        (lambda: memorization_report(x, x[:1], x), "expected at least 2 rows each, received 5, 1, 5"),
        (lambda: membership_auc(x, x[:, 0]), r"members: expected one number for each example, \(N,\)"),
        (lambda: membership_auc([], [1.0]), "members: expected one number"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_pixels_beside_floats_are_refused():
    pixels, images = np.zeros((4, 2, 2, 1), "uint8"), np.zeros((4, 2, 2, 1), "float32")
    with pytest.raises(
        TypeError, match="samples, data: expected all of them in the same units, received float32, uint8"
    ):
        nearest_neighbours(images, pixels)
    with pytest.raises(TypeError, match=r"Convert pixels in 0..255 by kgen.data.from_uint8\(x\)"):
        memorization_report(pixels, images, images)


def test_the_nearest_pairs_as_a_picture(tmp_path):
    random = np.random.default_rng(0)
    data = random.uniform(-1, 1, (20, 32, 32, 1))
    samples = random.uniform(-1, 1, (6, 32, 32, 1))
    samples[4] = data[7]
    rows, indices, distances = save_nearest_pairs(samples, data, tmp_path / "pairs.png", n=3)
    assert (rows[0], indices[0], distances[0]) == (4, 7, 0.0) and len(rows) == 3 and (np.diff(distances) >= 0).all()
    sheet = np.asarray(Image.open(tmp_path / "pairs.png"))
    assert sheet.shape == (2 * 33 - 1, 3 * 33 - 1)
    np.testing.assert_array_equal(sheet[:32, :32], sheet[33:, :32])  # the copy above its original
    by_brightness = save_nearest_pairs(samples, data, tmp_path / "b.png", features=lambda x: x.mean((1, 2)))
    assert by_brightness[2][0] == 0.0 and len(by_brightness[0]) == 6
