"""``kgen.serving.Client`` against servers that answer in TF Serving's words, from an export, by TensorFlow's C API."""

import base64
import concurrent.futures
import contextlib
import http.server
import io
import json
import re
import sys
import threading

import keras
import numpy as np
import pytest
from PIL import Image

import kgen
from kgen.core import random
from kgen.serving import deployment
from kgen.serving.capi import StatusError

NAME = "toy models"


class Rest(http.server.BaseHTTPRequestHandler):
    """TF Serving's REST interface: https://www.tensorflow.org/tfx/serving/api_rest."""

    def do_GET(self):
        self.answer(lambda path: self.server.metadata if path == "/metadata" else None)

    def do_POST(self):
        self.server.requests.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.answer(lambda path: self.predict(self.server.requests[-1]) if path == ":predict" else None)

    def predict(self, request):
        session, signature = self.server.session, request.get("signature_name", "serving_default")
        wanted = session.signatures()[signature].inputs
        dtypes = {1: "float32", 3: "int32"}
        inputs = {}
        for name, value in request["inputs"].items():
            files = wanted[name].dtype == 7
            inputs[name] = (
                [base64.b64decode(v["b64"]) for v in value] if files else np.array(value, dtypes[wanted[name].dtype])
            )
        outputs = {}
        for name, array in session.run(signature, inputs).items():
            if name.endswith("_bytes"):  # the server encodes texts of such names alone
                outputs[name] = [{"b64": base64.b64encode(v).decode()} for v in array]
            else:
                outputs[name] = [v.decode() for v in array] if array.dtype == object else array.tolist()
        return {"outputs": outputs if len(outputs) > 1 else next(iter(outputs.values()))}

    def answer(self, function):
        if self.server.faults:
            return self.send(*self.server.faults.pop(0))
        prefix = "/v1/models/toy%20models"
        try:
            found = function(self.path.removeprefix(prefix)) if self.path.startswith(prefix) else None
        except StatusError as error:
            return self.send(400, json.dumps({"error": str(error)}))
        if found is None:
            return self.send(404, json.dumps({"error": f"Servable not found for request: {self.path}"}))
        return self.send(200, json.dumps(found))

    def send(self, status, text):
        if status is None:  # as a server that is killed
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def session(exported):
    with kgen.serving.Session(exported) as session:
        yield session


def metadata(exported):
    from google.protobuf import json_format
    from tensorflow.core.protobuf import saved_model_pb2

    saved_model = saved_model_pb2.SavedModel.FromString((exported / "saved_model.pb").read_bytes())
    found = json_format.MessageToDict(
        saved_model.meta_graphs[0], preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return {"metadata": {"signature_def": {"signature_def": found["signature_def"]}}}


@contextlib.contextmanager
def serving(exported, session):
    server = http.server.ThreadingHTTPServer(("localhost", 0), Rest)
    server.session, server.metadata, server.faults, server.requests = session, metadata(exported), [], []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def rest(exported, session):
    with serving(exported, session) as server:
        yield server


@pytest.fixture
def grpc_port(session, exported):
    pytest.importorskip("tensorflow_serving")
    import grpc
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2
    from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc

    class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request, context):
            if request.model_spec.name != NAME:
                context.abort(grpc.StatusCode.NOT_FOUND, "Servable not found")
            inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
            try:
                outputs = session.run(request.model_spec.signature_name, inputs)
            except StatusError as error:
                context.abort(grpc.StatusCode[error.code], str(error))
            answer = predict_pb2.PredictResponse()
            for name, array in outputs.items():
                answer.outputs[name].CopyFrom(tf.make_tensor_proto(array))
            return answer

        def GetModelMetadata(self, request, context):
            graph = saved_model_pb2.SavedModel.FromString((exported / "saved_model.pb").read_bytes()).meta_graphs[0]
            found = get_model_metadata_pb2.SignatureDefMap()
            for name, signature in graph.signature_def.items():
                found.signature_def[name].CopyFrom(signature)
            answer = get_model_metadata_pb2.GetModelMetadataResponse()
            answer.metadata["signature_def"].Pack(found)
            return answer

    server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Service(), server)
    port = server.add_insecure_port("localhost:0")
    server.start()
    yield port
    server.stop(None).wait()


