"""Which rows are refused, what the endpoint is given in their place, and how they are marked: every dtype and kind of bound."""

import numpy as np
import pytest

from kgen.core import Endpoint, TensorSpec
from kgen.serving import marking
from kgen.serving.warmup import example_rows

tf = pytest.importorskip("tensorflow")
LOWEST, LARGEST = -(2**31), 2**31 - 1


def accept(spec, value):
    """What stands in the input's place, which rows are valid, and what is said of the others."""
    value = tf.constant(np.asarray(value, spec.dtype))
    found, valid, error = marking.accept(Endpoint("f", None, {"x": spec}, {}), {"x": value})
    return found["x"].numpy(), valid.numpy().tolist(), [text.decode() for text in error.numpy()]


@pytest.mark.parametrize(
    ("dtype", "low", "high", "default", "value", "found", "wanted"),
    [
        ("int32", 2, 5, None, [2, 5, 1, 6], [2, 5, 2, 2], "values in [2, 5]"),
        ("int32", -5, -2, None, [-5, -2, -6, LARGEST], [-5, -2, -2, -2], "values in [-5, -2]"),
        ("int32", None, 3, 1, [LOWEST, 3, 4, LARGEST], [LOWEST, 3, 1, 1], "numbers of at most 3"),
        ("int64", 0, 2**40, None, [0, 2**40, -1, 2**40 + 1], [0, 2**40, 0, 0], "values in [0, 1099511627776]"),
        ("uint8", 1, None, None, [1, 255, 0, 0], [1, 255, 1, 1], "numbers of at least 1"),
        ("float32", 0.0, 0.1, 0.05, [0.1, -0.0, 0.11, np.nan], [0.1, 0.0, 0.05, 0.05], "values in [0.0, 0.1]"),
        ("float32", None, None, None, [3e38, -3e38, np.inf, np.nan], [3e38, -3e38, 0.0, 0.0], "finite numbers"),
        ("float32", 0.5, None, None, [0.5, 3e38, np.inf, -np.inf], [0.5, 3e38, 0.5, 0.5], "numbers of at least 0.5"),
        (
            "float64",
            None,
            1.0,
            None,
            [5e-324, -1e308, 1e308, np.nan],
            [5e-324, -1e308, 0.0, 0.0],
            "numbers of at most 1.0",
        ),
        ("float16", 0.1, 1e6, None, [0.1, 65504, np.inf, 0.09], [0.1, 65504, 0.1, 0.1], "values in [0.1, 1000000.0]"),
    ],
)
def test_bounds(dtype, low, high, default, value, found, wanted):
    got, valid, error = accept(TensorSpec((), dtype, "", low, high, default), value)
    np.testing.assert_array_equal(got, np.asarray(found, dtype))
    assert valid == [True, True, False, False] and error[:2] == ["", ""]
    assert all(text.startswith(f"x: expected {wanted}, received ") for text in error[2:])


@pytest.mark.parametrize(
    ("dtype", "value"), [("bool", [True, False]), ("int32", [LOWEST, LARGEST]), ("uint8", [0, 255])]
)
def test_inputs_of_which_all_values_are_in_range(dtype, value):
    got, valid, error = accept(TensorSpec((), dtype, ""), value)
    assert (got.tolist(), valid, error) == (value, [True, True], ["", ""])
    assert len(np.unique(example_rows(TensorSpec((3,), dtype, ""), "x", 20))) > 1


def test_one_value_of_a_row_is_enough_and_the_first_is_named():
    value = np.zeros((3, 2, 2))
    value[0, 1, 0], value[0, 1, 1] = 7, np.nan
    got, valid, error = accept(TensorSpec((2, 2), "float32", "", -1.0, 1.0), value)
    assert (valid, error) == ([False, True, True], ["x: expected values in [-1.0, 1.0], received 7", "", ""])
    assert not got.any()


def test_marks_of_every_dtype():
    outputs = {
        "float": tf.ones((2, 3)),
        "complex": tf.ones((2,), tf.complex64),
        "int": tf.ones((2, 1), tf.int64),
        "bool": tf.ones((2,), tf.bool),
        "text": tf.constant([b"a", b"b"]),
    }
    found = {name: value.numpy() for name, value in marking.mark(outputs, tf.constant([True, False])).items()}
    assert np.isnan(found["float"][1]).all() and np.isnan(found["complex"][1])
    assert found["int"][1] == 0 and not found["bool"][1] and found["text"][1] == b""
    for name, value in outputs.items():
        np.testing.assert_array_equal(found[name][0], value.numpy()[0])
