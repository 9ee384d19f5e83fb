"""Each private name of Keras that kgen uses is there, and is what kgen takes it for."""

import ast
import inspect
import pathlib
import re

import keras
import numpy as np
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


def test_clipped():
    tensor = keras.ops.convert_to_tensor([3.0, 4.0])
    (found,) = keras_private.clipped(keras.optimizers.SGD(clipnorm=1.0), [tensor])
    np.testing.assert_allclose(keras.ops.convert_to_numpy(found), [0.6, 0.8], rtol=1e-6)


def test_moments_and_decays():
    optimizer, variables = (
        keras.optimizers.AdamW(0.1, beta_1=0.5, beta_2=0.75),
        [keras.Variable([2.0]), keras.Variable([3.0])],
    )
    optimizer.exclude_from_weight_decay([variables[0]])
    optimizer.build(variables)
    optimizer.apply([keras.ops.convert_to_tensor([g]) for g in (4.0, 6.0)], variables)
    moments = [keras_private.moments(optimizer, v) for v in variables]
    np.testing.assert_allclose(
        [[float(keras.ops.squeeze(x)) for x in pair] for pair in moments], [[2.0, 4.0], [3.0, 9.0]], rtol=1e-6
    )
    assert [bool(keras_private.decays(optimizer, v)) for v in variables] == [False, True]


def test_own_variables_and_trained_by():
    optimizer, variable = keras.optimizers.SGD(0.1, momentum=0.9), keras.Variable([0.0])
    assert keras_private.trained_by(optimizer) == []
    optimizer.build([variable])
    assert keras_private.trained_by(optimizer) == [variable]
    assert [v.path for v in keras_private.own_variables(optimizer)] == [v.path for v in optimizer.variables]


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


# Private by their spelling, none of Keras's, and set on other objects than one's own.
OF_OTHERS = {
    "_replace": "of named tuples, which document it",
    "_is_server_fn": "gradio's",
    "_src": "jax's, which TensorFlow Probability on JAX asks for",
    "_padded": "TensorFlow Probability's, replaced",
    "_argument_names": "kgen's, of a class",
    "_ZN10tensorflow21DisableXlaCompilationEv": "a symbol of TensorFlow's library",
}


def defined(tree):
    """Names of a file's functions, classes and variables, and of what its classes set on themselves."""
    nodes = list(ast.walk(tree))
    stored = [n for n in nodes if isinstance(getattr(n, "ctx", None), ast.Store)]
    found = {n.name for n in nodes if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
    found |= {n.id for n in stored if isinstance(n, ast.Name)}
    return found | {n.attr for n in stored if isinstance(n, ast.Attribute) and ast.unparse(n.value) in ("self", "cls")}


def private(tree):
    """Pairs (line, name) of the private attributes that a file reads, by a dot or by getattr, and of its modules of keras.src."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            names = [node.attr]
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("getattr", "hasattr", "setattr"):
            names = [a.value for a in node.args[1:2] if isinstance(a, ast.Constant)]
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
            yield from ((node.lineno, name) for name in names if name.startswith("keras.src"))
            continue
        else:
            continue
        yield from ((node.lineno, n) for n in names if n.startswith("_") and not n.startswith("__"))


def of_keras(trees):
    """What files, a dict from a name to a syntax tree, use of Keras's private names: those that none of them defines.

    A name that ``keras_private`` uses must be defined in the very file, since another's attribute of that name says nothing.
    """
    taken = set(re.findall(r"\b(_[a-z]\w*)", inspect.getsource(keras_private)))
    everywhere = set().union(*(defined(tree) for tree in trees.values()))
    for file, tree in trees.items():
        known = (everywhere - taken) | defined(tree) | set(OF_OTHERS)
        yield from (f"{file}:{line} uses {name}" for line, name in private(tree) if name not in known)


@pytest.mark.once("the source is the same on every backend")
def test_no_other_module_uses_private_names_of_keras():
    root = pathlib.Path(kgen.__file__).parent
    files = [file for file in root.rglob("*.py") if file.name != "keras_private.py"]
    assert list(of_keras({f.relative_to(root): ast.parse(f.read_text(encoding="utf-8")) for f in files})) == []


def test_this_test_sees_what_it_forbids():
    ours = "class A:\n    def __init__(self):\n        self._model = self._own = 1\n"
    other = (
        "from keras.src.trainers import trainer\ndef f(self, a):\n    a._own\n    self._model.x\n    a._clip_gradients(1)\n"
        "    getattr(a, '_trainable_variables', [])\n    a._metrics = 1\n"
    )
    names = ["keras.src.trainers", "_model", "_clip_gradients", "_trainable_variables", "_metrics"]
    found = [use.split(" uses ")[1] for use in of_keras({"ours": ast.parse(ours), "other": ast.parse(other)})]
    assert sorted(found) == sorted(names)
