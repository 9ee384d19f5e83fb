"""`.npy` and `.npz` files."""

import zipfile

import numpy as np
import pytest

from kgen.data import from_npy, from_npz, load

RNG = np.random.RandomState(0)
GREY = RNG.randint(0, 256, (6, 5, 4), "uint8")
COLOUR = RNG.randint(0, 256, (6, 5, 4, 3), "uint8")


def saved(tmp_path, array, name="x.npy"):
    np.save(tmp_path / name, array, allow_pickle=True)
    return tmp_path / name


def zipped(tmp_path, **arrays):
    np.savez(tmp_path / "x.npz", **arrays)
    return tmp_path / "x.npz"


@pytest.mark.parametrize("array", [GREY, GREY[..., None], COLOUR])
def test_npy_uint8(tmp_path, array):
    x, y = from_npy(saved(tmp_path, array))
    assert y is None and type(x) is np.ndarray and x.dtype == np.float32
    assert x.shape == (6, 5, 4, 3 if array.ndim == 4 and array.shape[-1] == 3 else 1)
    np.testing.assert_allclose(x.reshape(array.shape), array / 127.5 - 1, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
def test_npy_float_is_kept(tmp_path, dtype):
    array = RNG.uniform(-1, 1, (3, 4, 4, 1)).astype(dtype)
    path = saved(tmp_path, array)
    for x, y in (from_npy(path), load(path), load(str(path))):
        assert y is None and x.dtype == np.float32 and type(x) is np.ndarray
        np.testing.assert_array_equal(x, array.astype("float32"))
        x += 1  # writable, and not the file


def test_npy_resize_and_channels(tmp_path):
    x, _ = from_npy(saved(tmp_path, COLOUR), image_size=(8, 10), channels=1)
    assert x.shape == (6, 8, 10, 1) and np.abs(x).max() <= 1
    np.testing.assert_array_equal(load(tmp_path / "x.npy", image_size=(8, 10), channels=1)[0], x)
    assert from_npy(saved(tmp_path, GREY), channels=3)[0].shape == (6, 5, 4, 3)


def test_float_out_of_range(tmp_path):
    path = saved(tmp_path, GREY.astype("float32"))
    expected = rf"x.npy: float images must lie in \[-1, 1\], received values in \[{GREY.min()}, {GREY.max()}\]"
    with pytest.raises(ValueError, match=expected + r".* x / 127.5 - 1"):
        from_npy(path)
    with pytest.raises(ValueError, match=expected):
        load(path)


def test_float_not_finite(tmp_path):
    array = np.zeros((2, 3, 4))
    array[0, 0, 0], array[1, 1, 1] = np.nan, -np.inf
    with pytest.raises(ValueError, match="must be finite, received 2 NaN or infinite values of 24"):
        from_npy(saved(tmp_path, array))


def test_float_that_looks_like_zero_to_one_warns(tmp_path):
    path = saved(tmp_path, np.linspace(0, 1, 32).reshape(2, 4, 4))
    with pytest.warns(UserWarning, match=r"lie in \[0, 1\] and look like \[0, 1\].* 2 \* x - 1"):
        x, _ = from_npy(path)
    assert x.min() == 0 and x.max() == 1


def test_uint8_masks_warn(tmp_path):
    with pytest.warns(UserWarning, match=r"values lie in \[0, 1\], which is black. Multiply them by 255"):
        from_npy(saved(tmp_path, GREY % 2))


@pytest.mark.parametrize(
    ("array", "error", "match"),
    [
        (np.zeros((4, 2)), ValueError, r"\(N, H, W\) or \(N, H, W, C\).* received shape \(4, 2\)"),
        (np.zeros((2, 3, 4, 5, 1)), ValueError, r"received shape \(2, 3, 4, 5, 1\)"),
        (np.zeros((0, 4, 4)), ValueError, r"received shape \(0, 4, 4\)"),
        (np.zeros((28, 28, 3)), ValueError, r"looks like one image"),
        (np.zeros((2, 8, 8, 4)), ValueError, r"1 or 3 channels last, received shape \(2, 8, 8, 4\).*x\[..., :3\]"),
        (np.zeros((2, 3, 8, 8)), ValueError, r"looks like channels first: convert with np.moveaxis"),
        (np.zeros((2, 8, 8), "int64"), TypeError, r"uint8 in 0..255 or float in \[-1, 1\], received dtype int64"),
        (np.zeros((2, 8, 8), bool), TypeError, r"received dtype bool"),
        (np.array([{"a": 1}], object), ValueError, r"pickled \(object\) arrays are never loaded"),
    ],
)
def test_npy_that_holds_no_images(tmp_path, array, error, match):
    with pytest.raises(error, match=match):
        from_npy(saved(tmp_path, array))


def test_damaged_npy(tmp_path):
    path = saved(tmp_path, GREY)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"x.npy cannot be read as a NumPy array"):
        from_npy(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"x.npy cannot be read as a NumPy array"):
        from_npy(path)


