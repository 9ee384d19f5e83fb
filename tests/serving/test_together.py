"""Many small diffusion models in one export: every sampler with rows of fewer steps, students, pictures from files. Each answers as in Python."""

import dataclasses
import io

import keras
import numpy as np
import PIL.Image
import pytest
from keras import ops

import kgen
from kgen.core import random
from kgen.diffusion import (
    DDPM,
    EDM,
    AveragePooling,
    Cascade,
    ConsistencyDistillation,
    ConsistencyModel,
    ConsistencySampler,
    DDIMSampler,
    DPMSolverMultistepSampler,
    FlowMatching,
    InpaintingModel,
    PosteriorRestoration,
    ProgressiveDistillation,
    Reflow,
    ReverseSDESampler,
    SuperResolution,
    samplers,
    served,
)
from kgen.networks import MLP
from kgen.serving.picture_inputs import FORMS, forms_of, images_of, names
from kgen.serving.warmup import example_rows

pytestmark = pytest.mark.skipif(
    keras.config.backend() != "tensorflow", reason="an export from JAX and torch takes a process of its own"
)
SEEDS = random.row_seeds(5, 3)


class Together(kgen.GenerativeModel):
    """Models by name, whose endpoints are called ``<endpoint>_<name>``."""

    def __init__(self, models):
        super().__init__()
        self.models = models

    def endpoints(self):
        found = [(k, e) for k, m in self.models.items() for e in [*m.endpoints(), *m.further_endpoints()]]
        return [dataclasses.replace(e, name=f"{e.name}_{k}") for k, e in found if e.name != "denoise"]


def answers(model, folder):
    """A function that asks a signature of an export of the model, without the server."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(kgen.serving.export(model, folder, batch_sizes=(3,))))

    def ask(name, **inputs):
        found = loaded.signatures[name](**{k: tf.convert_to_tensor(v) for k, v in inputs.items()})
        assert found["valid"].numpy().all(), found["error"]
        return found["images"].numpy()

    return ask


def test_every_sampler_with_rows_of_fewer_steps(tmp_path):
    keras.utils.set_random_seed(0)
    network = MLP((2,), (2,), widths=(8,), time=True)
    found = {name: samplers.get(name, steps=4) for name in samplers.names()}
    found |= {"sde_dpm_solver": DPMSolverMultistepSampler(4, stochastic=True), "reverse_sde": ReverseSDESampler(4)}
    models = {name: DDPM((2,), network=network, ema=None, sampler=sampler) for name, sampler in found.items()}
    ask = answers(Together(models), tmp_path)
    steps = np.array([4, 2, 1], "int32")
    for name, model in models.items():
        expected = model.sample_rows(ops.convert_to_tensor(SEEDS), steps=ops.convert_to_tensor(steps))
        np.testing.assert_allclose(
            ask(f"sample_{name}", seed=SEEDS, steps=steps), expected, rtol=1e-4, atol=1e-5, err_msg=name
        )


def of_pictures(kind, *conditions, **kwargs):
    """A model of 4x4 pictures whose network is a convolution of x_t and of pictures that condition it, enlarged."""
    inputs = [keras.Input((4, 4, 1)), keras.Input(()), *(keras.Input(shape) for shape in conditions)]
    given = [keras.layers.UpSampling2D(4 // v.shape[1])(v) for v in inputs[2:]]
    h = keras.layers.Concatenate()([inputs[0], *given]) if given else inputs[0]
    network = keras.Model(inputs, keras.layers.Conv2D(1, 3, padding="same")(h))
    return kind((4, 4, 1), network=network, sampler=DDIMSampler(2), ema=None, **kwargs)


def test_students_and_pictures_from_files(tmp_path, monkeypatch):
    """What is made from trained models is served as other models are, and each use of pictures takes floats, bytes and PNG files."""
    keras.utils.set_random_seed(0)
    monkeypatch.setattr(served, "RESAMPLES", 2)
    monkeypatch.setattr(served, "STEPS", 2)
    network = MLP((2,), (2,), widths=(8,), time=True)
    edm, flow = EDM((2,), network=network, ema=None), FlowMatching((2,), network=network, ema=None)
    plain, larger = of_pictures(DDPM), of_pictures(SuperResolution, (2, 2, 1))
    small = DDPM((2, 2, 1), network=MLP((2, 2, 1), (2, 2, 1), widths=(8,), time=True), sampler=DDIMSampler(2), ema=None)
    model = Together(
        {
            "consistency": ConsistencyModel.from_diffusion(edm, ema=None, sampler=ConsistencySampler(2)),
            "distilled": ConsistencyDistillation(flow, ema=None),
            "progressive": ProgressiveDistillation(edm, steps=2),
            "reflow": Reflow.from_teacher(flow, sampler=DDIMSampler(1), ema=None),
            "known": of_pictures(InpaintingModel, (4, 4, 2)),
            "plain": plain,
            "larger": larger,
            "cascade": Cascade([small, larger]),
            "measured": PosteriorRestoration(plain, AveragePooling(2)),
        }
    )
    ask = answers(model, tmp_path)
    rng, forms = np.random.default_rng(1), set()
    for endpoint in model.endpoints():
        given = {name: example_rows(spec, name, 3) for name, spec in endpoint.inputs.items()}
        for name in images_of(endpoint):
            given[name] = (rng.integers(0, 256, (3, *endpoint.inputs[name].shape)) / 127.5 - 1.0).astype("float32")
        tensors = {name: ops.convert_to_tensor(value) for name, value in given.items()}
        expected = ops.convert_to_numpy(endpoint.function(**tensors)["images"])
        for form in (None, *forms_of(endpoint)):
            called, asked = names(endpoint, form), dict(given)
            for name, new in called.items():
                pixels = np.round((asked.pop(name) + 1.0) * 127.5).astype("uint8")
                asked[new] = pixels if form == "uint8" else np.array([png(p) for p in pixels], dtype=object)
            signature = endpoint.name if form is None else f"{endpoint.name}_{form}"
            np.testing.assert_allclose(ask(signature, **asked), expected, rtol=1e-4, atol=1e-4, err_msg=signature)
            forms.add(signature)
    wanted = {f"{use}_{form}" for use in ("inpaint_known", "inpaint_plain", "translate_plain") for form in FORMS}
    assert (
        wanted
        | {"interpolate_plain_png", "sample_larger_png", "sample_consistency", "sample_cascade", "restore_measured_png"}
        <= forms
    )


def png(pixels):
    with io.BytesIO() as file:
        PIL.Image.fromarray(pixels[..., 0]).save(file, "png")
        return file.getvalue()
