"""The page of ``kgen demo`` through Gradio's own client: what it shows is what Python gives, and what it lets in and out."""

import importlib.metadata
import importlib.util
import io
import itertools
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import threading
import time
import types
import urllib.error
import urllib.request

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from tools import demo_models as models

import kgen
from kgen.core import facts, pictures
from kgen.tools import cli, demo

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("gradio") is None, reason='gradio is not installed: pip install -e ".[demo]"'
)

NOT_GIVEN = "not given"


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return models.folder(tmp_path_factory.mktemp("presets"))


@pytest.fixture(scope="module")
def page(sources):
    clouds = models.Clouds(name="clouds")
    gan = models.gan()
    page = demo.page(sources["digits"], sources["vae"], sources["gpt"], clouds, models.plane(), gan)
    _, page.url, _ = page.launch(prevent_thread_lock=True)
    page.clouds, page.gan = clouds, gan
    yield page
    page.close(verbose=False)


@pytest.fixture
def client(page, tmp_path):
    from gradio_client import Client

    return Client(page.url, verbose=False, download_files=str(tmp_path / "downloads"))


@pytest.fixture(scope="module")
def digits(sources):
    return kgen.load(sources["digits"])


def seen(paths, shape):
    """The pixels (N, H, W, C) of pictures that were enlarged by whole pixels."""
    from PIL import Image

    found = []
    for path in paths:
        pixels = np.asarray(Image.open(path["image"] if isinstance(path, dict) else path))
        pixels = pixels[..., None] if pixels.ndim == 2 else pixels
        factor = pixels.shape[0] // shape[0]
        small = pixels[::factor, ::factor]
        assert factor * min(shape[:2]) >= 128 and (small.repeat(factor, 0).repeat(factor, 1) == pixels).all()
        found.append(small)
    return np.stack(found)


def png(array):
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return stream.getvalue()


def run(code, folder):
    """What the page's lines of Python make, where its files lie."""
    space, before = {}, os.getcwd()
    os.chdir(folder)
    try:
        exec(code, space)
    finally:
        os.chdir(before)
    return space


def test_a_picture_is_python_s_to_the_pixel(client, digits, tmp_path):
    shown, files, code, curl = client.predict("7", 3.0, 3, NOT_GIVEN, "5", 16, api_name="/digits_sample")
    wanted = digits.sample(16, seed=5, labels=7, guidance=3.0)
    np.testing.assert_array_equal(seen(shown, (8, 8, 1)), pictures.to_uint8(wanted))
    found = {os.path.basename(path): path for path in files}
    np.testing.assert_array_equal(np.load(found["pictures.npy"]), wanted)
    assert "model.sample(16, seed=5, labels=7, guidance=3.0)" in code
    np.testing.assert_array_equal(run(code, tmp_path)["pictures"], wanted)
    assert (
        json.loads(pathlib.Path(found["request.json"]).read_text())["inputs"]["label"] == [7] * 16 and "curl -s" in curl
    )
    other = client.predict("7", 3.0, 3, "heun", "5", 1, api_name="/digits_sample")  # a server has no choice of samplers
    assert "seed=5, steps=3, labels=7, guidance=3.0, sampler='heun')" in other[2] and other[3].startswith(
        "# A server takes no sampler"
    )
    wanted = digits.sample(1, seed=5, labels=7, guidance=3.0, steps=3, sampler="heun")  # as many steps as the page says
    np.testing.assert_array_equal(seen(other[0], (8, 8, 1)), pictures.to_uint8(wanted))


def test_the_command_for_a_server_gives_the_same(client, page, tmp_path):
    import base64

    from PIL import Image
    from serving.test_client import serving

    _, _, _, curl = client.predict("2", 0.75, "9", 4, api_name="/clouds_sample")
    wanted = pictures.to_uint8(page.clouds.sample(4, seed=9, weather=2, contrast=0.75))
    version = kgen.serving.export(page.clouds, tmp_path, endpoints=["sample"], batch_sizes=(4,))
    with kgen.serving.Session(version) as session, serving(version, session) as server:
        assert "http://localhost:8501/v1/models/clouds:predict" in curl
        curl = curl.replace("localhost:8501", f"localhost:{server.server_address[1]}").replace(
            "/clouds:", "/toy%20models:"
        )
        answer = json.loads(subprocess.run(curl, shell=True, capture_output=True, check=True, timeout=60).stdout)
    images = [Image.open(io.BytesIO(base64.b64decode(v["b64"]))) for v in answer["outputs"]["png_bytes"]]
    assert np.abs(np.stack(images).astype(int) - wanted).max() <= 1


def test_the_command_for_a_server_is_one_that_a_shell_takes(tmp_path):
    import shlex

    from kgen.core import Endpoint, TensorSpec, views
    from kgen.tools.demo import asking, controls, subject

    class Large(models.Clouds):
        """Takes a picture of any size."""

        def echo(self, x):
            return x

        def endpoints(self):
            x = {"x": TensorSpec((None, None, 3), "float32", "picture", -1.0, 1.0, kind="image")}
            return [*super().endpoints(), Endpoint("echo", None, x, {"images": "in [-1, 1]"}, ("images",))]

    model = Large(name="my $(toy)'s")
    given = model.endpoints()[-1].inputs
    view = views.View("echo", "Echo", "echo", "pictures", given=given, seeded=False, endpoint="echo")
    known = subject.Subject(model, model.name, None, {}, (view,))
    for side in (2, 96):
        x = controls.Answer(np.full((side, side, 3), 1 / 3, "float32"))
        request = asking.Request(known, view, 1, None, {"x": x})
        words = shlex.split(asking.curl(request))
        assert words[2] == "http://localhost:8501/v1/models/my%20%24%28toy%29%27s:predict"
        assert max(map(len, words)) < 2**17  # the most that Linux passes on
        if side == 2:
            assert json.loads(words[-1]) == request.body
        else:
            assert words[-1] == "@request.json"  # among the files