@pytest.fixture(params=["rest", "grpc"])
def client(request):
    port = request.getfixturevalue("grpc_port") if request.param == "grpc" else None
    port = port or request.getfixturevalue("rest").server_address[1]
    with kgen.serving.Client(f"localhost:{port}", NAME, protocol=request.param) as client:
        yield client


def test_samples(client, session):
    wanted = {"seed": random.row_seeds(5, 40), "label": np.full(40, 2, "int32"), "scale": np.full(40, 0.05, "float32")}
    parts = [session.run("sample", {k: v[i : i + 20] for k, v in wanted.items()})["images"] for i in (0, 20)]
    images = client.sample(40, seed=5, labels=2)  # scale has a default
    assert images.dtype == np.float32 and images.shape == (40, 6, 6, 1)
    np.testing.assert_allclose(images, np.concatenate(parts), atol=1e-6)
    np.testing.assert_allclose(client.sample(3, seed=5, labels=[2, 2, 2], scale=0.05), images[:3], atol=1e-6)
    assert np.abs(client.sample(3, seed=5, labels=2, scale=0.1) - images[:3]).max() > 1e-3
    assert np.abs(client.sample(3, labels=2) - client.sample(3, labels=2)).max() > 1e-3


def test_classes_go_by_their_names_where_the_export_is_at_hand(rest, exported):
    host = f"localhost:{rest.server_address[1]}"
    client, bare = kgen.serving.Client(host, NAME, export=exported), kgen.serving.Client(host, NAME)
    wanted = bare.sample(3, seed=5, labels=[2, 2, 0])
    np.testing.assert_array_equal(client.sample(3, seed=5, labels=["hen", "hen", "cat"]), wanted)
    np.testing.assert_array_equal(client.sample(2, seed=5, labels="hen"), wanted[:2])
    with pytest.raises(
        ValueError, match="label: expected one of 'cat', 'dog', 'hen', 'cow', received 'hem'. Did you mean 'hen'"
    ):
        client.sample(2, labels="hem")
    with pytest.raises(
        ValueError, match="label: the server knows no names. Pass numbers, or make the client with export="
    ):
        bare.sample(2, labels="hen")
    with pytest.raises(ValueError, match="export: expected the folder of an export, with a manifest.json"):
        kgen.serving.Client(host, NAME, export=exported / "nowhere")


def test_samples_are_the_models(tmp_path):
    network = kgen.networks.UNet((4, 4, 1), channels=(8,), blocks=1, attention=[False], groups=4, num_classes=3)
    sampler = kgen.diffusion.DDIMSampler(3)
    model = kgen.diffusion.DDPM((4, 4, 1), network=network, num_classes=3, sampler=sampler)
    model.compile(jit_compile=False)  # XLA takes longer to compile the loop than three rows take without it
    rng = np.random.default_rng(0)
    for weight in model.weights:  # a fresh U-Net returns zeros
        weight.assign(keras.ops.convert_to_numpy(weight) + 0.1 * rng.standard_normal(weight.shape).astype("float32"))
    version = kgen.serving.export(model, tmp_path)
    with kgen.serving.Session(version) as session, serving(version, session) as server:
        client = kgen.serving.Client(f"localhost:{server.server_address[1]}", NAME)
        for given in ({}, {"labels": 2, "steps": 2}, {"labels": [0, 1, 2], "guidance": 3.0}):
            np.testing.assert_allclose(client.sample(3, seed=4, **given), model.sample(3, seed=4, **given), atol=1e-3)
        assert np.abs(client.sample(3, seed=4) - client.sample(3, seed=4, labels=2)).max() > 0.01
        mixed = client.sample(3, seed=4, labels=2, steps=[2, 3, 2])
        for count, its_rows in ((2, [0, 2]), (3, [1])):
            np.testing.assert_allclose(
                mixed[its_rows], client.sample(3, seed=4, labels=2, steps=count)[its_rows], atol=1e-5
            )
        # A server that batches joins the rows of two clients, one of whom asks for what there is not.
        rows = {"seed": random.row_seeds(4, 3), "label": np.int32([0, 1, 3]), "guidance": np.float32([1, 3, 0])}
        bad = {"seed": random.row_seeds(9, 7), "label": np.int32([4, -1, 1, 1, 1, 1, 1])}
        bad["guidance"] = np.float32([1, 1, 100.1, -1e-3, np.nan, 1, 1])
        rows["steps"], bad["steps"] = np.int32([3, 1, 2]), np.int32([3, 3, 3, 3, 3, 0, 4])
        for signature in ("sample", "sample_xla"):
            alone = session.run(signature, rows)
            merged = session.run(signature, {name: np.concatenate([bad[name], rows[name]]) for name in rows})
            np.testing.assert_array_equal(merged["valid"], [False] * 7 + [True] * 3)
            np.testing.assert_allclose(merged["images"][7:], alone["images"], atol=1e-5)
            assert np.isnan(merged["images"][:7]).all() and list(merged["png_bytes"][:7]) == [b""] * 7
            assert merged["error"][1] == b"label: expected values in [0, 3], received -1"
            assert merged["error"][2] == b"guidance: expected values in [0.0, 100.0], received 100.1"
            assert merged["error"][6] == b"steps: expected values in [1, 3], received 4"


