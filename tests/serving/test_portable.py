"""Endpoints as ONNX and LiteRT files, run by those runtimes."""

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from keras import ops

import kgen
from kgen.core import Endpoint, TensorSpec
from kgen.serving.warmup import example_rows
from kgen.tools import cli

if keras.config.backend() != "tensorflow":
    pytest.skip("Keras's exporters are used on TensorFlow", allow_module_level=True)


@pytest.fixture(params=["onnx", "litert"])
def format(request):
    if request.param == "onnx":
        pytest.importorskip("tf2onnx")
        pytest.importorskip("onnxruntime")
    return request.param


def run(file, rows):
    if file.suffix == ".tflite":
        import tensorflow as tf

        return tf.lite.Interpreter(str(file)).get_signature_runner()(**rows)
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file))
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, rows), strict=True))


def ddpm():
    network = kgen.networks.UNet((4, 4, 1), channels=(8,), blocks=1, attention=[True], num_classes=3)
    return kgen.diffusion.DDPM((4, 4, 1), network=network, num_classes=3)


def vae():
    encoder = kgen.networks.MLP((4, 4, 1), (4,), widths=(16,), name="encoder")
    decoder = kgen.networks.MLP((2,), (4, 4, 1), widths=(16,), name="decoder")
    return kgen.vae.VAE((4, 4, 1), latent_dim=2, encoder=encoder, decoder=decoder)


MODELS = {
    "vae": (vae, {"encode", "decode", "reconstruct"}),
    "ddpm": (ddpm, {"denoise"}),
    "dcgan": (lambda: kgen.gan.DCGAN((4, 4, 1), 3, widths=[4, 8]), {"decode"}),
    "rbm": (lambda: kgen.energy.RBM((4, 4, 1), hidden=8), {"encode", "reconstruct", "energy"}),
}


@pytest.mark.parametrize("name", MODELS)
def test_files_answer_as_the_model_does(name, format, tmp_path):
    keras.utils.set_random_seed(0)
    make, wanted = MODELS[name]
    model = make()
    rng = np.random.default_rng(2)
    for weight in model.weights:  # a fresh U-Net returns zeros
        weight.assign(ops.convert_to_numpy(weight) + 0.1 * np.abs(rng.standard_normal(weight.shape)).astype("float32"))
    found = kgen.serving.export_portable(model, tmp_path / "new", format=format)
    assert list(found) == [e.name for e in model.endpoints()]
    suffix = {"onnx": ".onnx", "litert": ".tflite"}[format]
    written = {n for n, path in found.items() if not isinstance(path, str)}
    assert written == wanted, found
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == sorted(f"{n}{suffix}" for n in wanted)
    for endpoint in model.endpoints():
        if endpoint.name in wanted:
            rows = {n: example_rows(spec, n, 7) for n, spec in endpoint.inputs.items()}  # as many rows as one likes
            expected = endpoint.function(**{n: ops.convert_to_tensor(v) for n, v in rows.items()})
            answers = run(found[endpoint.name], rows)
            for output, value in expected.items():
                assert np.asarray(value).std() > 1e-3
                np.testing.assert_allclose(answers[output], value, atol=1e-4)
        else:
            assert "draws random numbers" in found[endpoint.name]


class Stub(keras.Model):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def endpoints(self):
        return [Endpoint("f", self.function, {"x": TensorSpec((3,), "float32", "anything")}, {"y": "anything"})]


def test_what_cannot_be_exported_says_why(format, tmp_path):
    def bits(x):
        return {"y": ops.cast(ops.bitwise_and(ops.cast(x * 1e6, "int32"), ops.cast(0x55AA, "int32")), "float32")}

    (reason,) = kgen.serving.export_portable(Stub(bits), tmp_path, format=format).values()
    assert isinstance(reason, str) and "Bitwise" in reason
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_differs_is_not_kept(format, tmp_path, monkeypatch):
    answers = {"y": np.full((3, 3), 9.0, "float32")}
    monkeypatch.setitem(kgen.serving.portable._RUN, format, lambda file, rows: answers)
    (reason,) = kgen.serving.export_portable(Stub(lambda x: {"y": 2 * x}), tmp_path, format=format).values()
    assert "y differs by" in reason and list(tmp_path.iterdir()) == []
    answers["y"] = np.full((3, 3), np.nan)
    (reason,) = kgen.serving.export_portable(Stub(lambda x: {"y": 2 * x}), tmp_path, format=format).values()
    assert "y differs by nan" in reason
    answers.clear()
    (reason,) = kgen.serving.export_portable(Stub(lambda x: {"y": 2 * x}), tmp_path, format=format).values()
    assert reason == "expected an output 'y' (3, 3), received {}"


def test_the_command(tmp_path):
    vae().save(tmp_path / "vae.keras")
    arguments = ["export", str(tmp_path / "vae.keras"), "--format", "litert", "--out", str(tmp_path / "files")]
    done = CliRunner().invoke(cli.main, arguments)
    assert done.exit_code == 0 and f"Exported: {tmp_path / 'files' / 'encode.tflite'}" in done.output
    assert "Not exported: sample: it draws random numbers" in done.output


def test_wrong_arguments(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="format: expected one of 'onnx', 'litert', received 'tflite'"):
        kgen.serving.export_portable(vae(), tmp_path, format="tflite")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        ImportError, match=r'format: "onnx" needs tf2onnx and onnxruntime: pip install tf2onnx onnxruntime'
    ):
        kgen.serving.export_portable(vae(), tmp_path)
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    with pytest.raises(RuntimeError, match="backend: expected tensorflow, received jax. Models load on every backend"):
        kgen.serving.export_portable(vae(), tmp_path)
