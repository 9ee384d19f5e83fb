"""What every model must keep. Each family's ``test_contract.py`` runs these tests over its models:

from contract import *
trained = trained_models({"ddpm": Case(lambda: DDPM(...)), ...})
"""

import dataclasses
import inspect
from collections.abc import Callable

import keras
import numpy as np
import pytest
from keras import ops

import kgen
from kgen import backend
from kgen.backend import keras_private
from kgen.core import random

RNG = np.random.default_rng(0)
X = (np.round(np.clip(0.3 * RNG.normal(size=(64, 4, 4, 1)) + 0.4, -1, 1) * 4) / 4).astype("float32")
Y = RNG.integers(0, 3, 64).astype("int32")


# XLA would take longer to compile a loop than these few rows take without it; tests/serving runs each of these models' loops by XLA.
COMPILE = {"jit_compile": False} if keras.config.backend() == "tensorflow" else {}


@dataclasses.dataclass(frozen=True)
class Case:
    """One model of the contract.

    Args:
        make: makes the model.
        data: what ``fit`` takes.
        falls: the log whose mean over the last of 12 epochs is below that over the first, or None for players who hold each other.
        sample: keywords of ``sample``.
        log_prob: keywords of ``log_prob``; None for an implicit model.
        output: the name of the sample endpoint's main output.
        backends: where it runs.
    """

    make: Callable
    data: tuple = (X,)
    falls: str | None = "loss"
    sample: dict = dataclasses.field(default_factory=dict)
    log_prob: dict | None = dataclasses.field(default_factory=dict)
    output: str = "images"
    backends: tuple = ("tensorflow", "jax", "torch")


@dataclasses.dataclass
class Trained:
    model: keras.Model
    start: list  # the trainable weights before training
    history: dict
    case: Case

    def __iter__(self):
        return iter((self.model, self.case))


def trained_models(models):
    """The fixture ``trained`` of a file: each of its models after 12 epochs."""

    @pytest.fixture(scope="module", params=models, ids=lambda name: name.replace(" ", "_").replace(",", ""))
    def trained(request):
        case = models[request.param]
        if keras.config.backend() not in case.backends:
            pytest.skip(f"{request.param} runs on {', '.join(case.backends)}")
        keras.utils.set_random_seed(0)
        model = case.make()
        start = [ops.convert_to_numpy(v) for v in model.trainable_variables]
        model.compile(keras.optimizers.Adam(1e-2), **COMPILE)
        history = model.fit(*case.data, batch_size=32, epochs=12, shuffle=False, verbose=0).history
        return Trained(model, start, history, case)

    return trained


def test_the_loss_falls(trained):
    for values in trained.history.values():
        assert np.isfinite(values).all()
    if trained.case.falls:
        losses = trained.history[trained.case.falls]
        assert np.mean(losses[-3:]) < np.mean(losses[:3])


def test_every_trainable_weight_is_trained(trained):
    still = [
        v.path
        for v, old in zip(trained.model.trainable_variables, trained.start, strict=True)
        if np.array_equal(ops.convert_to_numpy(v), old)
    ]
    assert still == []  # Adam does not move a weight whose gradient is zero


def test_samples(trained):
    model, case = trained
    keywords = case.sample
    eight = model.sample(8, seed=1, **keywords)
    assert eight.shape[0] == 8 and np.isfinite(eight).all()
    if case.output == "images":
        assert eight.shape[1:] == X.shape[1:] and eight.dtype == np.float32 and np.abs(eight).max() <= 1
    np.testing.assert_allclose(model.sample(3, seed=1, **keywords), eight[:3], atol=1e-5)
    np.testing.assert_allclose(model.sample(8, seed=1, batch_size=3, **keywords), eight, atol=1e-5)
    assert np.abs(model.sample(8, seed=2, **keywords) - eight).max() > 1e-3
    assert np.abs(model.sample(8, **keywords) - model.sample(8, **keywords)).max() > 1e-4  # without a seed


