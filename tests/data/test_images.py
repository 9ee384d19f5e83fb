"""The range [-1, 1], resizing and channel conversion."""

import numpy as np
import pytest

from kgen.data import at_levels, from_uint8, to_uint8
from kgen.data.images import check_options, prepare, resize, to_channels


def test_uint8_round_trip_is_exact_on_all_levels():
    levels = np.arange(256, dtype="uint8")
    x = from_uint8(levels)
    assert x.dtype == np.float32 and x[0] == -1 and x[-1] == 1
    np.testing.assert_array_equal(to_uint8(x), levels)
    np.testing.assert_array_equal(to_uint8(x.astype("float64")), levels)


def test_to_uint8_rounds_and_clips():
    np.testing.assert_array_equal(to_uint8(np.array([-1.2, -1, -0.999, 0.001, 1, 7.0])), [0, 0, 0, 128, 255, 255])


def test_to_uint8_refuses_what_it_cannot_convert():
    with pytest.raises(TypeError, match=r"to_uint8: x must be a float array in \[-1, 1\], received dtype uint8"):
        to_uint8(np.zeros(3, "uint8"))
    with pytest.raises(ValueError, match="to_uint8: x must be finite, received 2 NaN or infinite values of 3"):
        to_uint8(np.array([0, np.nan, np.inf]))
    with pytest.raises(TypeError, match="from_uint8: x must be a uint8 array, received dtype float64"):
        from_uint8(np.zeros(3))


def test_grey_and_colour():
    colour = np.array([[[[255, 0, 0], [0, 255, 0], [0, 0, 255], [200, 200, 200]]]], "uint8")
    grey = to_channels(colour, 1)
    np.testing.assert_array_equal(grey[0, 0, :, 0], [76, 150, 29, 200])  # BT.601: 0.299, 0.587, 0.114
    assert grey.dtype == np.uint8
    np.testing.assert_array_equal(to_channels(grey, 3), np.repeat(grey, 3, -1))
    assert to_channels(colour, 3) is colour and to_channels(colour, None) is colour
    as_float = to_channels(from_uint8(colour), 1)
    assert as_float.dtype == np.float32
    np.testing.assert_allclose(as_float, from_uint8(grey), atol=0.5 / 127.5 + 1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "float64"])
def test_resize_averages_when_it_shrinks(dtype):
    # One-pixel stripes: picking pixels would give black or white, averaging gives mid-grey away from the borders.
    low, high = (0, 255) if dtype == "uint8" else (-1, 1)
    stripes = np.tile(np.array([low, high], dtype), 32)[None, None, :, None].repeat(64, 1)
    small = resize(stripes, (16, 8))
    assert small.shape == (1, 16, 8, 1)
    assert small.dtype == (np.uint8 if dtype == "uint8" else np.float32)
    middle = (low + high) / 2
    assert np.abs(small[:, :, 1:-1].astype("float64") - middle).max() < 0.03 * (high - low)


def test_resize_orders_height_and_width_and_keeps_the_range():
    rng = np.random.RandomState(0)
    x = np.where(rng.rand(2, 5, 7, 3) < 0.5, -1.0, 1.0)  # edges at which a cubic filter overshoots
    out = resize(x, (20, 11))
    assert out.shape == (2, 20, 11, 3) and np.abs(out).max() == 1
    constant = resize(np.full((1, 4, 4, 3), 0.25), (9, 5))
    np.testing.assert_allclose(constant, 0.25, atol=1e-6)
    assert resize(x, (5, 7)) is x and resize(x, None) is x


def test_prepare_returns_a_copy_in_float32():
    x = np.full((2, 3, 3, 1), 0.5, "float32")
    out = prepare(x, None, None)
    assert out.dtype == np.float32 and not np.shares_memory(out, x)


def test_options():
    assert check_options([28, np.int64(14)], 3) == (28, 14)
    assert check_options(28, None) == (28, 28)
    assert check_options(None, None) is None
    for wrong in (-28, 2.5, (28,), (0, 5), (2.5, 3), "ab", (1, 2, 3)):
        with pytest.raises(ValueError, match=r"image_size must be \(height, width\), two positive integers"):
            check_options(wrong, None)
    with pytest.raises(
        ValueError, match=r"channels must be 1 \(grey\), 3 \(colour\) or None \(as stored\), received 4"
    ):
        check_options(None, 4)


def test_at_levels():
    x = np.array([-1.0, -0.99, 0.1, 1.0], "float32")
    np.testing.assert_allclose(at_levels(x, 17), [-1, -1, 0.125, 1], atol=1e-7)
    bytes_ = np.arange(256) / 127.5 - 1
    np.testing.assert_allclose(at_levels(bytes_ + 0.003), bytes_, atol=1e-6)