def test_a_system_that_came_later_is_on_the_page(client, page):
    names = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert {"/clouds_sample", "/clouds_brighten"} <= names.keys()
    shown, _, code, _ = client.predict("2", 0.75, "1", 4, api_name="/clouds_sample")
    wanted = page.clouds.sample(4, seed=1, weather=2, contrast=0.75)
    np.testing.assert_array_equal(seen(shown, (6, 6, 3)), pictures.to_uint8(wanted))
    assert "sample(4, seed=1, weather=2, contrast=0.75)" in code
    controls = {c.label: c for c in page.blocks.values() if getattr(c, "label", None)}
    assert controls["Weather"].info == "what the sky is like" and ("snow", "2") in controls["Weather"].choices
    assert (controls["Contrast"].maximum, controls["Contrast"].value) == (2.0, 0.5)


def test_more_rows_are_the_same_rows_in_pieces(client, digits):
    shown, _, code, _ = client.predict("1", 1.0, 3, NOT_GIVEN, "2", 64, api_name="/digits_sample")
    assert "sample(64, seed=2, labels=1, batch_size=16)" in code
    np.testing.assert_array_equal(
        seen(shown, (8, 8, 1)), pictures.to_uint8(digits.sample(64, seed=2, labels=1, batch_size=16))
    )


def test_views_of_pictures(client, digits, sources, tmp_path):
    from gradio_client import handle_file

    picture = tmp_path / "two.png"
    picture.write_bytes(png(np.arange(64, dtype="uint8").reshape(8, 8).repeat(16, 0).repeat(16, 1) * 4))
    frame, step, _, code, _ = client.predict(NOT_GIVEN, 1.0, 3, NOT_GIVEN, 3, "4", 1, api_name="/digits_way")
    found = run(code, tmp_path)["frames"]
    assert found.shape == (1, 4, 8, 8, 1) and step["maximum"] == 3
    np.testing.assert_array_equal(seen([frame], (8, 8, 1)), pictures.to_uint8(found[:, -1]))
    np.testing.assert_array_equal(found[:, -1], digits.sample(1, seed=4))

    shown, files, code, _ = client.predict(
        handle_file(picture), "3", 1.0, 3, 0.6, NOT_GIVEN, "0", 4, api_name="/digits_translate"
    )
    for path in files:
        os.replace(path, tmp_path / os.path.basename(path))
    again = run(code, tmp_path)["pictures"]
    np.testing.assert_array_equal(seen(shown, (8, 8, 1)), pictures.to_uint8(again))
    np.testing.assert_array_equal(
        pictures.to_uint8(np.load(tmp_path / "x.npy"))[..., 0], np.arange(64).reshape(8, 8) * 4
    )
    assert len(np.unique(again, axis=0)) == 4  # four ways to draw it anew

    editor = {"background": handle_file(picture), "layers": [], "composite": None}
    shown, files, code, _ = client.predict(
        editor, "4, 0, 8, 8", NOT_GIVEN, 1.0, 3, 2, NOT_GIVEN, "0", 1, api_name="/digits_inpaint"
    )
    for path in files:
        os.replace(path, tmp_path / os.path.basename(path))
    again = run(code, tmp_path)["pictures"]
    np.testing.assert_array_equal(seen(shown, (8, 8, 1)), pictures.to_uint8(again))
    x, mask = np.load(tmp_path / "x.npy"), np.load(tmp_path / "mask.npy")
    assert mask[:4].all() and not mask[4:].any() and np.array_equal(again[0][mask], x[mask]) and (again[0] != x).any()

    text, _, code, _ = client.predict(handle_file(picture), api_name="/digits_log_prob")
    np.save(tmp_path / "x.npy", np.load(tmp_path / "x.npy"))
    assert re.match(r"-?[\d.]+ nats, [\d.-]+ bits per value\. \d+ % of 40 test examples are less likely", text)
    assert "log_prob(x, levels=17, num_samples=2)" in code

    vae = kgen.load(sources["vae"])
    known = facts.read(sources["vae"])["latent"]
    shown, _, _, _ = client.predict(1.5, 0, 0, -1, api_name="/vae_latent")
    z = np.asarray(known["mean"]) + np.asarray([1.5, 0, 0, -1]) * known["deviations"] @ np.asarray(known["axes"])
    np.testing.assert_array_equal(seen(shown, (8, 8, 1)), pictures.to_uint8(vae.decode(z[None].astype("float32"))))
    shown, *_ = client.predict(handle_file(picture), api_name="/vae_reconstruct")
    assert seen(shown, (8, 8, 1)).shape == (1, 8, 8, 1)
    _, _, _, code, _ = client.predict("0", "1", 5, api_name="/vae_between")
    a, b = vae.sample(1, seed=0), vae.sample(1, seed=1)
    np.testing.assert_array_equal(run(code, tmp_path)["frames"], vae.interpolate(a, b, steps=5))
    own = client.predict(api_name="/vae_reconstruct_own")
    assert seen([own], (8, 8, 1)).shape == (1, 8, 8, 1)


