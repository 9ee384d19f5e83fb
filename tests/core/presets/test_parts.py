"""The parts by which a preset is held to what it says: the list of classes, and layers made for a file's weights alone."""

import importlib
import threading

import keras
import numpy as np
import pytest
from core.one_loss import OneLoss
from keras import layers

from kgen.core.presets import allowlist, building

SHAPES = {"a": ((4, 3), "float32"), "b": ((3,), "float32")}


@pytest.mark.parametrize("module", allowlist.KERAS)
def test_each_name_on_the_list_is_a_class_of_keras(module):
    there = importlib.import_module(module)
    for name in allowlist.KERAS[module]:
        found = getattr(there, name)
        assert isinstance(found, type) and found.__module__.startswith("keras.src."), name


def test_what_runs_code_or_reads_files_is_not_on_it():
    refused = "Lambda TFSMLayer TorchModuleWrapper JaxLayer FlaxLayer StringLookup IntegerLookup TextVectorization Pipeline Layer"
    for name in refused.split():
        assert hasattr(layers, name)  # there is such a layer
        assert name not in allowlist.KERAS["keras.layers"]


def test_keras_writes_what_the_list_has():
    """A layer of each kind, as Keras itself serializes it, gets through."""
    for layer in (
        layers.Dense(3, kernel_regularizer="l2", kernel_constraint="non_neg", dtype="mixed_float16"),
        layers.Conv2DTranspose(3, 3, kernel_initializer=keras.initializers.Orthogonal(seed=2**62)),
        layers.Bidirectional(layers.LSTM(3)),
        layers.MultiHeadAttention(2, 4),
        keras.Sequential([keras.Input((3,)), layers.Dense(2)]),
    ):
        config = keras.saving.serialize_keras_object(layer)
        config.pop("compile_config", None)
        assert allowlist.check(config, "here") is None
    inputs = keras.Input((3, 4))
    model = keras.Model(inputs, keras.ops.silu(inputs[:, 0]) * keras.ops.mean(inputs, axis=1))
    config = keras.saving.serialize_keras_object(model)
    config.pop("compile_config", None)
    assert allowlist.check(config, "here") is None


def test_a_class_of_the_program_itself():
    config = {"module": "anything", "class_name": "OneLoss", "config": {}, "registered_name": "kgen_tests>OneLoss"}
    assert allowlist.check(config, "here") is OneLoss
    with pytest.raises(ValueError, match="neither kgen's nor registered in this program"):
        allowlist.check({**config, "registered_name": "kgen_tests>Nobody"}, "here")


def test_only_weights_of_the_file_are_made_and_no_initializer_runs():
    def dense(units, **settings):
        layer = layers.Dense(units, kernel_initializer="ones", **settings)
        layer.build((None, 4))
        return layer

    with building.only_what_is_in(SHAPES):
        np.testing.assert_array_equal(dense(3).kernel, 0.0)
    for message, make in (
        (r"a weight dense\w*/kernel of shape \(4, 5\), float32: the file has none", lambda: dense(5)),
        (
            r"a weight dense\w*/kernel of shape \(4, 3\), float32: the file has fewer",
            lambda: [dense(3) for _ in range(3)],
        ),
        (r"a weight dense\w*/kernel of shape \(4, 3\), float16: the file has none", lambda: dense(3, dtype="float16")),
        (r"too many layers for the file's 2 weights", lambda: [layers.Activation("relu") for _ in range(200)]),
    ):
        with pytest.raises(ValueError, match=f"the configuration makes {message}"), building.only_what_is_in(SHAPES):
            make()
    np.testing.assert_array_equal(dense(5).kernel, 1.0)


def test_networks_run_as_symbols():
    class Watched(layers.Layer):
        def call(self, x):
            return keras.ops.repeat(x, 2, axis=1)

    with building.only_what_is_in({}):
        output = Watched()(np.ones((1, 3), "float32"))
        assert tuple(output.shape) == (1, 6)
        np.testing.assert_array_equal(output, 0.0)  # of that shape, and not computed
        with pytest.raises(ValueError, match=r"a network returns shape \(8388608,\): expected at most 4194304 values"):
            Watched()(np.ones((1, 2**22), "float32"))
    np.testing.assert_array_equal(Watched()(np.ones((1, 3), "float32")), 1.0)


def test_other_threads_make_what_they_like():
    made = []

    def elsewhere():
        layer = layers.Dense(7, kernel_initializer="ones")
        made.append(keras.ops.convert_to_numpy(layer(np.ones((2, 5), "float32"))))

    with building.only_what_is_in(SHAPES):
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join(60)
    np.testing.assert_array_equal(made[0], 5.0)


def test_every_registered_class_of_the_rooms_may_stand_in_a_preset():
    """By its module's name: one that the list's pattern missed could be trained and saved, and would have no preset."""
    for room in allowlist.ROOMS:
        importlib.import_module(f"kgen.{room}")
    rooms = tuple(f"kgen.{room}." for room in allowlist.ROOMS)
    registered = keras.saving.get_custom_objects()
    own = {n: c for n, c in registered.items() if isinstance(c, type) and c.__module__.startswith(rooms)}
    assert "kgen>StyleGAN2" in own and len(own) > 150
    for name, found in own.items():
        value = {"class_name": found.__name__, "module": found.__module__, "registered_name": name}
        assert allowlist.resolve(value, "here") is found
