"""What an export has beside the SavedModel: warm-up requests, parameters, manifest, and the files that start a server."""

import json
import shutil

import numpy as np
import pytest

import kgen
from kgen.core import TensorSpec, random
from kgen.serving import deployment, marking, warmup
from kgen.serving.bundle import BATCH_SIZES
from kgen.serving.protobuf import read_saved_model_signatures
from kgen.serving.warmup import example_rows


def message(name, **fields):
    """A message class of TF Serving's that its Python package lacks: for each field its type, after "repeated" if it is."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2

    file = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", syntax="proto3", package="tests")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    file.dependency.append("google/protobuf/wrappers.proto")
    kinds = {"int64": 3, "bool": 8, "string": 9}
    described = file.message_type.add(name=name)
    for i, (field, kind) in enumerate(fields.items()):
        added = described.field.add(name=field, number=i + 1, label=3 if kind.startswith("repeated ") else 1)
        kind = kind.removeprefix("repeated ")
        if kind in kinds:
            added.type = kinds[kind]
        else:
            added.type, added.type_name = 11, f".{kind}"
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"tests.{name}"))


def parse(text, kind):
    from google.protobuf import text_format

    return text_format.Parse(text, kind())


# In the version.


def test_warm_up_requests(exported):
    requests = warmup.read(exported)
    # Those of ``_xla`` would fail on a stock server, which would then refuse the version.
    assert [(s, len(next(iter(i.values())))) for s, i in requests] == [
        (s, n) for s in ("serving_default", "sample", "encode") for n in BATCH_SIZES
    ]
    signatures = read_saved_model_signatures(exported)
    assert all(set(inputs) == set(signatures[name].inputs) for name, inputs in requests)
    np.testing.assert_array_equal(requests[3][1]["seed"], random.row_seeds(0, 8))


def test_tensorflow_reads_the_warm_up_requests(exported):
    """TFRecord and TensorProto are TensorFlow's own: its readers check what kgen's writer wrote."""
    import tensorflow as tf

    records = [r.numpy() for r in tf.data.TFRecordDataset(str(exported / warmup.FILE))]
    assert len(records) == 18
    array = np.random.default_rng(0).uniform(size=(2, 3, 1)).astype("float32")
    from tensorflow.core.framework import tensor_pb2

    proto = tensor_pb2.TensorProto.FromString(warmup._tensor_proto(array))
    np.testing.assert_array_equal(tf.make_ndarray(proto), array)


def test_tf_serving_reads_the_warm_up_requests(exported):
    prediction_log_pb2 = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    import tensorflow as tf

    records = [r.numpy() for r in tf.data.TFRecordDataset(str(exported / warmup.FILE))]
    for record, (signature, inputs) in zip(records, warmup.read(exported), strict=True):
        log = prediction_log_pb2.PredictionLog.FromString(record)
        assert log.WhichOneof("log_type") == "predict_log" and not log.predict_log.HasField("response")
        request = log.predict_log.request
        assert request.model_spec.signature_name == signature and set(request.inputs) == set(inputs)
        for name, array in inputs.items():
            np.testing.assert_array_equal(tf.make_ndarray(request.inputs[name]), array)
            assert tf.make_ndarray(request.inputs[name]).dtype == array.dtype


def test_too_many_warm_up_requests(tmp_path):
    with pytest.raises(
        ValueError, match="batch_sizes: expected at most 1000 warm-up requests, .*, received 1001. Export"
    ):
        warmup.write(tmp_path, [("sample", {})] * 1001)
    assert list(tmp_path.iterdir()) == []


def test_batching_parameters(exported):
    number = "google.protobuf.Int64Value"
    kind = message(
        "BatchingParameters",
        max_batch_size=number,
        batch_timeout_micros=number,
        max_enqueued_batches=number,
        allowed_batch_sizes="repeated int64",
    )
    parameters = parse((exported / "batching_params.pbtxt").read_text(), kind)
    assert tuple(parameters.allowed_batch_sizes) == BATCH_SIZES
    assert parameters.max_batch_size.value == BATCH_SIZES[-1]


def test_manifest(model, tmp_path):
    figures = {"frechet_distance": {"value": 1.5, "unit": "squared feature units"}}
    (tmp_path / "metrics.json").write_text(json.dumps({"figures": figures}))
    version = kgen.serving.export(model, tmp_path, default="encode", batch_sizes=(2, 4))
    manifest = json.loads((version / "manifest.json").read_text())
    assert (manifest["model"], manifest["default"], manifest["batch_sizes"]) == ("Toy", "encode", [2, 4])
    assert manifest["versions"]["kgen"] == kgen.__version__ and manifest["figures"] == figures
    assert len(set(manifest["fingerprint"].values())) == 5
    sample = manifest["endpoints"]["sample"]
    scale = {"shape": [None], "dtype": "float32", "doc": "drift", "low": 0.0, "high": 0.1, "default": 0.05}
    assert sample["inputs"]["scale"] == scale
    assert sample["inputs"]["label"]["choices"] == ["cat", "dog", "hen", "cow"]
    assert "class (0 cat, 1 dog, 2 hen, 3 cow)" in (tmp_path / "SERVING.md").read_text()
    described = {name: (tensor["shape"], tensor["dtype"], tensor["doc"]) for name, tensor in sample["outputs"].items()}
    assert described == {
        "images": ([None, 6, 6, 1], "float32", "images in [-1, 1]"),
        "images_uint8": ([None, 6, 6, 1], "uint8", "images as integers from 0 to 255"),
        "png_bytes": ([None], "string", "images as PNG files"),
        "valid": ([None], "bool", marking.DOCS["valid"]),
        "error": ([None], "string", marking.DOCS["error"]),
    }


# Beside the versions.


def test_server_configuration(exported):
    monitoring = message("Prometheus", enable="bool", path="string")
    text = (exported.parent / "monitoring.config").read_text()
    inside = text[text.index("{") + 1 : text.rindex("}")]
    assert "prometheus_config {" in text and parse(inside, monitoring).path == "/monitoring/prometheus/metrics"
    model_server_config_pb2 = pytest.importorskip("tensorflow_serving.config.model_server_config_pb2")
    config = parse((exported.parent / "models.config").read_text(), model_server_config_pb2.ModelServerConfig)
    (served,) = config.model_config_list.config
    name = exported.parent.name
    assert (served.name, served.base_path, served.model_platform) == (name, f"/models/{name}", "tensorflow")


@pytest.mark.parametrize("name", ["digits", 'it\'s "100" $HOME #1: a'])
def test_docker_compose(name):
    yaml = pytest.importorskip("yaml")
    services = yaml.safe_load(deployment._docker_compose(name))["services"]
    flags = {"stock": None, "xla-cpu": "--xla_cpu_compilation_enabled", "xla-gpu": "--xla_gpu_compilation_enabled"}
    assert list(services) == list(flags)
    in_compose = name.replace("$", "$$")
    for server, flag in flags.items():
        service = services[server]
        assert service["image"].endswith("}-gpu" if server == "xla-gpu" else "}")
        assert f"--model_config_file=/models/{in_compose}/models.config" in service["command"]
        assert (
            "--enable_per_model_batching_parameters" in service["command"] and "--enable_batching" in service["command"]
        )
        assert [f for f in service["command"] if "xla" in f] == ([flag] if flag else [])
        assert service["volumes"] == [
            {"type": "bind", "source": ".", "target": f"/models/{in_compose}", "read_only": True}
        ]
        assert service.get("profiles") == ([server] if flag else None)  # "docker compose up" alone starts one


def test_files_that_were_edited_stay(exported, tmp_path):
    base = shutil.copytree(exported.parent, tmp_path / "base")
    manifest = json.loads((base / "1" / "manifest.json").read_text())
    edited = (base / "models.config").read_text().replace("tensorflow", "mine")
    (base / "models.config").write_text(edited)
    (base / "SERVING.md").write_text("# My own\n")
    (base / "monitoring.config").write_bytes(b"\xff")
    deployment.write(base, manifest | {"batch_sizes": [1, 7]})
    assert (base / "models.config").read_text() == edited
    assert (base / "SERVING.md").read_text() == "# My own\n"
    assert (base / "monitoring.config").read_bytes() == b"\xff"
    # This one is as kgen wrote it, and the folder was renamed.
    assert '"/models/base"' in (base / "docker-compose.yml").read_text()
    (base / "SERVING.md").unlink()
    deployment.write(base, manifest)
    first = (base / "SERVING.md").read_text()
    assert "from 1 to 32" in first
    deployment.write(base, manifest | {"batch_sizes": [1, 7]})  # as it was written: rewritten
    assert (base / "SERVING.md").read_text() == first.replace("from 1 to 32", "from 1 to 7").replace(
        first.split("\n")[0], (base / "SERVING.md").read_text().split("\n")[0]
    )


@pytest.mark.parametrize(("low", "high"), [(None, None), (9, None), (None, -3), (2, 5), (None, 1)])
@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_example_rows_are_within_whatever_bounds_there_are(dtype, low, high):
    rows = example_rows(TensorSpec((2,), dtype, "", low, high), "x", 50)
    assert rows.shape == (50, 2) and rows.dtype == dtype and len(np.unique(rows)) > 1
    assert (low is None or rows.min() >= low) and (high is None or rows.max() <= high)