def test_a_smaller_picture_is_enlarged(tmp_path):
    from kgen.diffusion.super_resolution import SmallerPicture
    from kgen.tools.demo import asking, controls, subject

    network = kgen.networks.UNet((4, 4, 1), (8,), 1, (False,), groups=4, conditions=[SmallerPicture((2, 2, 1))])
    sampler = kgen.diffusion.DDIMSampler(2)
    model = kgen.diffusion.SuperResolution((4, 4, 1), 2, network=models.shaken(network), sampler=sampler, ema=None)
    known = subject.of(model)
    (view,) = known.views
    small = np.asarray([[0, 85], [170, 255]], "uint8")
    (tmp_path / "small.png").write_bytes(png(small.repeat(8, 0).repeat(8, 1)))
    answer = controls.of_spec("x", view.given["x"], True).read(str(tmp_path / "small.png"))
    np.testing.assert_array_equal(pictures.to_uint8(answer.value)[..., 0], small)
    request = asking.Request(known, view, 1, 3, {"x": answer})
    np.testing.assert_array_equal(request.ask(), model.upscale(answer.value[None], seed=3))
    assert "pictures = model.upscale(x, seed=3)" in asking.python(request)


def test_each_kind_of_condition_has_its_control():
    from kgen.core import TensorSpec
    from kgen.tools.demo import controls

    vector = controls.of_spec("pose", TensorSpec((3,), "float32", "pose, radians", -2.0, 1.0), True)
    assert [(c.minimum, c.maximum, c.value) for c in vector.components] == [(-2.0, 1.0, 0.0)] * 3
    assert vector.read(0.5, -1, 0) == controls.Answer([0.5, -1.0, 0.0], "[0.5, -1.0, 0.0]")
    optional = controls.of_spec("pose", TensorSpec((3,), "float32", "pose, radians", -2.0, 1.0))
    assert optional.read(False, 0.5, -1, 0).value is None and optional.read(True, 0.5, -1, 0).value == [0.5, -1.0, 0.0]
    text = controls.of_spec("caption", TensorSpec((16,), "int32", "tokens", kind="sequence"), tokenizer=object())
    assert text.read("it's").code == repr("it's") and text.read("").value is None
    switch = controls.of_spec("noise", TensorSpec((), "bool", "whether noise is added", default=True))
    assert switch.read(True).value is None and switch.read(False).value is False
    numbers = controls.of_spec("codes", TensorSpec((2, 2), "int32", "codes"), True)
    np.testing.assert_array_equal(numbers.read("1, 2,3,4").arrays["codes"], [[1, 2], [3, 4]])
    for text, message in (("1, x", "codes: expected 4 numbers separated"), ("1, 2", "expected 4 numbers, received 2")):
        with pytest.raises(ValueError, match=message):
            numbers.read(text)


def test_a_way_between_two_seeds(client, page):
    large = str(2**60 + 1)
    frame, step, _, code, _ = client.predict("3", large, "2", 3, 1, api_name="/gan_between")
    wanted = page.gan.interpolate_seeds(1, 3, 2**60 + 1, steps=3, labels=2)
    assert step["maximum"] == 2 and f"b = {large}" in code
    np.testing.assert_array_equal(seen([frame], (8, 8, 1)), pictures.to_uint8(wanted[:, -1]))
    given = {"model": page.gan}
    exec(code.partition("is the one that the page was made of\n")[2], given)
    np.testing.assert_array_equal(given["frames"], wanted)


def test_text_grows_token_by_token(client, sources):
    gpt = kgen.load(sources["gpt"])
    job = client.submit("def ", 1.0, 40, None, 1.0, 0.0, 1.0, "", "3", api_name="/gpt_generate")
    text, _, code, _ = job.result(timeout=60)
    shown = [output[0] for output in job.outputs()]
    assert len(shown) > 2 and all(b.startswith(a) or a == "def " for a, b in itertools.pairwise(shown))
    assert text == "def " + gpt.generate("def ", seed=3, max_new_tokens=40)
    assert "prompt = 'def '" in code and "model.generate(prompt, seed=3, max_new_tokens=40)" in code


def test_points_of_the_plane_are_drawn_beside_their_density(client):
    from PIL import Image

    plot, _, code, _ = client.predict(5, "0", api_name="/plane_sample")
    assert Image.open(plot).width > 600 and "sample(1000, seed=0, steps=5)" in code  # two panels


