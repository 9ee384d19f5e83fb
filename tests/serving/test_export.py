"""What ``kgen.serving.export`` writes, and what it refuses."""

import errno
import resource
import shutil
import sys

import keras
import numpy as np
import pytest
from keras import ops

import kgen
from kgen.core import Endpoint, TensorSpec
from kgen.serving import exporting

BACKEND = keras.config.backend()
tensorflow_only = pytest.mark.skipif(
    BACKEND != "tensorflow", reason="looks into the export itself, which runs on TensorFlow"
)
X = TensorSpec((4,), "float32", "anything")


class Stub:
    """Anything with endpoints can be exported on TensorFlow."""

    def __init__(self, *endpoints):
        self.all = list(endpoints)

    def endpoints(self):
        return self.all

    def further_endpoints(self):
        return [endpoint(lambda x: {"y": 3.0 * x}, "triple")]


def endpoint(function, name="double", images=()):
    return Endpoint(name, function, {"x": X}, {}, images)


DOUBLE = endpoint(lambda x: {"y": 2.0 * x})


BESIDE = ["SERVING.md", "docker-compose.yml", "models.config", "monitoring.config"]


def names(folder):
    return sorted(p.name for p in folder.iterdir())


@tensorflow_only
def test_versions(tmp_path):
    for name in ("3", "archive", "²", "model.keras", "-7", "1.5"):
        (tmp_path / name).mkdir()
    for version in ("4", "5"):
        assert kgen.serving.export(Stub(DOUBLE), str(tmp_path)) == tmp_path / version
    assert names(tmp_path) == sorted(["3", "archive", "²", "model.keras", "-7", "1.5", "4", "5", *BESIDE])
    assert exporting.next_version(tmp_path / "new") == 1


@pytest.mark.once("an export is written by TensorFlow in a process of its own")
def test_first_version(exported):
    assert exported.name == "1"
    assert names(exported.parent) == ["1", *BESIDE]
    saved_model = ["fingerprint.pb", "saved_model.pb", "variables"]
    assert names(exported) == [
        "assets",
        "assets.extra",
        "batching_params.pbtxt",
        *sorted([*saved_model, "manifest.json"]),
    ]


@tensorflow_only
def test_default(tmp_path):
    import tensorflow as tf

    model = Stub(DOUBLE, endpoint(lambda x: {"y": 3.0 * x}, "triple"))
    for default, factor in ((None, 2.0), ("triple", 3.0)):
        path = kgen.serving.export(model, tmp_path, default=default)
        signature = tf.saved_model.load(str(path)).signatures["serving_default"]
        assert signature(x=tf.ones((1, 4)))["y"][0, 0] == factor


@tensorflow_only
def test_weights_are_stored_once_and_only_those_in_use(exported, model):
    import tensorflow as tf

    stored = [
        tuple(s)
        for n, s in tf.train.list_variables(str(exported / "variables" / "variables"))
        if n.endswith("VARIABLE_VALUE")
    ]
    used = [tuple(w.shape) for network in (model.ema_network, model.ema_smooth) for w in network.weights]
    assert sorted(stored) == sorted(used)
    size = sum(f.stat().st_size for f in (exported / "variables").glob("*.data*"))
    weights = sum(4 * int(np.prod(s)) for s in used)
    assert weights <= size < 1.2 * weights
    loaded = tf.saved_model.load(str(exported))
    averaged, trained = (ops.convert_to_numpy(n.weights[0]) for n in (model.ema_network, model.network))
    kernel = next(v for v in loaded.weights if tuple(v.shape) == averaged.shape).numpy()
    np.testing.assert_array_equal(kernel, averaged)
    assert np.abs(kernel - trained).max() > 1e-3


