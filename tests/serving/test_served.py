"""What an export answers, through TensorFlow's C API: with XLA, and without it as a stock TF Serving."""

import io
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops
from PIL import Image

import kgen
from kgen import backend

PERMUTATION = np.array([3, 0, 7, 1, 6, 2, 5, 4])
X = np.random.default_rng(1).uniform(-1, 1, (3, 6, 6, 1)).astype("float32")
# Both servers run TensorFlow's kernels: other backends may sum in another order.
# Another client's rows, the last of which is in range, and what the graph puts into the others.
BAD = {
    "label": np.array([4, -(2**31), 2, 2, 3], "int32"),
    "scale": np.array([0.05, np.inf, np.nan, 0.11, -0.0], "float32"),
}
TAME = {"label": np.array([0, 0, 2, 2, 3], "int32"), "scale": np.array([0.05, 0.05, 0.05, 0.05, 0.0], "float32")}
ERRORS = [
    "label: expected values in [0, 3], received 4",
    "label: expected values in [0, 3], received -2147483648",
    "scale: expected values in [0.0, 0.1], received nan",
    "scale: expected values in [0.0, 0.1], received 0.11",
    "",
]
TOLERANCE = 1e-4 if keras.config.backend() == "tensorflow" else 1e-3


@pytest.fixture(scope="module")
def requests(request_rows):
    rows = request_rows

    def take(indices):
        return {name: value[indices] for name, value in rows.items()}

    bad = take(slice(1, 6)) | BAD
    merged = {name: np.concatenate([value[:3], bad[name], value[3:]]) for name, value in rows.items()}
    tame = {name: np.concatenate([rows[name][:3], value, rows[name][3:]]) for name, value in TAME.items()}
    x = np.concatenate([X, X])
    x[1, 2, 3, 0], x[3, 5, 5, 0], x[4, 0, 0, 0] = np.inf, np.nan, np.float32(-1.001)
    marks = {}
    for suffix in ("", "_xla"):
        marks |= {
            f"merged{suffix}": (f"sample{suffix}", merged),
            f"tame{suffix}": (f"sample{suffix}", merged | tame),
            f"all bad{suffix}": (f"sample{suffix}", bad),
            f"bad x{suffix}": (f"encode{suffix}", {"x": x}),
        }
    return marks | {
        "default": ("serving_default", rows),
        "sample": ("sample", rows),
        "sample_xla": ("sample_xla", rows),
        "encode": ("encode", {"x": X}),
        "encode_xla": ("encode_xla", {"x": X}),
        "first": ("sample", take(slice(0, 3))),
        "rest": ("sample", take(slice(3, 8))),
        "permuted": ("sample", take(PERMUTATION)),
        "permuted_xla": ("sample_xla", take(PERMUTATION)),
        "33 rows": ("sample", {name: np.repeat(value[:1], 33, axis=0) for name, value in rows.items()}),
        "33 rows xla": ("sample_xla", {name: np.repeat(value[:1], 33, axis=0) for name, value in rows.items()}),
        "no rows": ("sample", take(slice(0, 0))),
        "no rows xla": ("sample_xla", take(slice(0, 0))),
        "a scalar": ("sample", rows | {"label": np.int32(1)}),
        "a matrix": ("sample_xla", rows | {"scale": np.zeros((8, 8), "float32")}),
        "large images": ("encode", {"x": np.zeros((1, 600, 600, 1), "float32")}),
        "one label": ("sample", rows | {"label": rows["label"][:1]}),
        "three numbers a seed": ("sample_xla", rows | {"seed": np.zeros((8, 3), "int32")}),
        "no such signature": ("samples", rows),
        "no label": ("sample", {"seed": rows["seed"], "scale": rows["scale"]}),
        "float label": ("sample", rows | {"label": rows["scale"]}),
    }


@pytest.fixture(scope="module")
def with_xla(exported, requests, serve):
    return serve(exported, requests, xla=True)


@pytest.fixture(scope="module")
def stock(exported, requests, serve):
    return serve(exported, requests, xla=False)


@pytest.fixture(scope="module")
def images(model, request_rows):
    """The model's own, in the process that trained it."""
    inputs = [ops.convert_to_tensor(value) for value in request_rows.values()]
    return ops.convert_to_numpy(backend.jit(model.walk, model.variables)(*inputs)["images"])