def test_a_wrong_input_shows_kgen_s_own_words(client, tmp_path):
    from gradio_client import handle_file
    from gradio_client.exceptions import AppError

    (tmp_path / "black.png").write_bytes(png(np.zeros((6, 6, 3), "uint8")))
    (tmp_path / "notes.png").write_text("no picture")
    (tmp_path / "half.png").write_bytes(png(np.random.default_rng(0).integers(0, 255, (64, 64), "uint8"))[:2000])
    rest = ("3", 1.0, 3, 0.6, NOT_GIVEN, "0", 1)
    for call, message in (
        (
            lambda: client.predict("7", 1.0, 3, NOT_GIVEN, "-1", 1, api_name="/digits_sample"),
            r"seed: expected an integer in",
        ),
        (lambda: client.predict("7", 1.0, 3, NOT_GIVEN, str(2**62), 1, api_name="/digits_sample"), "seed: expected"),
        (lambda: client.predict("7", 1.0, 3, NOT_GIVEN, "9" * 5000, 1, api_name="/digits_sample"), "seed: expected"),
        (
            lambda: client.predict("12", 1.0, 3, NOT_GIVEN, "0", 1, api_name="/digits_sample"),
            "not in the list of choices",
        ),
        (
            lambda: client.predict("7", 1.0, 3, NOT_GIVEN, "0", 3, api_name="/digits_sample"),
            "not in the list of choices",
        ),
        (lambda: client.predict(None, *rest, api_name="/digits_translate"), "x: expected a picture"),
        (
            lambda: client.predict(handle_file(tmp_path / "notes.png"), *rest, api_name="/digits_translate"),
            "picture: expected one of PNG",
        ),
        (
            lambda: client.predict(handle_file(tmp_path / "half.png"), *rest, api_name="/digits_translate"),
            "expected a whole file, received one that ends early",
        ),
        (
            lambda: client.predict(handle_file(tmp_path / "black.png"), api_name="/clouds_brighten"),
            r"expected no black, &lt;b&gt;received&lt;/b&gt; some",
        ),
    ):
        with pytest.raises((AppError, ValueError), match=message):
            call()


def test_a_stop_takes_effect_at_the_next_piece_and_leaves_what_was_drawn(client, page, tmp_path, monkeypatch):
    from kgen.tools.demo import asking, layout

    going, pieces, told, ask = threading.Event(), [], [], asking.Request.ask

    def slow(self, progress, stop, **more):
        def watch(done, count):
            pieces.append((done, count))
            going.set()
            assert done > 1 or stop.wait(30)
            progress(done, count)

        return ask(self, watch, stop, **more)

    monkeypatch.setattr(asking.Request, "ask", slow)
    monkeypatch.setattr(layout.gr, "Info", lambda text, **_: told.append(text))
    job = client.submit("2", 0.75, "1", 64, api_name="/clouds_sample")
    assert going.wait(30)
    client.predict(api_name="/clouds_sample_stop")
    shown, files, code, _ = job.result(timeout=30)
    assert pieces == [(1, 4)] and told == ["Stopped: 16 of 64."]
    wanted = page.clouds.sample(16, seed=1, weather=2, contrast=0.75)
    np.testing.assert_array_equal(seen(shown, (6, 6, 3)), pictures.to_uint8(wanted))
    np.testing.assert_array_equal(np.load(next(path for path in files if path.endswith(".npy"))), wanted)
    assert "sample(16, seed=1, weather=2, contrast=0.75)" in code  # gives what is seen


def test_a_text_that_was_stopped_stays(client, sources, monkeypatch):
    from kgen.tools.demo import asking

    going, ask = threading.Event(), asking.Request.ask

    def slow(self, stop, stream, **more):
        def grow(piece):
            going.set()
            assert stop.wait(30)
            stream(piece)

        return ask(self, stop=stop, stream=grow, **more)

    monkeypatch.setattr(asking.Request, "ask", slow)
    job = client.submit("def ", 1.0, 40, None, 1.0, 0.0, 1.0, "", "3", api_name="/gpt_generate")
    assert going.wait(30)
    client.predict(api_name="/gpt_generate_stop")
    text, files, code, _ = job.result(timeout=30)
    whole = kgen.load(sources["gpt"]).generate("def ", seed=3, max_new_tokens=40)
    written = pathlib.Path(files[0]).read_text(encoding="utf-8")
    assert text == "def " + written and whole.startswith(written) and 0 < len(written) < len(whole)
    assert code.startswith("# It was stopped") and "generate(prompt, seed=3, max_new_tokens=40)" in code


def test_visitors_at_once_get_their_own_in_turn(client, page, digits, monkeypatch):
    from gradio_client import Client

    from kgen.tools.demo import asking

    at_work, most, ask = [], [], asking.Request.ask

    def counted(self, *args, **more):
        at_work.append(self)
        most.append(len(at_work))
        time.sleep(0.05)
        try:
            return ask(self, *args, **more)
        finally:
            at_work.remove(self)

    monkeypatch.setattr(asking.Request, "ask", counted)
    other = Client(page.url, verbose=False, download_files=client.output_dir)
    jobs = [
        c.submit("3", 1.0, 3, NOT_GIVEN, str(s), 1, api_name="/digits_sample") for s, c in enumerate((client, other))
    ]
    for seed, job in enumerate(jobs):
        shown = job.result(timeout=60)[0]
        np.testing.assert_array_equal(seen(shown, (8, 8, 1)), pictures.to_uint8(digits.sample(1, seed=seed, labels=3)))
    assert max(most) == 1


def test_nobody_is_served_before_their_turn(client, page, monkeypatch):
    index = next(i for i, f in page.fns.items() if f.api_name == "clouds_sample")
    body = json.dumps({"data": ["2", 0.75, "9", 4], "fn_index": index, "session_hash": "abc"}).encode()
    status, _, answer = fetch(f"{page.url}gradio_api/run/clouds_sample", body, **JSON)
    assert status == 404 and b"join the queue" in answer
    index = next(
        i for i, f in page.fns.items() if f.api_name == "clouds_sample_dice"
    )  # what takes no time needs no turn
    body = json.dumps({"data": [], "fn_index": index, "session_hash": "abc"}).encode()
    assert fetch(f"{page.url}gradio_api/run/clouds_sample_dice", body, **JSON)[0] == 200
    assert page._queue.max_size <= 1000
    monkeypatch.setattr(page._queue, "max_size", 0)
    status, _, answer = join(page, ["2", 0.75, "9", 4], "clouds_sample")
    assert status == 503 and b"Queue is full" in answer