def test_missing_files_and_swapped_names(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none.npy: there is no such file"):
        from_npy(tmp_path / "none.npy")
    with pytest.raises(FileNotFoundError, match=r"none.npz: there is no such file"):
        from_npz(tmp_path / "none.npz")
    zipped(tmp_path, x=GREY).rename(tmp_path / "z.npy")
    with pytest.raises(ValueError, match=r"is a .npz archive under the name of a .npy file"):
        from_npy(tmp_path / "z.npy")
    saved(tmp_path, GREY).rename(tmp_path / "a.npz")
    with pytest.raises(ValueError, match=r"is a single .npy array under the name of a .npz file"):
        from_npz(tmp_path / "a.npz")


LABELS = np.arange(6)


@pytest.mark.parametrize(
    ("arrays", "labelled"),
    [
        ({"x": GREY, "y": LABELS}, True),
        ({"images": GREY, "labels": LABELS[:, None].astype("uint8")}, True),
        ({"x": GREY, "labels": LABELS, "other": np.zeros(3)}, True),
        ({"x_train": GREY, "y_train": LABELS}, True),
        ({"x": GREY}, False),
        ({"anything": GREY}, False),
        ({"x_train": GREY}, False),
    ],
)
def test_npz_names(tmp_path, arrays, labelled):
    path = zipped(tmp_path, **arrays)
    for x, y in (from_npz(path), load(path)):
        np.testing.assert_allclose(x[..., 0], GREY / 127.5 - 1, atol=1e-6)
        if labelled:
            assert y.dtype == np.int32
            np.testing.assert_array_equal(y, LABELS)
        else:
            assert y is None


def test_npz_with_its_own_split(tmp_path):
    path = zipped(tmp_path, x_train=GREY[:4], y_train=LABELS[:4], x_test=GREY[4:], y_test=LABELS[4:])
    np.testing.assert_array_equal(from_npz(path)[1], LABELS)
    for seed in (0, 1):
        np.testing.assert_array_equal(load(path, split="train", seed=seed)[1], LABELS[:4])
        np.testing.assert_array_equal(load(path, split="test", seed=seed, test_fraction=0.5)[1], LABELS[4:])
    np.testing.assert_allclose(load(path, split="test")[0][..., 0], GREY[4:] / 127.5 - 1, atol=1e-6)


@pytest.mark.parametrize(
    ("arrays", "error", "match"),
    [
        ({"a": GREY, "b": LABELS}, ValueError, r"expected images under .* found the keys \['a', 'b'\]"),
        ({"x": GREY, "images": GREY}, ValueError, r"images must be under one name, found both \['x', 'images'\]"),
        ({"x": GREY, "y": LABELS, "labels": LABELS}, ValueError, r"labels must be under one name"),
        ({"x": GREY, "y": LABELS[:5]}, ValueError, r"'y': labels must have shape \(6,\).* received shape \(5,\)"),
        ({"x": GREY, "y": np.eye(6, dtype=int)}, ValueError, r"received shape \(6, 6\).*argmax"),
        ({"x": GREY, "y": LABELS / 2}, TypeError, r"labels must be integers, received dtype float64"),
        ({"x": GREY, "y": LABELS - 1}, ValueError, r"labels must be classes 0, 1, 2 .* values in \[-1, 4\]"),
        ({"x": GREY, "y": LABELS + 2**40}, ValueError, r"labels must be classes"),
        ({"x": GREY.astype("float32")}, ValueError, r"x.npz, array 'x': float images must lie in \[-1, 1\]"),
        ({"x": np.array([{}], object)}, ValueError, r"pickled \(object\) arrays are never loaded"),
        ({"x_train": GREY, "x_test": COLOUR}, ValueError, r"x_train and x_test must have images of one shape"),
        ({"x_train": GREY, "y_train": LABELS, "x_test": GREY}, ValueError, r"y_train and y_test must both be there"),
        ({}, ValueError, r"found the keys \[\]"),
    ],
)
def test_npz_errors(tmp_path, arrays, error, match):
    with pytest.raises(error, match=match):
        from_npz(zipped(tmp_path, **arrays))


def test_damaged_npz(tmp_path):
    path = zipped(tmp_path, x=GREY)
    content = path.read_bytes()
    path.write_bytes(content[:-40])
    with pytest.raises(ValueError, match=r"x.npz cannot be read"):
        from_npz(path)
    np.savez_compressed(path, x=np.zeros((2, 50, 50), "uint8") + np.arange(50, dtype="uint8"))
    content = bytearray(path.read_bytes())
    content[60:80] = bytes(20)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"x.npz, array 'x' cannot be read"):
        from_npz(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x", "text")
    with pytest.raises(ValueError, match=r"array 'x': this member of the archive is not a NumPy array"):
        from_npz(path)