def test_likelihood_or_a_reason(trained):
    model, case = trained
    assert model.likelihood in ("exact", "bound", "unnormalised", "implicit")
    x = case.data[0][:5]
    if case.log_prob is None:
        assert model.likelihood == "implicit"
        with pytest.raises(NotImplementedError, match="no likelihood.*flows"):
            model.log_prob(x)
        return
    value = model.log_prob(x, **case.log_prob)
    assert value.shape == (5,) and np.isfinite(value).all()
    np.testing.assert_allclose(model.log_prob(x, batch_size=2, **case.log_prob), value, rtol=1e-4)


def test_saved_it_goes_on_as_if_it_had_never_stopped(trained, tmp_path):
    model, case = trained
    model.save(tmp_path / "m.keras")
    resumed = kgen.load(tmp_path / "m.keras")
    for each in (model, resumed):
        each.fit(*case.data, batch_size=32, shuffle=False, verbose=0)
    for a, b in zip(
        model.variables + model.optimizer.variables, resumed.variables + resumed.optimizer.variables, strict=True
    ):
        np.testing.assert_array_equal(ops.convert_to_numpy(a), ops.convert_to_numpy(b), err_msg=a.path)
    np.testing.assert_array_equal(model.sample(3, seed=0, **case.sample), resumed.sample(3, seed=0, **case.sample))


def test_configuration_round_trip(trained):
    """What the file of a model is made again from, so that what comes of it is held above."""
    model, _ = trained
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(model))
    assert again.get_config() == model.get_config()
    assert [w.shape for w in again.weights] == [w.shape for w in model.weights]


def test_what_a_constructor_takes_is_kept_under_its_name(trained):
    """What describes a default network alone is that network's; ``layers`` is Keras's own name, of what a model consists of."""
    model, _ = trained
    networks = [n for n in keras_private.flatten_layers(model) if n is not model and isinstance(n, keras.Model)]
    taken = set(inspect.signature(type(model).__init__).parameters) - {"self", "kwargs", "layers"}
    theirs = {name for network in networks for name in network.get_config()}
    lost = {name for name in taken if not hasattr(model, name) and name.removeprefix("generator_") not in theirs}
    assert not lost


def endpoint_inputs(endpoint, rows):
    """Values that an endpoint takes: row seeds, the first labels, neutral guidance, few steps, and the middle of every other range."""
    values = {
        "seed": random.row_seeds(7, rows),
        "label": np.arange(rows, dtype="int32") % 3,
        "guidance": np.ones(rows, "float32"),
        "steps": 1 + np.arange(rows, dtype="int32") % 2,
    }
    inputs = {}
    for name, spec in endpoint.inputs.items():
        value = values.get(name, np.full((rows, *spec.shape), 0.25, spec.dtype))
        assert value.shape == (rows, *spec.shape) and value.dtype == spec.dtype
        inputs[name] = ops.convert_to_tensor(value)
    return inputs


def compiled(endpoint, model):
    names = list(endpoint.inputs)
    return backend.jit(lambda *values: endpoint.function(**dict(zip(names, values, strict=True))), model.variables)


def test_endpoints_answer_rows_compiled_as_eager(trained):
    model, case = trained
    for endpoint in model.endpoints():
        rows = 3 if endpoint.name == "sample" else 1  # one row is an array of rows too
        inputs = endpoint_inputs(endpoint, rows)
        outputs = compiled(endpoint, model)(*inputs.values())
        assert set(outputs) == set(endpoint.outputs) and set(endpoint.images) <= set(outputs)
        for value in outputs.values():
            assert value.shape[0] == rows
        if endpoint.name == "sample":
            eager = endpoint.function(**inputs)[case.output]
            np.testing.assert_allclose(
                ops.convert_to_numpy(eager), ops.convert_to_numpy(outputs[case.output]), atol=2e-5
            )