def test_signatures(with_xla):
    found = with_xla["signatures"]
    pictures = ["encode_png", "encode_uint8"]
    assert sorted(found) == ["encode", *pictures, "encode_xla", "sample", "sample_xla", "serving_default"]
    for name in ("serving_default", "sample", "sample_xla"):
        shapes = {n: t.shape for n, t in found[name].inputs.items()}
        assert shapes == {"seed": (None, 2), "label": (None,), "scale": (None,)}
        shapes = {n: (t.shape, t.dtype) for n, t in found[name].outputs.items()}
        floats, bytes_, strings, bools = 1, 4, 7, 10
        expected = {
            "images": ((None, 6, 6, 1), floats),
            "images_uint8": ((None, 6, 6, 1), bytes_),
            "png_bytes": ((None,), strings),
            "valid": ((None,), bools),
            "error": ((None,), strings),
        }
        assert shapes == expected
    shapes = {n: t.shape for n, t in found["encode_xla"].outputs.items()}
    assert shapes == {"mean": (None,), "label": (None,), "valid": (None,), "error": (None,)}


def test_xla_gives_the_models_images(with_xla, images):
    assert images.std() > 0.1
    for name in ("default", "sample", "sample_xla"):
        np.testing.assert_allclose(with_xla[name]["images"], images, atol=TOLERANCE)


def test_stock_server_gives_the_models_images(stock, images):
    for name in ("default", "sample"):
        np.testing.assert_allclose(stock[name]["images"], images, atol=TOLERANCE)


def test_endpoint_without_a_loop(with_xla, stock):
    mean = X.mean(axis=(1, 2, 3))
    for answer in (with_xla["encode"], with_xla["encode_xla"], stock["encode"]):
        np.testing.assert_allclose(answer["mean"], mean, atol=1e-5)
        np.testing.assert_array_equal(answer["label"], mean > 0)


def test_stock_server_refuses_what_xla_compiles(stock):
    """The reason for two signatures of each endpoint."""
    for name in ("sample_xla", "encode_xla"):
        assert "XLA compilation disabled" in stock[name]


def test_a_row_does_not_depend_on_its_batch(stock, with_xla):
    whole = stock["sample"]["images"]
    parts = np.concatenate([stock["first"]["images"], stock["rest"]["images"]])
    np.testing.assert_allclose(parts, whole, atol=1e-6)
    np.testing.assert_allclose(stock["permuted"]["images"], whole[PERMUTATION], atol=1e-6)
    np.testing.assert_allclose(
        with_xla["permuted_xla"]["images"], with_xla["sample_xla"]["images"][PERMUTATION], atol=1e-6
    )


def test_pictures(with_xla, stock):
    for answer in (with_xla["sample_xla"], stock["default"]):
        pixels = np.clip(np.round((answer["images"] + 1.0) * 127.5), 0, 255).astype("uint8")
        np.testing.assert_array_equal(answer["images_uint8"], pixels)
        decoded = [np.asarray(Image.open(io.BytesIO(png))) for png in answer["png_bytes"]]
        np.testing.assert_array_equal(np.stack(decoded), answer["images_uint8"][..., 0])


@pytest.mark.parametrize("suffix", ["", "_xla"])
def test_bad_rows_of_one_client_leave_the_others_as_they_are(with_xla, suffix):
    check_marks(with_xla, suffix)
    whole, merged = with_xla["sample"]["images"], with_xla[f"merged{suffix}"]
    np.testing.assert_allclose(merged["images"][[0, 1, 2, *range(8, 13)]], whole, atol=1e-5)


def test_bad_rows_on_a_stock_server(stock):
    check_marks(stock, "")
    merged = stock["merged"]["images"]
    np.testing.assert_allclose(
        merged[:3], stock["first"]["images"], atol=1e-6
    )  # asked alone, by one client and by another
    np.testing.assert_allclose(merged[8:], stock["rest"]["images"], atol=1e-6)
    np.testing.assert_array_equal(stock["sample"]["error"], [b""] * 8)
    assert stock["sample"]["valid"].all()


