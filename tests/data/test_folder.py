"""Folders of images."""

import numpy as np
import pytest
from PIL import Image

from kgen.data import from_folder, load

RNG = np.random.RandomState(0)


def draw(path, size=(6, 5), mode="L", value=None, **options):
    """Writes an image of (height, width) `size`, noise or one value, and returns its pixels."""
    shape = size if mode == "L" else (*size, 3)
    pixels = RNG.randint(0, 256, shape, "uint8") if value is None else np.full(shape, value, "uint8")
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return pixels


def damage(path, keep=0.5):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])


def as_uint8(x):
    return np.rint((x + 1) * 127.5).astype(int)


def test_flat_folder_in_sorted_order(tmp_path):
    pixels = {name: draw(tmp_path / name) for name in ("b.png", "a.bmp", "c.PNG")}
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / ".hidden.png").write_bytes(b"not an image either")
    x, y = from_folder(tmp_path)
    assert y is None and x.shape == (3, 6, 5, 1) and x.dtype == np.float32
    np.testing.assert_array_equal(as_uint8(x)[..., 0], [pixels[n] for n in ("a.bmp", "b.png", "c.PNG")])


@pytest.mark.parametrize("extension", ["png", "jpg", "jpeg", "bmp", "gif", "webp"])
def test_every_format(tmp_path, extension):
    draw(tmp_path / f"a.{extension}", value=100)
    draw(tmp_path / f"b.{extension}", value=[200, 100, 50], mode="RGB")
    x, _ = from_folder(tmp_path)
    assert x.shape == (2, 6, 5, 3)
    assert np.abs(as_uint8(x)[0] - 100).max() <= 3 and np.abs(as_uint8(x)[1] - [200, 100, 50]).max() <= 6


def test_subfolders_are_classes_in_sorted_order(tmp_path):
    for name, value in (("dog/2.png", 20), ("cat/deep/er/1.png", 10), ("eel/3.png", 30), ("dog/1.png", 15)):
        draw(tmp_path / name, value=value)
    (tmp_path / "cow").mkdir()  # a class without images keeps its number, as in Keras
    (tmp_path / ".cache").mkdir()
    x, y = from_folder(tmp_path)
    np.testing.assert_array_equal(as_uint8(x)[:, 0, 0, 0], [10, 15, 20, 30])
    assert y.dtype == np.int32
    np.testing.assert_array_equal(y, [0, 2, 2, 3])
    x, y = load(str(tmp_path), split="test", test_fraction=0.5)
    assert len(x) == len(y) == 2


def test_subfolder_behind_a_link_is_a_class(tmp_path):
    draw(tmp_path / "elsewhere" / "1.png")
    draw(tmp_path / "data" / "b" / "1.png")
    (tmp_path / "data" / "a").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    np.testing.assert_array_equal(from_folder(tmp_path / "data")[1], [0, 1])


def test_folder_of_images_with_an_unrelated_subfolder_is_flat(tmp_path):
    draw(tmp_path / "1.png")
    (tmp_path / "notes").mkdir()
    assert from_folder(tmp_path)[1] is None


def test_images_beside_and_inside_subfolders(tmp_path):
    draw(tmp_path / "1.png")
    draw(tmp_path / "cat" / "2.png")
    with pytest.raises(ValueError, match="1 images lie directly in the folder and 1 in subfolders"):
        from_folder(tmp_path)


def test_splits_are_not_taken_for_classes(tmp_path):
    draw(tmp_path / "train" / "1.png")
    draw(tmp_path / "test" / "2.png")
    with pytest.raises(ValueError, match=r"subfolders \['test', 'train'\] look like splits"):
        from_folder(tmp_path)


def test_mixed_sizes(tmp_path):
    for i in range(3):
        draw(tmp_path / f"{i}.png", size=(7, 9), value=80)
    draw(tmp_path / "4.png", size=(20, 30), value=80)
    with pytest.raises(
        ValueError, match=r"2 different sizes.*--image-size of a command.* 3 of 4 images: try image_size=\(7, 9\)"
    ):
        from_folder(tmp_path)
    x, _ = from_folder(tmp_path, image_size=(7, 9))
    assert x.shape == (4, 7, 9, 1)
    np.testing.assert_array_equal(as_uint8(x), 80)


def test_grey_and_colour_mix(tmp_path):
    grey = draw(tmp_path / "1.png")
    colour = draw(tmp_path / "2.png", mode="RGB")
    x, _ = from_folder(tmp_path)
    np.testing.assert_array_equal(as_uint8(x), [np.repeat(grey[..., None], 3, -1), colour])
    x, _ = from_folder(tmp_path, channels=1)
    assert x.shape == (2, 6, 5, 1)
    np.testing.assert_array_equal(as_uint8(x)[1, ..., 0], np.asarray(Image.fromarray(colour).convert("L")))
    (tmp_path / "2.png").unlink()
    assert from_folder(tmp_path, channels=3)[0].shape == (1, 6, 5, 3)