# Safe by default.

JSON = {"Content-Type": "application/json"}


def fetch(url, data=None, **headers):
    """Status, headers and body of a request."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=20) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def test_no_file_but_its_own_is_given(page, tmp_path):
    from kgen.tools.demo import files, safety

    assert oct(files.folder().stat().st_mode & 0o777) == "0o700"
    own, secret = files.results() / "own.txt", tmp_path / "secret.txt"
    own.write_text("mine")
    secret.write_text("secret")
    link = own.with_name("link.txt")
    link.symlink_to(secret)
    address = f"{page.url}gradio_api/file="
    assert fetch(f"{address}{own}")[2] == b"mine"
    slash = str(secret).replace("/", "%2F")
    up = f"{own.parent}/" + "../" * 12 + str(secret).lstrip("/")
    for path in (
        "/etc/passwd", secret, link, slash, slash.replace("%", "%25"), up, up.replace("..", "%2e%2e"), "../../etc/passwd", __file__,
        f"file://{secret}", "https://example.org/", "http://127.0.0.1:1/", "https%3A%2F%2Fexample.org", "//example.org/x", "%00",
    ):  # fmt: skip
        status, _, body = fetch(f"{address}{path}")
        assert status == 403 and b"secret" not in body, path
    for path in ("gradio_api/file/etc/passwd", "gradio_api/proxy=https://a.hf.space/", "gradio_api/runs", "monitoring", "gradio_api/openapi.json",
                 "docs", "gradio_api/stream/a/b/1/playlist.m3u8", "gradio_api/deep_link", "dev/reload", "custom_component/a"):  # fmt: skip
        assert fetch(page.url + path)[0] == 404, path
    assert not page.allowed_paths and not safety.is_own("relative.txt")


def join(page, data, name):
    """Queues a call as a browser does; the answer to that request."""
    index = next(i for i, f in page.fns.items() if f.api_name == name)
    body = json.dumps({"data": data, "fn_index": index, "session_hash": "abc", "event_data": None, "trigger_id": None})
    return fetch(f"{page.url}gradio_api/queue/join", body.encode(), **JSON)


def test_a_text_may_begin_as_an_address_of_data_does(client, sources):
    prompt = "data: dict = {}"
    text, *_ = client.predict(prompt, 1.0, 4, None, 1.0, 0.0, 1.0, "", "3", api_name="/gpt_generate")
    assert text == prompt + kgen.load(sources["gpt"]).generate(prompt, seed=3, max_new_tokens=4)


def test_what_is_no_file_is_short(page):
    status, _, answer = join(page, ["2", 0.75, "9" * 2**21, 4], "clouds_sample")
    assert status == 413 and answer == b"Expected at most 1 MB."


def test_another_site_in_a_visitor_s_browser_asks_for_nothing(page):
    own, form = page.url.rstrip("/"), {"Content-Type": "multipart/form-data; boundary=x"}
    body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\nabc\r\n--x--\r\n'
    for status, headers in (
        (200, {}),  # a program, such as Gradio's client
        (200, {"Origin": own}),
        (200, {"Origin": own, "Sec-Fetch-Site": "same-origin"}),
        (200, {"Origin": "https://hub.example", "Sec-Fetch-Site": "same-origin"}),  # behind a proxy: the browser knows
        (403, {"Origin": "https://evil.example"}),
        (403, {"Origin": "http://127.0.0.1:1"}),
        (403, {"Origin": "null"}),
        (403, {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}),
        (403, {"Origin": own, "Sec-Fetch-Site": "same-site"}),
        (403, {"Host": "evil.example"}),  # a name that was turned to this machine
        (403, {"Host": "evil.example", "Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"}),
        (200, {"Host": f"localhost:{page.server_port}"}),
        (200, {"Host": f"[::1]:{page.server_port}"}),
    ):
        assert fetch(f"{page.url}gradio_api/upload", body, **form, **headers)[0] == status, headers
    assert fetch(f"{page.url}config", Origin="https://evil.example")[0] == 403
    assert fetch(f"{page.url}config", Host="evil.example")[0] == 403


def test_a_page_for_others_has_any_name():
    import asyncio

    from kgen.tools.demo import safety

    answers = []

    async def app(scope, receive, send):
        answers.append(scope["path"])

    async def send(message):
        answers.append(message.get("status"))

    for headers in (
        [(b"host", b"page.example"), (b"origin", b"https://page.example")],
        [(b"host", b"page.example"), (b"origin", b"https://evil.example")],
    ):
        scope = {"type": "http", "method": "GET", "path": "/config", "headers": headers}
        asyncio.run(safety.Guard(app, alone=False)(scope, None, send))
    assert answers == ["/config", 403, None]


def test_what_is_sent_is_looked_at_before_it_is_decoded(page, client, tmp_path, monkeypatch):
    import base64
    import http.client

    from gradio_client import handle_file
    from gradio_client.exceptions import AppError
    from PIL import Image

    small = base64.b64encode(png(np.zeros((6, 6, 3), "uint8"))).decode()
    meta = {"_type": "gradio.FileData"}
    for data in (
        {"path": "x.png", "url": f"data:image/png;base64,{small}", "meta": meta},
        {"path": f"data:image/png;base64,{small}", "meta": meta},
        {"path": "https://example.org/x.png", "meta": meta},
        {"path": "/etc/passwd", "meta": meta},
    ):
        status, _, body = join(page, [data], "clouds_brighten")
        assert status == 403 and b"sent" in body, data
    # A form is one where forms are taken alone, and says so once.
    outside = {"data": [{"path": "https://example.org/x.png", "meta": meta}], "fn_index": 0, "session_hash": "abc"}
    for path, kinds in (
        ("queue/join", ["application/json", "multipart/form-data"]),
        ("queue/join", ["multipart/form-data; boundary=x"]),
        ("component_server", ["application/x-www-form-urlencoded"]),
        ("component_server", ["application/json", "multipart/form-data; boundary=x"]),
    ):
        connection = http.client.HTTPConnection(page.server_name, page.server_port, timeout=20)
        connection.putrequest("POST", f"/gradio_api/{path}")
        for kind in kinds:
            connection.putheader("Content-Type", kind)
        connection.putheader("Content-Length", len(json.dumps(outside)))
        connection.endheaders(json.dumps(outside).encode())
        assert connection.getresponse().status == 403, (path, kinds)
    boundary = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    assert fetch(f"{page.url}gradio_api/upload", boundary + b"0" * (21 * 2**20) + b"\r\n--x--\r\n", **kind)[0] == 413
    assert fetch(f"{page.url}gradio_api/upload", boundary + b"0" * 100 + b"\r\n--x--\r\n", **kind)[0] == 200

    large = tmp_path / "large.png"
    large.write_bytes(png(np.zeros((1, 4097), "uint8")))
    decoded = []
    monkeypatch.setattr(Image.Image, "load", lambda self: decoded.append(self))
    rest = ("", NOT_GIVEN, 1.0, 3, 2, NOT_GIVEN, "0", 1)
    for call in (
        lambda: client.predict(handle_file(large), api_name="/clouds_brighten"),
        lambda: client.predict(
            {"background": handle_file(large), "layers": [], "composite": None}, *rest, api_name="/digits_inpaint"
        ),
    ):
        with pytest.raises(AppError, match="expected at most 4096 pixels a side, received 4097 x 1"):
            call()
    assert decoded == []


def test_pictures_of_every_kind_of_file_are_the_same(tmp_path):
    from PIL import Image

    from kgen.tools.demo import files

    grey = np.arange(64, dtype="uint8").reshape(8, 8) * 4
    kinds = {"plain": grey, "sixteen bits": grey.astype("uint16") * 257, "colours": np.stack([grey] * 3, -1)}
    kinds["half seen"] = np.stack([0 * grey] * 3 + [255 - grey], -1)  # black, as much as is not seen through; on white
    for name, pixels in kinds.items():
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        x = files.read_picture(tmp_path / f"{name}.png", (8, 8, 1))
        np.testing.assert_array_equal(pictures.to_uint8(x)[..., 0], grey, name)


def test_an_editor_keeps_little_of_what_is_left_in_it(page):
    from kgen.tools.demo import controls

    editor = next(c for c in page.blocks.values() if type(c).__name__ == "ImageEditor")
    kind = {"Content-Type": "multipart/form-data; boundary=x"}

    def leave(**fields):
        fields = {
            "component_id": editor._id,
            "session_hash": "abc",
            "fn_name": "accept_blobs",
            "type": "layer",
            **fields,
        }
        parts = [f'--x\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in fields.items()]
        file = '--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\nabc\r\n--x--\r\n'
        return fetch(f"{page.url}gradio_api/component_server", ("".join(parts) + file).encode(), **kind)[0]

    assert leave(id="large", index=10**6) == 500 and "large" not in editor.blob_storage
    assert {leave(id=f"visitor {i}", index=1) for i in range(controls.HELD + 4)} == {200}
    assert len(editor.blob_storage) == controls.HELD and "visitor 3" not in editor.blob_storage
    editor.blob_storage.clear()
    large = bytes(20 * 2**20)  # one in memory
    for i in range(controls.LAYERS):
        data = {"id": f"visitor {i % 3}", "type": "layer", "index": i}
        editor.accept_blobs(types.SimpleNamespace(data=data, files=[("a.png", large)]))
    held = [layer for blobs in editor.blob_storage.values() for layer in blobs.layers if layer]
    assert 0 < sum(map(len, held)) <= 8 * len(large)
    editor.blob_storage.clear()
    picture = {"path": "x.png", "meta": {"_type": "gradio.FileData"}}
    with pytest.raises(Exception, match="expected at most 16 layers, received 17"):
        editor.preprocess(editor.data_model(background=None, layers=[picture] * 17, composite=None))


def test_what_is_painted_over_is_the_mask(tmp_path):
    from kgen.core.views import TensorSpec, picture
    from kgen.tools.demo import controls

    (tmp_path / "x.png").write_bytes(png(np.full((16, 24), 100, "uint8")))
    layers = []
    for i, (rows, columns) in enumerate(((slice(0, 4), slice(0, 24)), (slice(12, 16), slice(0, 6)))):
        painted = np.zeros((16, 24, 4), "uint8")
        painted[rows, columns] = 229, 0, 125, 255
        layers.append(str(tmp_path / f"layer_{i}.png"))
        pathlib.Path(layers[-1]).write_bytes(png(painted))
    control = controls.painted(picture((8, 12, 1)), TensorSpec((8, 12), "float32", "known", kind="mask"))
    value = {"background": str(tmp_path / "x.png"), "layers": layers, "composite": None}
    x, mask = control.read(value, "2, 10, 4, 12")
    hidden = np.zeros((8, 12), bool)
    hidden[:2], hidden[6:, :3], hidden[2:4, 10:] = True, True, True
    np.testing.assert_array_equal(mask.value, ~hidden)
    np.testing.assert_array_equal(pictures.to_uint8(x.value), np.full((8, 12, 1), 100))


def test_the_page_names_nothing_outside_and_tells_nobody(page):
    _, headers, body = fetch(page.url)
    assert (
        headers["Content-Security-Policy"].startswith("default-src 'self'")
        and headers["X-Content-Type-Options"] == "nosniff"
    )
    config = json.loads(fetch(f"{page.url}config")[2])
    assert not config["analytics_enabled"] and not config["footer_links"]
    assert config.get("run_history") is False and page.share is False and page.server_name == "127.0.0.1"
    outside = set(re.findall(rb"(?:src|href)=\"(?:https?:)?//[^\"]+", body))
    assert not outside


# Runs a Space's app with every address that is opened or looked up recorded, and all but this machine's refused.
PROGRAM = """
import os, runpy, socket
HERE, opened = ("127.0.0.1", "::1", "localhost", "0.0.0.0", None), []
connect, lookup = socket.socket.connect, socket.getaddrinfo