def test_predictions(client, session, request_rows):
    answer = client.predict("sample", **request_rows)
    expected = session.run("sample", request_rows)
    assert expected.pop("valid").all() and not any(expected.pop("error"))
    assert {name: (array.dtype, array.shape) for name, array in answer.items()} == {
        name: (array.dtype, array.shape) for name, array in expected.items()
    }
    np.testing.assert_allclose(answer["images"], expected["images"], atol=1e-6)
    np.testing.assert_array_equal(answer["images_uint8"], expected["images_uint8"])
    assert list(answer["png_bytes"]) == list(expected["png_bytes"]) and answer["png_bytes"][0][:4] == b"\x89PNG"
    x = np.random.default_rng(0).uniform(-1, 1, (50, 6, 6, 1))
    np.testing.assert_allclose(client.predict("encode_xla", x=x)["mean"], x.mean(axis=(1, 2, 3)), atol=1e-6)


def test_pictures_go_as_files(client):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 6, 6)).astype("uint8")
    files = []
    for image in pixels:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG")
        files.append(file.getvalue())
    found = client.predict("encode_png", x_png_bytes=files)["mean"]
    np.testing.assert_allclose(found, pixels.mean((1, 2)) / 127.5 - 1, atol=1e-5)
    np.testing.assert_array_equal(client.predict("encode_png", x_png_bytes=files[0])["mean"], found[:1])
    with pytest.raises(
        StatusError, match="row 1: x_png_bytes: expected a PNG file of 6x6 pixels, received something else"
    ):
        client.predict("encode_png", x_png_bytes=[files[0], b"GIF89a"])
    with pytest.raises(ValueError, match="x_png_bytes: expected bytes, such as those of a file, received int"):
        client.predict("encode_png", x_png_bytes=[1])


def test_signatures_are_those_of_the_export(client, session):
    found, expected = client.signatures(), session.signatures()
    assert sorted(found) == sorted(expected)
    for name, signature in expected.items():
        assert found[name].inputs == signature.inputs and found[name].outputs == signature.outputs
        assert found[name].defaults.keys() == signature.defaults.keys()
    np.testing.assert_array_equal(found["sample"].defaults["scale"], np.float32([0.05]))


def test_a_condition_that_sample_may_be_called_without_has_a_default(tmp_path):
    conditions = [kgen.core.conditions.VectorCondition(3, low=-1.0, high=1.0, dropout=0.1)]
    model = kgen.diffusion.DDPM((2,), conditions=conditions, sampler=kgen.diffusion.DDIMSampler(2), ema=None)
    rng = np.random.default_rng(0)
    for weight in model.trainable_variables:  # a fresh network returns zeros
        weight.assign(weight + 0.03 * rng.normal(size=weight.shape))
    version = kgen.serving.export(model, tmp_path, batch_sizes=(1, 4), endpoints=["sample"])
    with kgen.serving.Session(version) as session, serving(version, session) as server:
        client = kgen.serving.Client(f"localhost:{server.server_address[1]}", NAME)
        default = client.signatures()["sample"].defaults["vector"]
        np.testing.assert_array_equal(default, np.zeros((1, 3), "float32"))
        np.testing.assert_array_equal(session.signatures()["sample"].defaults["vector"], default)
        np.testing.assert_allclose(client.sample(4, seed=1), model.sample(4, seed=1), atol=1e-5)
        given = np.float32([0.5, -0.5, 1.0])
        np.testing.assert_allclose(
            client.sample(4, seed=1, vector=np.tile(given, (4, 1))), model.sample(4, seed=1, vector=given), atol=1e-5
        )