def test_palettes(tmp_path):
    grey = Image.new("P", (4, 3), 1)
    grey.putpalette([0, 0, 0, 90, 90, 90])
    grey.save(tmp_path / "1.png")
    assert Image.open(tmp_path / "1.png").mode == "P"
    x, _ = from_folder(tmp_path)
    assert x.shape == (1, 3, 4, 1)
    np.testing.assert_array_equal(as_uint8(x), 90)
    colour = Image.new("P", (4, 3), 1)
    colour.putpalette([0, 0, 0, 10, 20, 30])
    colour.save(tmp_path / "2.png")
    x, _ = from_folder(tmp_path)
    np.testing.assert_array_equal(as_uint8(x)[:, 0, 0], [[90, 90, 90], [10, 20, 30]])


def test_sixteen_bits_are_scaled(tmp_path):
    ramp = np.array([[0, 257, 25700, 65535]], "uint16")
    Image.fromarray(ramp).save(tmp_path / "1.png")
    x, _ = from_folder(tmp_path)
    np.testing.assert_array_equal(as_uint8(x)[0, 0, :, 0], [0, 1, 100, 255])


def test_transparency_is_laid_over_white(tmp_path):
    rgba = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 128]]], "uint8")
    Image.fromarray(rgba).save(tmp_path / "1.png")
    x, _ = from_folder(tmp_path)
    np.testing.assert_array_equal(as_uint8(x)[0, 0], [[10, 20, 30], [255, 255, 255], [127, 127, 127]])
    Image.fromarray(np.array([[[7, 255], [7, 0], [0, 128]]], "uint8")).save(tmp_path / "1.png")
    x, _ = from_folder(tmp_path)
    np.testing.assert_array_equal(as_uint8(x)[0, 0], [[7], [255], [127]])


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise
    pixels = draw(tmp_path / "1.png", size=(4, 9), exif=exif)
    x, _ = from_folder(tmp_path)
    np.testing.assert_array_equal(as_uint8(x)[0, ..., 0], np.rot90(pixels, -1))


def test_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("L", (5, 4), value) for value in (40, 200)]
    frames[0].save(tmp_path / "1.gif", save_all=True, append_images=frames[1:])
    x, _ = from_folder(tmp_path)
    assert x.shape == (1, 4, 5, 1)
    np.testing.assert_array_equal(as_uint8(x), 40)


def test_corrupt_images_are_named(tmp_path):
    names = [f"{i}.{extension}" for i, extension in enumerate(["png", "jpg", "bmp", "gif", "webp", "png", "jpg"])]
    for name in names:
        draw(tmp_path / "a" / name, size=(64, 64), mode="RGB")
    good = draw(tmp_path / "b" / "good.png", size=(64, 64))
    for name in names[:-1]:
        damage(tmp_path / "a" / name)
    (tmp_path / "a" / names[-1]).write_text("no image at all")
    with pytest.raises(ValueError) as caught:
        from_folder(tmp_path)
    message = str(caught.value)
    assert "7 of 8 images cannot be read" in message
    assert "Repair or remove them. In Python, skip_corrupt=True leaves them out." in message
    assert all(f"a/{name} (" in message for name in names[:5]) and not any(n in message for n in names[5:])
    with pytest.warns(UserWarning, match=r"7 of 8 images cannot be read: a/0.png .*They are left out"):
        x, y = load(tmp_path, skip_corrupt=True)
    np.testing.assert_array_equal(as_uint8(x)[..., 0], [good])
    np.testing.assert_array_equal(y, [1])


def test_all_corrupt(tmp_path):
    (tmp_path / "1.png").write_bytes(b"")
    with (
        pytest.warns(UserWarning, match="1 of 1 images cannot be read"),
        pytest.raises(ValueError, match="none of the 1 images can be read"),
    ):
        from_folder(tmp_path, skip_corrupt=True)


def test_other_formats_are_not_tried(tmp_path):
    Image.new("L", (4, 4)).save(tmp_path / "1.png", format="TIFF")
    with pytest.raises(ValueError, match=r"1 of 1 images cannot be read: 1.png \(cannot identify image file"):
        from_folder(tmp_path)


def test_decompression_bombs_are_refused(tmp_path, monkeypatch):
    draw(tmp_path / "1.png", size=(20, 20))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match=r"1.png \(Image size \(400 pixels\) exceeds limit"):
        from_folder(tmp_path)


def test_empty_and_missing_folders(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "1.txt").write_text("")
    with pytest.raises(ValueError, match=r"no images found; looked for .png, .jpg"):
        from_folder(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no such folder"):
        from_folder(tmp_path / "none")


def test_folder_agrees_with_keras_on_files_and_labels(tmp_path):
    index = pytest.importorskip("keras.src.utils.dataset_utils").index_directory
    for i, name in enumerate(("b/1.png", "b/10.png", "b/2.png", "a/z.png", "a/sub/y.png", "C/1.png")):
        draw(tmp_path / name, value=10 * i)
    x, y = from_folder(tmp_path)
    paths, labels, _ = index(str(tmp_path), "inferred", (".png",), shuffle=False)
    np.testing.assert_array_equal(sorted(y), sorted(labels))
    label_of = {int(np.asarray(Image.open(path))[0, 0]): label for path, label in zip(paths, labels, strict=True)}
    assert [label_of[value] for value in as_uint8(x)[:, 0, 0, 0]] == list(y)