@tensorflow_only
def test_no_random_state(exported):
    from tensorflow.core.protobuf import saved_model_pb2

    proto = saved_model_pb2.SavedModel.FromString((exported / "saved_model.pb").read_bytes())
    graph = proto.meta_graphs[0].graph_def
    nodes = [*graph.node, *(n for f in graph.library.function for n in f.node_def)]
    operations = {n.op for n in nodes}
    assert {"While", "StatelessWhile"} & operations
    assert {"EncodePng", "Assert"} <= operations
    stateless = ("StatelessRandom", "StatelessMultinomial")
    assert not [
        o for o in operations if ("Random" in o or "Rng" in o or "Multinomial" in o) and not o.startswith(stateless)
    ]
    handles = [n for n in nodes if n.op == "VarHandleOp"]
    assert {n.attr["dtype"].type for n in handles} == {1}  # float32: the weights, and no seed generator's state
    # The loop is traced for each signature, so that XLA sees a loop it knows; only its own functions are compiled.
    compiled = [f.signature.name for f in graph.library.function if f.attr["_XlaMustCompile"].b]
    assert len(compiled) >= 2


@tensorflow_only
@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError])
def test_interrupted_export_leaves_nothing(tmp_path, monkeypatch, stop):
    import tensorflow as tf

    kgen.serving.export(Stub(DOUBLE), tmp_path)

    def halfway(bundle, folder, **_):
        (tmp_path / folder / "variables").mkdir(parents=True)
        (tmp_path / folder / "saved_model.pb").write_bytes(b"half")
        raise stop("stopped")

    monkeypatch.setattr(tf.saved_model, "save", halfway)
    with pytest.raises(stop, match="stopped"):
        kgen.serving.export(Stub(DOUBLE), tmp_path)
    assert names(tmp_path) == ["1", *BESIDE]


@tensorflow_only
def test_full_disk(tmp_path, monkeypatch):
    import tensorflow as tf

    def full(bundle, folder, **_):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "saved_model.pb").write_bytes(b"half")
        raise tf.errors.ResourceExhaustedError(None, None, f"{folder}/saved_model.pb; No space left on device")

    monkeypatch.setattr(tf.saved_model, "save", full)
    with pytest.raises(
        OSError, match=r"could not be written \(No space left on device\); nothing was changed there"
    ) as caught:
        kgen.serving.export(Stub(DOUBLE), tmp_path)
    assert caught.value.errno == errno.ENOSPC
    assert names(tmp_path) == []