def test_refused_rows(client):
    text = r"INVALID_ARGUMENT: 1 of 2 rows refused. row 1: label: expected values in \[0, 3\], received 4.$"
    with pytest.raises(StatusError, match=text) as caught:
        client.sample(2, labels=[3, 4])
    assert caught.value.code == "INVALID_ARGUMENT" and list(caught.value.rows) == [1]
    scale = np.full(45, 0.05)
    scale[[2, 31]], labels = np.nan, np.zeros(45, "int32")
    labels[[34, 36, 37, 38, 39]] = 9
    text = r"2 of 45 rows refused. row 2: scale: expected values in \[0.0, 0.1\], received nan; row 31: scale: .* nan.$"
    with pytest.raises(ValueError, match=text):
        client.sample(45, labels=labels, scale=scale)
    # In the second part of the request.
    with pytest.raises(
        ValueError, match=r"5 of 45 rows refused. row 34: label: .*; row 39: label: [^;]*, received 9.$"
    ):
        client.sample(45, labels=labels)
    with pytest.raises(ValueError, match=r"32 of 45 rows refused. row 0: .*; row 4: label: [^;]*; and 27 more.$"):
        client.sample(45, labels=-1)


def test_versions_that_mark_nothing(rest, monkeypatch):
    """Those that kgen 0.1 exported refuse the whole request."""
    client = kgen.serving.Client(f"localhost:{rest.server_address[1]}", NAME)
    monkeypatch.setattr(client._transport, "predict", lambda *_: {"images": np.zeros((2, 6, 6, 1))})
    assert client.sample(2, labels=1).shape == (2, 6, 6, 1)


def test_refused_requests(rest):
    client = kgen.serving.Client(f"localhost:{rest.server_address[1]}", NAME, batch_sizes=(40,))
    with pytest.raises(StatusError, match="expected 1 to 32 rows, received 40") as caught:
        client.sample(40, labels=1)
    assert caught.value.code == "INVALID_ARGUMENT" and not isinstance(caught.value, ValueError)


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_a_model_that_is_not_there(protocol, request):
    port = request.getfixturevalue("grpc_port") if protocol == "grpc" else None
    port = port or request.getfixturevalue("rest").server_address[1]
    client = kgen.serving.Client(f"localhost:{port}", "other", protocol=protocol)
    with pytest.raises(StatusError, match="Servable not found") as caught:
        client._transport.predict("sample", None, {}) if protocol == "grpc" else client.signatures()
    assert caught.value.code == "NOT_FOUND"


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_no_server(protocol):
    if protocol == "grpc":
        pytest.importorskip("tensorflow_serving")
    client = kgen.serving.Client("localhost:1", NAME, protocol=protocol, retries=1)
    with pytest.raises(StatusError) as caught:
        client.signatures()
    assert caught.value.code == "UNAVAILABLE"


def test_large_requests_go_in_parts_that_the_server_knows(rest):
    client = kgen.serving.Client(f"localhost:{rest.server_address[1]}", NAME)
    client.sample(75, seed=0, labels=1)
    assert [len(r["inputs"]["seed"]) for r in rest.requests] == [32, 32, 8, 2, 1]
    rest.requests.clear()
    client = kgen.serving.Client(f"localhost:{rest.server_address[1]}", NAME, batch_sizes=(4, 10))
    client.sample(17, seed=0, labels=1)
    assert [len(r["inputs"]["seed"]) for r in rest.requests] == [10, 4, 3]


def test_retries(rest, monkeypatch):
    waits = []
    monkeypatch.setattr("time.sleep", waits.append)
    client = kgen.serving.Client(f"http://localhost:{rest.server_address[1]}/", NAME, retries=3)
    rest.faults += [(503, "busy"), (None, ""), (429, '{"error": "slow down"}')]
    assert client.sample(2, seed=0, labels=0).shape == (2, 6, 6, 1)
    assert len(waits) == 3 and all(0.05 * 2**i <= w <= 0.15 * 2**i for i, w in enumerate(waits))
    rest.faults += [(503, "busy")] * 4
    with pytest.raises(StatusError, match="UNAVAILABLE: busy"):
        client.sample(2, labels=0)
    assert len(waits) == 6
    rest.faults += [(400, '{"error": "no"}'), (500, "crash")]
    for text in ("INVALID_ARGUMENT: no", "INTERNAL: crash"):  # would be refused again
        with pytest.raises(StatusError, match=text):
            client.sample(2, labels=0)
    assert len(waits) == 6