def checked(host):
    if host not in HERE:
        opened.append(host)
        raise OSError("blocked")

def recorded(self, address):
    if self.family in (socket.AF_INET, socket.AF_INET6):
        checked(address[0])
    return connect(self, address)

def named(host, *args, **kwargs):
    checked(host)
    return lookup(host, *args, **kwargs)

socket.socket.connect, socket.getaddrinfo = recorded, named
from kgen.tools import demo
demo.prepare()
from kgen.tools.demo import files, safety

def ask(page):
    from gradio_client import Client

    names = Client(page.local_url, verbose=False, analytics_enabled=False).view_api(return_format="dict", print_info=False)["named_endpoints"]
    Client(page.local_url, verbose=False, analytics_enabled=False).predict("0", 1, api_name="/sample")
    print("names:", *names)
    page.close(verbose=False)

safety.Page.block_thread = ask  # where the app would wait for visitors
runpy.run_path("app.py", run_name="__main__")
print("kgen:", safety.__file__)
print("folder:", files.folder(), os.path.isdir(files.folder()))
print("outside:", opened)
"""


def test_a_space_starts_from_its_folder_alone_opens_nothing_outside_and_leaves_nothing(tmp_path, sources):
    space = tmp_path / "space"
    result = invoke(sources["vae"], "--space", space)
    assert result.exit_code == 0, result.output
    assert len((space / "app.py").read_text().splitlines()) <= 12
    wanted = (space / "requirements.txt").read_text().split()
    assert {"gradio", "keras", keras.config.backend()} <= {line.partition("==")[0] for line in wanted}
    for line in wanted:  # each is here, so that an index has it; kgen's name is another project's there
        name, _, version = line.partition("==")
        assert name != "kgen" and importlib.metadata.version(name).partition("+")[0] == version
    assert (space / "README.md").read_text().startswith("---\ntitle: vae\nsdk: gradio\nsdk_version: 6.")
    assert invoke(sources["vae"], "--space", space).exit_code == 2  # it is there
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=space,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = dict(
        line.split(": ", 1)
        for line in done.stdout.splitlines()
        if line.startswith(("names:", "folder:", "outside:", "kgen:"))
    )
    assert {"/sample", "/latent"} <= set(found["names"].split()) and found["outside"] == "[]"
    assert pathlib.Path(found["kgen"]).is_relative_to(space)
    folder, there = found["folder"].split()
    assert there == "True" and "kgen-demo-" in folder and not os.path.exists(folder)


def test_who_may_log_in(tmp_path, sources):
    from kgen.tools.demo import users

    path = tmp_path / "users.txt"
    users.add(path, "ada", "lovelace")
    users.add(path, "alan", "turing")
    assert oct(path.stat().st_mode & 0o777) == "0o600" and "lovelace" not in path.read_text()
    check = users.checker(users.read(path))
    assert check("ada", "lovelace") and not check("ada", "turing") and not check("eve", "lovelace")
    page = demo.page(sources["vae"])
    _, url, _ = page.launch(prevent_thread_lock=True, auth=check)
    try:
        assert fetch(f"{url}config")[0] == 401
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        assert fetch(f"{url}login", b"username=ada&password=wrong", **form)[0] == 400
        assert fetch(f"{url}login", b"username=ada&password=lovelace", **form)[0] == 200
    finally:
        page.close(verbose=False)


# The command, and what is wrong is refused.


def invoke(*arguments):
    return CliRunner().invoke(cli.main, ["demo", *map(str, arguments)])


def test_the_command_opens_a_page(tmp_path, sources, monkeypatch):
    from kgen.tools.demo import command, safety, users

    given = {}

    def launch(self, **settings):
        given.clear()
        given.update(settings)
        return None, "http://127.0.0.1:7860/", None

    monkeypatch.setattr(safety.Page, "launch", launch)
    monkeypatch.setattr(safety.Page, "block_thread", lambda self: None)
    monkeypatch.setattr(command.signal, "signal", lambda *_: None)
    monkeypatch.setattr(command.sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    result = invoke(sources["vae"])
    assert result.exit_code == 0 and f"{sources['vae']}: http://127.0.0.1:7860/" in result.output
    assert given["server_name"] == "127.0.0.1" and given["auth"] is None and given["inbrowser"] is False
    assert "in the clear" not in result.output
    path, pem = tmp_path / "users.txt", tmp_path / "page.pem"
    users.add(path, "ada", "lovelace")
    pem.write_text("")
    monkeypatch.setenv("DISPLAY", ":0")
    away = (sources["vae"], "--host", "0.0.0.0", "--auth-file", path)
    result = invoke(*away)
    assert result.exit_code == 0 and "Without TLS, passwords and pictures travel in the clear" in result.output
    assert given["server_name"] == "0.0.0.0" and given["inbrowser"] is True
    assert given["auth"]("ada", "lovelace") and not given["auth"]("ada", "turing")
    result = invoke(*away, "--certificate", pem, "--key", pem, "--no-browser")
    assert result.exit_code == 0 and "in the clear" not in result.output
    assert (given["ssl_certfile"], given["ssl_keyfile"], given["inbrowser"]) == (str(pem), str(pem), False)


def test_a_folder_s_name_is_whole(tmp_path, sources):
    import shutil

    from kgen.tools.demo import subject

    names = []
    for name in ("vae-1.1", "vae-1.2"):
        shutil.copytree(sources["vae"], tmp_path / name)
        names.append(subject.of(tmp_path / name).name)
    assert names == ["vae-1.1", "vae-1.2"]


def test_what_is_wrong_is_refused_at_once(tmp_path, sources, monkeypatch):
    (tmp_path / "users.txt").write_text("ada:lovelace\n")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for arguments, message in (
            ((), "name at least one model"),
            ((tmp_path / "nothing.keras",), "does not exist"),
            ((sources["vae"], "--port", port), f"--port: {port} of 127.0.0.1 cannot be had"),
            ((sources["vae"], "--host", "0.0.0.0"), "say who may log in by --auth-file"),
            (
                (sources["vae"], "--host", "0.0.0.0", "--auth-file", tmp_path / "nobody.txt"),
                "nobody.txt does not exist",
            ),
            ((sources["vae"], "--auth-file", tmp_path / "users.txt"), "line 1: expected NAME:HASH"),
            ((sources["vae"], "--key", tmp_path / "users.txt"), "expected both, or neither"),
        ):
            result = invoke(*arguments)
            assert result.exit_code == 2 and message in result.output, result.output

    class Silent(kgen.GenerativeModel):
        """Offers nothing."""

    with pytest.raises(ValueError, match="offers nothing to show"):
        demo.page(Silent())
    with pytest.raises(ValueError, match="expected at least one model"):
        demo.page()
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(ImportError, match=r'gradio is not installed.*pip install "gradio>=6,<7"'):
        demo.page(Silent())


def test_axes_of_latents_of_any_shape():
    from kgen.core import Endpoint, TensorSpec
    from kgen.tools.demo import controls, subject

    rng = np.random.default_rng(0)
    long, scale = np.asarray([0.6, 0.8, 0, 0]), np.asarray([3.0, 0.1])
    z = (1.0 + scale * rng.standard_normal((200, 2))) @ np.stack([long, [0, 0, 1, 0]])

    class Shaped(kgen.GenerativeModel):
        """Its latents are (2, 2, 1)."""

        shape = (4, 4, 1)

        def encode(self, x):
            return z.reshape(-1, 2, 2, 1).astype("float32")

        def decode(self, z):
            return np.zeros((len(z), 4, 4, 1), "float32")

        def endpoints(self):
            return [
                Endpoint(
                    "decode", None, {"z": TensorSpec((2, 2, 1), "float32", "latent")}, {"images": "images"}, ("images",)
                )
            ]

    model, known = Shaped(), facts.measure(Shaped(), np.zeros((200, 4, 4, 1), "float32"))
    (view,) = subject.of_facts(model, known)
    read = controls.of_spec("z", view.given["z"], True, facts=known["latent"]).read
    np.testing.assert_allclose(read(0, 0, 0, 0).value, z.mean(0).reshape(2, 2, 1), atol=1e-5)
    moved = read(2.0, 0, 0, 0).value - read(0, 0, 0, 0).value
    np.testing.assert_allclose(np.abs(moved.ravel()), 2 * 3.0 * long, atol=0.4)  # along the longest axis
    assert not subject.of_facts(model, {"latent": {**known["latent"], "mean": [0.0] * 5}})  # another model's


def test_facts_of_a_stranger_are_checked(tmp_path, sources):
    known = facts.read(sources["digits"])
    assert len(known["log_prob"]["quantiles"]) == 101 and facts.read(tmp_path) == {}
    assert np.diff(known["log_prob"]["quantiles"]).min() >= 0
    latent = facts.read(sources["vae"])["latent"]
    axes = np.asarray(latent["axes"])
    np.testing.assert_allclose(axes @ axes.T, np.eye(4), atol=1e-4)
    for wrong in (
        {"latent": {**latent, "axes": [[1.0]]}},
        {"latent": {**latent, "mean": ["x"] * 4}},
        {"latent": {**latent, "deviations": [[1.0]] * 4}},
        {"log_prob": {**known["log_prob"], "examples": "x" * 1000}},
        {"log_prob": {**known["log_prob"], "options": {"levels": [1]}}},
        {"log_prob": {**known["log_prob"], "quantiles": [1e999] * 101}},
        {"other": {}},
    ):
        (tmp_path / "facts.json").write_text(json.dumps(wrong))
        with pytest.raises(ValueError, match="facts.json"):
            facts.read(tmp_path)
