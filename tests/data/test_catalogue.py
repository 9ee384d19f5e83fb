"""`load`: names, paths, splits and errors; the named image datasets."""

import gzip
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import kgen.data
from kgen.data import TOYS, builtin, load, names, to_uint8

COUNTS = {"train": 7, "t10k": 3}


@pytest.fixture
def small_fashion(tmp_path, monkeypatch):
    """Ten images in idx files, in the folder that KGEN_DATA names."""
    monkeypatch.setenv("KGEN_DATA", str(tmp_path))
    monkeypatch.setattr(builtin, "PARTS", COUNTS)
    pixels = np.random.RandomState(0).randint(0, 256, (10, 28, 28), "uint8")
    labels = np.arange(10, dtype="uint8")
    for part, rows in (("train", slice(7)), ("t10k", slice(7, 10))):
        for kind, array in (("images-idx3", pixels[rows]), ("labels-idx1", labels[rows])):
            header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
            with gzip.open(tmp_path / f"{part}-{kind}-ubyte.gz", "wb") as stream:
                stream.write(header + array.tobytes())
    return tmp_path, pixels, labels


def rows_of(x):
    return sorted(row.tobytes() for row in x)


def test_digits():
    x, y = load("digits")
    assert x.shape == (1797, 8, 8, 1) and x.dtype == np.float32 and (x.min(), x.max()) == (-1, 1)
    assert y.shape == (1797,) and y.dtype == np.int32
    np.testing.assert_array_equal(np.unique(y), np.arange(10))
    np.testing.assert_array_equal(y[:10], np.arange(10))
    np.testing.assert_array_equal(np.unique(x), np.arange(17) / 8 - 1)


def test_digits_resized_in_colour():
    x, _ = load("digits", image_size=(16, 12), channels=3, split="test")
    assert x.shape == (359, 16, 12, 3) and np.abs(x).max() <= 1
    np.testing.assert_array_equal(x[..., 0], x[..., 2])


@pytest.mark.parametrize("name", ["digits", "moons"])
def test_split_is_disjoint_complete_and_fixed_by_the_seed(name):
    whole = load(name, seed=3)[0]
    train, test = (load(name, split=split, seed=3)[0] for split in ("train", "test"))
    assert len(test) == round(0.2 * len(whole))
    assert rows_of(np.concatenate([train, test])) == rows_of(whole)
    np.testing.assert_array_equal(load(name, split="test", seed=3)[0], test)
    assert rows_of(load(name, split="test", seed=4)[0]) != rows_of(test)
    larger = load(name, split="test", seed=3, test_fraction=0.5)[0]
    np.testing.assert_array_equal(larger[: len(test)], test)


def test_split_keeps_images_and_labels_together():
    whole, labels = load("digits")
    label_of = {row.tobytes(): label for row, label in zip(whole, labels, strict=True)}
    for split in ("train", "test"):
        x, y = load("digits", split=split)
        assert [label_of[row.tobytes()] for row in x] == list(y)


def test_split_is_the_same_on_every_machine():
    # Frozen: a model trained on one machine must not meet its test rows on another.
    np.testing.assert_array_equal(load("digits", split="test")[1][:8], [6, 3, 1, 9, 5, 6, 7, 7])


@pytest.mark.parametrize("name", list(TOYS))
def test_toys(name):
    x, y = load(name)
    assert x.shape == (10_000, 2) and x.dtype == np.float32 and y is None
    np.testing.assert_array_equal(x, TOYS[name]().sample(10_000, seed=0))


def test_fashion_mnist_from_idx_files(small_fashion):
    _, pixels, labels = small_fashion
    x, y = load("fashion_mnist")
    assert x.shape == (10, 28, 28, 1) and x.dtype == np.float32 and y.dtype == np.int32
    np.testing.assert_array_equal(to_uint8(x)[..., 0], pixels)
    np.testing.assert_array_equal(y, labels)


def test_fashion_mnist_keeps_the_official_split(small_fashion):
    _, pixels, labels = small_fashion
    for seed in (0, 5):
        x, y = load("fashion_mnist", split="train", seed=seed)
        np.testing.assert_array_equal(to_uint8(x)[..., 0], pixels[:7])
        x, y = load("fashion_mnist", split="test", seed=seed, test_fraction=0.9)
        np.testing.assert_array_equal(to_uint8(x)[..., 0], pixels[7:])
        np.testing.assert_array_equal(y, labels[7:])
    assert load("fashion_mnist", split="test", image_size=(14, 10), channels=3)[0].shape == (3, 14, 10, 3)


def test_damaged_fashion_mnist_is_named(small_fashion):
    folder, pixels, _ = small_fashion
    file = folder / "t10k-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"t10k-images-idx3-ubyte.gz is damaged .*apt-get install"):
        load("fashion_mnist")
    with gzip.open(file, "wb") as stream:
        stream.write(pixels.tobytes())
    with pytest.raises(ValueError, match=r"t10k-images.* must be an idx file of unsigned bytes of shape \(3, 28, 28\)"):
        load("fashion_mnist")