@tensorflow_only
def test_file_system_that_refuses(tmp_path):
    """A limit on the size of files, which the operating system enforces in the middle of a write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, hard))
    try:
        with pytest.raises(OSError, match=r"could not be written .*; nothing was changed there"):
            kgen.serving.export(Stub(DOUBLE), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(tmp_path) == []


def test_wrong_arguments(tmp_path, model):
    with pytest.raises(
        TypeError, match=r"model: expected a kgen model with endpoints\(\), received Sequential. A plain Keras model"
    ):
        kgen.serving.export(keras.Sequential(), tmp_path)
    with pytest.raises(ValueError, match="Stub has no endpoints"):
        kgen.serving.export(Stub(), tmp_path)
    with pytest.raises(
        ValueError, match=r"default: expected one of 'sample', 'encode', received 'sampel'. Did you mean 'sample'"
    ):
        kgen.serving.export(model, tmp_path, default="sampel")
    with pytest.raises(ValueError, match="batch_sizes: expected an integer of at least 1, received 0"):
        kgen.serving.export(model, tmp_path, batch_sizes=(4, 0))
    with pytest.raises(ValueError, match=r"batch_sizes: expected integers of at least 1, such as .*, received none"):
        kgen.serving.export(model, tmp_path, batch_sizes=())
    with pytest.raises(ValueError, match="expected endpoints that give different signatures"):
        kgen.serving.export(Stub(DOUBLE, DOUBLE), tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match=r"base: expected a folder, .*file is a file"):
        kgen.serving.export(model, tmp_path / "file")


@tensorflow_only
@pytest.mark.parametrize(
    ("wrong", "error", "text"),
    [
        (endpoint(lambda x: x), TypeError, "expected a dict of outputs, received"),
        (
            endpoint(lambda x: {"y": ops.sum(x)}),
            ValueError,
            r"one row for each row of the inputs, \(None, ...\), received shape \(\)",
        ),
        (endpoint(lambda x: {"y": ops.ones((5, 2))}), ValueError, r"received shape \(5, 2\)"),
        (endpoint(lambda x: {"valid": x}), ValueError, r"other names than valid, error, .*, received 'valid'"),
        (
            endpoint(lambda x: {"y": x}, images=("images",)),
            ValueError,
            r"images names 'images', which is not among its outputs \['y'\]",
        ),
        (
            endpoint(lambda x: {"y": x}, images=("y",)),
            ValueError,
            r"expected images 'y' as floats \(N, H, W, C\), received float32 \(None, 4\)",
        ),
    ],
)
def test_wrong_endpoints(tmp_path, wrong, error, text):
    with pytest.raises(error, match=f"Endpoint 'double': .*{text}"):
        kgen.serving.export(Stub(wrong), tmp_path / "new")
    assert not (tmp_path / "new").exists()


@tensorflow_only
def test_endpoints_that_are_asked_for(tmp_path):
    from kgen.serving import bundle

    for wanted, found in ((None, ["double"]), (["triple"], ["triple"]), (["double", "triple"], ["double", "triple"])):
        version = kgen.serving.export(Stub(DOUBLE), tmp_path, endpoints=wanted)
        assert list(bundle.read_manifest(version)["endpoints"]) == found
    with pytest.raises(ValueError, match="endpoints: expected one of 'double', 'triple', received 'tripple'"):
        kgen.serving.export(Stub(DOUBLE), tmp_path, endpoints=["tripple"])


@tensorflow_only
def test_function_that_is_compiled_already(tmp_path):
    import tensorflow as tf

    compiled = tf.function(lambda x: 2.0 * x, jit_compile=True)
    with pytest.raises(
        ValueError,
        match="expected a function that runs without XLA, as on a stock TF Serving; XLA compiles __inference",
    ):
        kgen.serving.export(Stub(endpoint(lambda x: {"y": compiled(x)})), tmp_path)


@tensorflow_only
def test_outputs_of_several_images_and_of_half_precision(tmp_path):
    import tensorflow as tf

    def function(x):
        rgb = ops.reshape(ops.tile(x, (1, 3)), (-1, 2, 2, 3))
        return {"rgb": rgb, "flow": rgb[..., :2], "half": ops.cast(x, "float16")}

    path = kgen.serving.export(Stub(endpoint(function, images=("rgb", "flow"))), tmp_path)
    signature = tf.saved_model.load(str(path)).signatures["double_xla"]
    dtypes = {name: spec.dtype.name for name, spec in signature.structured_outputs.items()}
    floats = {"rgb": "float32", "flow": "float32", "half": "float32"}  # no client reads half precision
    pictures = {"rgb_uint8": "uint8", "flow_uint8": "uint8", "rgb_png_bytes": "string"}
    assert dtypes == floats | pictures | {"valid": "bool", "error": "string"}
    answer = signature(x=tf.constant([[-1.0, 0.0, 1.0, 3.0]]))
    np.testing.assert_array_equal(answer["rgb_uint8"][0].numpy().ravel()[:4], [0, 128, 255, 255])
    np.testing.assert_array_equal(tf.io.decode_png(answer["rgb_png_bytes"][0]), answer["rgb_uint8"][0])


# From JAX and torch: a fresh process on TensorFlow.


@pytest.mark.skipif(BACKEND == "tensorflow", reason="TensorFlow exports in its own process")
class TestFreshProcess:
    def test_error_comes_back(self, tmp_path, model):
        config = {**model.get_config(), "name": "scalar"}
        scalar = type(model).__subclasses__()[0].from_config(config)
        scalar.compile("adam")
        with pytest.raises(
            ValueError, match="Endpoint 'encode': expected an output 'mean' with one row for each row of the inputs"
        ):
            kgen.serving.export(scalar, tmp_path)
        assert names(tmp_path) == []

    def test_class_of_the_script(self, tmp_path, model, monkeypatch):
        monkeypatch.setattr(type(model), "__module__", "__main__")
        with pytest.raises(ValueError, match=f"Toy: expected classes that can be imported, .*On the {BACKEND} backend"):
            kgen.serving.export(model, tmp_path)

    def test_process_that_dies(self, tmp_path, model, monkeypatch):
        monkeypatch.setattr(sys, "executable", shutil.which("false"))
        with pytest.raises(RuntimeError, match=r"ended with status 1 and no result. Its last words:"):
            kgen.serving.export(model, tmp_path / "base")
