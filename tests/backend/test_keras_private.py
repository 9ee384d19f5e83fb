"""Each private name of Keras that kgen uses is there, and is what kgen takes it for."""

import ast
import inspect
import pathlib
import re

import keras
import pytest
from keras import layers

import kgen
from kgen.backend import keras_private


def compiled():
    inner = keras.Sequential([keras.Input((2,)), layers.BatchNormalization(name="norm"), layers.Dropout(0.5)])
    model = keras.Sequential([keras.Input((2,)), inner, layers.Dense(1)])
    model.compile(keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)), loss="mse")
    return model


def test_stateless_scope():
    assert keras_private.stateless_scope() is None
    with keras.StatelessScope() as scope:
        assert keras_private.stateless_scope() is scope


def test_supports_jit():
    assert keras_private.supports_jit(compiled()) is True
    layer = layers.Dense(1)
    layer.supports_jit = False
    assert keras_private.supports_jit(keras.Sequential([keras.Input((2,)), layer])) is False


def test_global_seed():
    keras.utils.set_random_seed(3)
    before = keras.ops.convert_to_numpy(keras_private.global_seed()).copy()
    keras.random.normal((2,))
    assert (keras.ops.convert_to_numpy(keras_private.global_seed()) != before).any()


def test_flatten_layers_and_own_state():
    model = compiled()
    found = keras_private.flatten_layers(model)
    norm = next(layer for layer in found if layer.name == "norm")
    assert model in found and not any(layer.name == "norm" for layer in model.layers)
    assert keras_private.own_state(norm) == [norm.moving_mean, norm.moving_variance]
    assert keras_private.own_state(model) == []


def test_without_loss_tracker():
    model = compiled()
    assert "loss" in [m.name for m in model.metrics]
    keras_private.without_loss_tracker(model)
    assert "loss" not in [m.name for m in model.metrics]
    with pytest.raises(AttributeError, match="_loss_tracker"):
        keras_private.without_loss_tracker(object())


def test_rate_as_given():
    assert isinstance(keras_private.rate_as_given(compiled().optimizer), keras.optimizers.schedules.ExponentialDecay)
    assert float(keras_private.rate_as_given(keras.optimizers.SGD(0.25))) == 0.25


def test_history_and_progress_bar_of_a_list_of_callbacks():
    made = keras.callbacks.CallbackList(
        [], add_history=True, add_progbar=True, model=compiled(), epochs=1, steps=1, verbose=1
    )
    assert isinstance(keras_private.history_of(made), keras.callbacks.History)
    assert isinstance(keras_private.progress_bar_of(made), keras.callbacks.ProgbarLogger)
    bare = keras.callbacks.CallbackList([], add_history=True, model=compiled(), epochs=1)
    assert keras_private.progress_bar_of(bare) is None


def test_model_of():
    model, callback = compiled(), keras.callbacks.Callback()
    callback.set_model(model)
    assert keras_private.model_of(callback) is model


def test_each_name_is_tried_here():
    here = pathlib.Path(__file__).read_text(encoding="utf-8")
    for name, _ in inspect.getmembers(keras_private, inspect.isfunction):
        assert f"keras_private.{name}(" in here, name


def test_no_other_module_uses_private_names_of_keras():
    root = pathlib.Path(kgen.__file__).parent
    ours = set(re.findall(r"\._([a-z_]+)", inspect.getsource(keras_private))) - {
        "model",
        "_version__",
    }  # attributes of ours too
    for file in root.rglob("*.py"):
        if file.name == "keras_private.py":
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not any((name or "").startswith("keras.src") for name in names), f"{file.name} imports keras.src"
            if isinstance(node, ast.Attribute):
                assert node.attr[1:] not in ours or node.attr[0] != "_", f"{file.name}:{node.lineno} uses {node.attr}"