@pytest.mark.skipif(not builtin.DEBIAN_FOLDER.is_dir(), reason="dataset-fashion-mnist is not installed")
def test_installed_fashion_mnist(monkeypatch):
    monkeypatch.delenv("KGEN_DATA", raising=False)
    x, y = load("fashion_mnist", split="test")
    assert x.shape == (10_000, 28, 28, 1) and (x.min(), x.max()) == (-1, 1)
    np.testing.assert_array_equal(np.bincount(y), [1000] * 10)
    assert y[0] == 9  # the first test image is an ankle boot


def test_fashion_mnist_not_installed(tmp_path, monkeypatch):
    keras_fashion_mnist = pytest.importorskip("keras").datasets.fashion_mnist
    monkeypatch.setenv("KGEN_DATA", str(tmp_path))
    monkeypatch.setattr(builtin, "DEBIAN_FOLDER", tmp_path / "none")

    def no_network():
        raise Exception("URL fetch failure")

    monkeypatch.setattr(keras_fashion_mnist, "load_data", no_network)
    with pytest.raises(FileNotFoundError) as caught:
        load("fashion_mnist")
    message = str(caught.value)
    assert "apt-get install dataset-fashion-mnist" in message and "URL fetch failure" in message
    assert str(tmp_path / "none") in message

    pixels = np.full((3, 28, 28), 255, "uint8")
    both = (pixels, np.zeros(3, "uint8")), (pixels[:1], np.ones(1, "uint8"))
    monkeypatch.setattr(keras_fashion_mnist, "load_data", lambda: both)
    x, y = load("fashion_mnist")
    assert x.shape == (4, 28, 28, 1) and x.min() == 1
    np.testing.assert_array_equal(y, [0, 0, 0, 1])


def test_unknown_name():
    with pytest.raises(ValueError) as caught:
        load("fashion-mnist")
    message = str(caught.value)
    assert "no dataset 'fashion-mnist', and no file or folder of that path either" in message
    assert "Did you mean 'fashion_mnist'" in message and all(name in message for name in names())
    with pytest.raises(ValueError, match=r"no file or folder of that path either. Known datasets: digits"):
        load("/nowhere/at/all.npy")


def test_names():
    assert names() == ["digits", "fashion_mnist", "sprites", "emoji", "emoji_outline", *TOYS]
    assert kgen.data.class_names("digits")[7] == "7" and kgen.data.class_names("fashion_mnist")[9] == "ankle boot"
    assert list(TOYS) == ["eight_gaussians", "gaussian_grid", "checkerboard", "moons", "spirals", "rings"]


def test_a_name_comes_before_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    assert len(load("digits")[0]) == 1797
    with pytest.raises(ValueError, match="no images found"):
        load("./digits")


def test_home_folder_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    np.save(tmp_path / "x.npy", np.zeros((2, 4, 4), "uint8"))
    assert load("~/x.npy")[0].shape == (2, 4, 4, 1)


def test_wrong_arguments(tmp_path):
    with pytest.raises(ValueError, match=r'split must be None, "train" or "test", received \'valid\''):
        load("digits", split="valid")
    with pytest.raises(ValueError, match="seed must be an integer from 0 to 4294967295, received None"):
        load("digits", split="test", seed=None)
    for wrong in (0, 1, 20, -0.1, "a"):
        with pytest.raises(ValueError, match="test_fraction must lie between 0 and 1, both excluded, received"):
            load("digits", split="test", test_fraction=wrong)
    with pytest.raises(ValueError, match=r"image_size and channels apply to images; 'moons' is a density"):
        load("moons", channels=1)
    with pytest.raises(TypeError, match="name must be the name of a dataset or a path, received ndarray"):
        load(np.zeros((2, 4, 4)))
    (tmp_path / "x.csv").write_text("1,2")
    with pytest.raises(ValueError, match=r"x.csv is a file of an unknown kind: expected .npy, .npz or a folder"):
        load(tmp_path / "x.csv")
    np.save(tmp_path / "x.npy", np.zeros((2, 4, 4), "uint8"))
    with pytest.raises(ValueError, match=r"test_fraction=0.2 of 2 rows leaves 2 for training and 0 for testing"):
        load(tmp_path / "x.npy", split="train")


def test_import_is_cheap():
    code = (
        "import sys, kgen.data; kgen.data.load('eight_gaussians'); "
        "heavy = {'keras', 'sklearn', 'scipy', 'PIL', 'tensorflow', 'jax', 'torch'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    root = str(Path(kgen.data.__file__).parents[2])
    result = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": root}, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
