"""Pictures as uint8 and as PNG files, where an endpoint takes floats: asked of the export, by TensorFlow's C API."""

import io

import numpy as np
import pytest
from PIL import Image

import kgen
from kgen.serving import bundle

PIXELS = np.random.default_rng(2).integers(0, 256, (3, 6, 6, 1)).astype("uint8")


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(file, "PNG")
    return file.getvalue()


FILES = [png(pixels) for pixels in PIXELS]
BAD = [
    b"",
    b"GIF89a" + b"\0" * 40,
    png(np.zeros((6, 7), "uint8")),
    png(np.zeros((60000, 3), "uint8")),
    FILES[0][:-5],
]
ERRORS = ["something else", "something else", "one of 6x7", "one of 60000x3", "one that is cut off"]


@pytest.fixture(scope="module")
def answers(exported, serve):
    broken = bytearray(FILES[0])
    broken[45] ^= 255  # in the compressed pixels: header and end are whole
    files = [FILES[0], *BAD, *FILES[1:]]
    requests = {
        "floats": ("encode", {"x": kgen.data.from_uint8(PIXELS)}),
        "uint8": ("encode_uint8", {"x_uint8": PIXELS}),
        "png": ("encode_png", {"x_png_bytes": FILES}),
        "merged": ("encode_png", {"x_png_bytes": files}),
        "in colour": ("encode_png", {"x_png_bytes": [png(np.repeat(PIXELS[0], 3, -1))]}),
        "broken": ("encode_png", {"x_png_bytes": [bytes(broken)]}),
        "numbers": ("encode_png", {"x_png_bytes": [1, 2]}),
    }
    return serve(exported, requests, xla=False)


@pytest.mark.parametrize("form", ["uint8", "png"])
def test_they_are_what_the_floats_are(answers, form):
    np.testing.assert_allclose(answers[form]["mean"], answers["floats"]["mean"], atol=1e-6)
    assert answers[form]["valid"].all()


def test_a_file_that_is_not_what_is_expected_is_marked_and_leaves_the_others_alone(answers):
    merged, good = answers["merged"], [0, 6, 7]
    assert list(np.flatnonzero(merged["valid"])) == good
    np.testing.assert_array_equal(merged["mean"][good], answers["png"]["mean"])
    assert np.isnan(merged["mean"][1:6]).all() and not any(merged["error"][good])
    wanted = "x_png_bytes: expected a PNG file of 6x6 pixels, received "
    assert [text.decode() for text in merged["error"][1:6]] == [wanted + e for e in ERRORS]


def test_colour_is_made_grey_and_what_cannot_be_decoded_fails_the_request(answers):
    np.testing.assert_allclose(answers["in colour"]["mean"], answers["png"]["mean"][:1], atol=2 / 255)
    assert isinstance(answers["broken"], str) and "PNG" in answers["broken"]
    assert answers["numbers"] == "x_png_bytes: expected bytes, such as those of a file, received int."


def test_the_manifest_and_the_instructions_name_them(exported):
    described = bundle.read_manifest(exported)["endpoints"]["encode"]["pictures"]
    assert described == {"encode_uint8": {"x": "x_uint8"}, "encode_png": {"x": "x_png_bytes"}}
    assert "`encode_png`" in (exported.parent / "SERVING.md").read_text()
