import re

import numpy as np
import pytest
from keras import ops

from kgen.core import checks


def says(text):
    return pytest.raises(ValueError, match=re.escape(text))


def test_as_array_sees_data_in_memory_alone():
    assert checks.as_array(None) is None
    assert checks.as_array(x for x in range(3)) is None
    assert checks.as_array({"x": np.ones(3)}) is None
    for x in ([1.0, 2.0], (1.0, 2.0), np.array([1.0, 2.0]), ops.convert_to_tensor([1.0, 2.0])):
        array = checks.as_array(x)
        assert isinstance(array, np.ndarray) and array.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("value", [0, -3, 2.0, "4", None, True, float("nan")])
def test_positive_int(value):
    assert checks.positive_int("n", np.int64(3)) == 3 and type(checks.positive_int("n", np.int64(3))) is int
    with says(f"n: expected an integer of at least 1, received {value!r}."):
        checks.positive_int("n", value)


@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan"), "0.5", None, True])
def test_in_range(value):
    assert checks.in_range("rate", 0, 0.0, 1.0) == 0.0 and checks.in_range("rate", np.float32(1), 0.0, 1.0) == 1.0
    with says(f"rate: expected a number in [0, 1], received {value!r}."):
        checks.in_range("rate", value, 0.0, 1.0)


def test_one_of_suggests_the_nearest():
    assert checks.one_of("schedule", "cosine", ["linear", "cosine"]) == "cosine"
    with says("schedule: expected one of 'linear', 'cosine', received 'cosin'. Did you mean 'cosine'?"):
        checks.one_of("schedule", "cosin", ["linear", "cosine"])
    with pytest.raises(ValueError, match=r"size: expected one of 1, 2, received 7\.$"):
        checks.one_of("size", 7, [1, 2])


def test_a_shape_is_some_integers():
    assert checks.shape("shape", [28, np.int64(28), 1]) == (28, 28, 1)
    for value in (2, "28", None):
        with pytest.raises(
            TypeError, match=r"shape: expected the shape of one example, such as \(2,\) or \(28, 28, 1\), received"
        ):
            checks.shape("shape", value)
    with pytest.raises(ValueError, match="shape: expected an integer of at least 1, received 0"):
        checks.shape("shape", (2, 0))


def test_finite_counts_the_rows():
    x = np.zeros((5, 2, 2), "float32")
    checks.finite("x", x)
    checks.finite("x", np.zeros(3, "int32"))
    x[1, 0, 0], x[3, 1, 1], x[3, 0, 0] = np.nan, np.inf, -np.inf
    with says("x: expected finite numbers, received NaN or infinity in 2 of 5 rows (first: row 1). Remove or repair"):
        checks.finite("x", x)


@pytest.mark.parametrize(
    ("shape", "wanted", "message"),
    [
        (
            (4,),
            (4,),
            "x: expected shape (N, 4), received (4,). For a single example, add the batch dimension: x[None].",
        ),
        ((3, 5), (4,), "x: expected shape (N, 4), received (3, 5)."),
        ((3, 8, 8), (8, 8, 1), "received (3, 8, 8). Grey images need a channel axis: x[..., None]."),
        ((2, 3, 8, 8), (8, 8, 3), "received (2, 3, 8, 8). kgen's images are channels last: np.moveaxis(x, 1, -1)."),
        ((2, 8), (None, 3), "x: expected shape (N, any, 3), received (2, 8)."),
        ((0, 4), (4,), "x: expected at least one row, received shape (0, 4)."),
    ],
)
def test_rows_says_what_is_wrong_with_a_shape(shape, wanted, message):
    with says(message):
        checks.rows("x", np.zeros(shape, "float32"), wanted)


def test_rows_takes_floats_alone():
    checks.rows("x", np.zeros((2, 7, 3), "float16"), (None, 3))
    with says("x: expected floats, received uint8. Convert pixels in 0..255 by x.astype('float32') / 127.5 - 1"):
        checks.rows("x", np.zeros((2, 3), "uint8"), (3,))
    with says("x: expected floats, received int64. Convert it by x.astype('float32')."):
        checks.rows("x", np.zeros((2, 3), "int64"), (3,))
    with says("x: expected finite numbers"):
        checks.rows("x", np.full((2, 3), np.nan), (3,))


def test_images_are_in_their_range():
    checks.images("x", np.array([-1.0, 1.0], "float32").reshape(1, 1, 2, 1), (1, 2, 1))
    with says("x: expected values in [-1, 1], received [0, 255]. Convert pixels in 0..255 by"):
        checks.images("x", np.array([0.0, 255.0], "float32").reshape(1, 1, 2, 1), (1, 2, 1))
    with says("x: expected shape (N, 1, 2, 1), received (1, 2, 1). For a single example"):
        checks.images("x", np.zeros((1, 2, 1), "float32"), (1, 2, 1))


def test_labels_become_int32():
    for y in (np.array([0, 2, 1]), np.array([0.0, 2.0, 1.0]), np.array([[0], [2], [1]], "uint8")):
        out = checks.labels("y", y, 3, n=3)
        assert out.dtype == np.int32 and out.tolist() == [0, 2, 1]


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (
            np.eye(3),
            "y: expected integer labels of shape (N,), received shape (3, 3). One-hot labels become integers by",
        ),
        (np.zeros((2, 2, 2)), "y: expected integer labels of shape (N,), received shape (2, 2, 2)."),
        (np.zeros(2, "int32"), "y: expected 3 labels, one per row, received 2."),
        (np.array([0.5, 1, 2]), "y: expected integers in [0, 3), received float64 with fractions or NaN."),
        (np.array([np.nan, 1, 2]), "y: expected integers in [0, 3), received float64 with fractions or NaN."),
        (np.array([0, 1, 3]), "y: expected integers in [0, 3), received values from 0 to 3."),
        (np.array([-1, 1, 2]), "y: expected integers in [0, 3), received values from -1 to 2."),
    ],
)
def test_labels_says_what_is_wrong(y, message):
    with says(message):
        checks.labels("y", y, 3, n=3)