def check_marks(answers, suffix):
    merged, tame, bad = (answers[f"{name}{suffix}"] for name in ("merged", "tame", "all bad"))
    valid = np.array([True] * 3 + [False] * 4 + [True] * 6)
    assert merged["valid"].dtype == bool
    np.testing.assert_array_equal(merged["valid"], valid)
    assert [e.decode() for e in merged["error"]] == [""] * 3 + ERRORS + [""] * 5
    assert np.isnan(merged["images"][~valid]).all() and (merged["images_uint8"][~valid] == 0).all()
    assert list(merged["png_bytes"][~valid]) == [b""] * 4
    # To the bit what a batch of as many rows gives without them.
    assert tame["valid"].all()
    for name in ("images", "images_uint8", "png_bytes"):
        np.testing.assert_array_equal(merged[name][valid], tame[name][valid])
    np.testing.assert_array_equal(bad["valid"], valid[3:8])
    answer = answers[f"bad x{suffix}"]
    np.testing.assert_array_equal(answer["valid"], [True, False, True, False, False, True])
    assert [e.decode() for e in answer["error"][[1, 3, 4]]] == [
        f"x: expected values in [-1.0, 1.0], received {number}" for number in ("inf", "nan", "-1.001")
    ]
    assert np.isnan(answer["mean"][[1, 3, 4]]).all() and list(answer["label"][[1, 3, 4]]) == [0, 0, 0]
    np.testing.assert_allclose(answer["mean"][[0, 2, 5]], X.mean(axis=(1, 2, 3))[[0, 2, 2]], atol=1e-5)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("one label", r"label, seed, scale: expected the same number of rows in each input, received \[1 8 8\]"),
        ("33 rows", "label, seed, scale: expected 1 to 32 rows, received 33"),
        ("33 rows xla", "label, seed, scale: expected 1 to 32 rows, received 33"),
        ("no rows", "expected 1 to 32 rows, received 0"),
        ("no rows xla", "expected 1 to 32 rows, received 0"),
        ("a scalar", r"\[\] is not compatible with expected shape \[\?\]"),
        ("a matrix", r"\[8,8\] is not compatible with expected shape \[\?\]"),
        ("large images", r"\[1,600,600,1\] is not compatible with expected shape \[\?,6,6,1\]"),
        ("three numbers a seed", r"\[8,3\] is not compatible with expected shape \[\?,2\]"),
    ],
)
def test_wrong_requests_get_an_error_status(with_xla, stock, name, text):
    for answers in (with_xla, stock):
        with pytest.raises(RuntimeError, match=text):
            raise_if_text(answers[name])
        assert answers[name].startswith("INVALID_ARGUMENT")


def raise_if_text(answer):
    if isinstance(answer, str):
        raise RuntimeError(answer)


def test_program(exported, request_rows, images, tmp_path):
    np.savez(tmp_path / "inputs.npz", **request_rows)
    files = [str(tmp_path / "inputs.npz"), str(tmp_path / "outputs.npz")]
    subprocess.run(
        [sys.executable, "-m", "kgen.serving.capi", str(exported), "serving_default", *files, "--no-xla"], check=True
    )
    with np.load(tmp_path / "outputs.npz") as outputs:
        np.testing.assert_allclose(outputs["images"], images, atol=TOLERANCE)
        decoded = np.asarray(Image.open(io.BytesIO(outputs["png_bytes"][0])))
        np.testing.assert_array_equal(decoded, outputs["images_uint8"][0, ..., 0])


def test_client_says_what_is_wrong(stock, tmp_path, monkeypatch):
    assert stock["no such signature"].startswith("signature: expected one of encode, encode_png, encode_uint8, ")
    assert (
        stock["no label"] == "inputs: signature 'sample' takes ['label', 'scale', 'seed'], received ['scale', 'seed']."
    )
    assert stock["float label"] == "label: expected int32, received float32."
    with pytest.raises(
        FileNotFoundError, match=r"path: expected a SavedModel's folder, .*saved_model.pb does not exist"
    ):
        kgen.serving.Session(tmp_path)
    (tmp_path / "saved_model.pb").touch()
    monkeypatch.setattr(kgen.serving.Session, "_xla_is_off", True)
    with pytest.raises(RuntimeError, match="XLA was switched off in this process by an earlier Session"):
        kgen.serving.Session(tmp_path)