def test_a_server_that_takes_too_long():
    with http.server.HTTPServer(("localhost", 0), Rest) as silent:  # takes the connection and never answers
        client = kgen.serving.Client(f"localhost:{silent.server_address[1]}", NAME, timeout=0.2)
        with pytest.raises(StatusError, match="DEADLINE_EXCEEDED: .*took longer than 0.2 s"):
            client.signatures()


def test_the_readme_of_the_export(rest, exported, tmp_path, capsys):
    """Its curl request and its programs, against a server on another port."""
    manifest = json.loads((exported / "manifest.json").read_text())
    text = deployment._readme(NAME, manifest)
    text = text.replace("localhost:8501", f"localhost:{rest.server_address[1]}")
    (body,) = re.findall("curl -d '(.*)'", text)
    plain, by_client = re.findall("```python\n(.*?)```", text, flags=re.DOTALL)
    exec(plain, {})
    assert rest.requests == [json.loads(body)]
    assert "[[[[" in capsys.readouterr().out
    here = {}
    exec(by_client.replace('"localhost"', f'"localhost:{rest.server_address[1]}"'), here)
    assert here["answer"]["images"].shape == (1, 6, 6, 1)


def test_wrong_arguments(rest, monkeypatch):
    host = f"localhost:{rest.server_address[1]}"
    for arguments, text in (
        ({"protocol": "http"}, "protocol: expected one of 'rest', 'grpc', received 'http'"),
        ({"timeout": 0}, "timeout: expected a number in"),
        ({"version": 0}, "version: expected an integer of at least 1, received 0"),
        ({"retries": -1}, "retries: expected an integer of at least 0, received -1"),
        ({"batch_sizes": ()}, "batch_sizes: expected integers of at least 1, such as .* received none"),
    ):
        with pytest.raises(ValueError, match=text):
            kgen.serving.Client(host, NAME, **arguments)
    client = kgen.serving.Client(host, NAME)
    with pytest.raises(
        ValueError, match="signature: expected one of 'encode', .*, received 'sampel'. Did you mean 'sample'"
    ):
        client.predict("sampel")
    with pytest.raises(ValueError, match="inputs: signature 'sample' takes label, scale, seed; label missing"):
        client.sample(2)
    with pytest.raises(ValueError, match="inputs: signature 'sample' takes label, scale, seed; steps unknown"):
        client.sample(2, labels=1, steps=3)
    with pytest.raises(ValueError, match=r"seed: expected shape \(N, 2\), received \(\)"):
        client.predict("sample", seed=0, label=1)
    with pytest.raises(ValueError, match="label: expected int32, received float64"):
        client.sample(2, labels=1.5)
    with pytest.raises(
        ValueError, match="label: expected int32, from -2147483648 to 2147483647, received values from 1 to 4294967296"
    ):
        client.sample(2, labels=[1, 2**32])  # which numpy takes for 0
    with pytest.raises(ValueError, match="expected the same number of rows in each, received {"):
        client.sample(2, labels=[1, 2, 3])
    with pytest.raises(ValueError, match="inputs: expected at least one row, received none"):
        client.predict("encode", x=np.zeros((0, 6, 6, 1)))
    monkeypatch.setattr(client, "_signatures", {"encode": client.signatures()["encode"]})
    with pytest.raises(ValueError, match="This model does not sample. It has: encode"):
        client.sample(2)
    monkeypatch.setattr(client, "_signatures", {"sample": client.signatures()["encode"]})
    with pytest.raises(ValueError, match="labels: this model has no classes"):
        client.sample(2, labels=1)
    monkeypatch.setitem(sys.modules, "tensorflow_serving.apis", None)
    with pytest.raises(
        ImportError, match=r'"grpc" needs tensorflow-serving-api, .*: pip install tensorflow-serving-api'
    ):
        kgen.serving.Client(host, NAME, protocol="grpc")
