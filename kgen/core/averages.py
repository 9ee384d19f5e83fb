"""Averages of weights: named copies of a model's networks that follow them, inside the training step."""

import keras
from keras import ops

from kgen import backend
from kgen.core import checks

FLOAT32 = {"bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


class Averages:
    """The averages that a model keeps. Each has a name and a decay, and copies ``<name>_<network>`` of some of its networks.

    After step k, average += (1 - d_k) (network - average), d_k = min(d, (1 + k)/(10 + k)): the growing decay lets the average forget
    the random start (the rule of TensorFlow's ExponentialMovingAverage). Copies compute as their networks do, and keep their weights in
    float32, in which small steps are not lost.

    Args:
        model: the model; the copies and a counter ``<name>_step`` become its attributes, so that they are saved with it.
    """

    def __init__(self, model):
        self._model = model
        self._decays, self.networks = {}, {}

    def keep(self, name, decay, networks):
        """Begins an average ``name`` of the networks that are the model's attributes ``networks``; called in ``__init__``.

        Args:
            name: what it is called: "ema", "teacher" ...
            decay: in [0, 0.999999], or a function of the step (a float scalar tensor) that returns one.
            networks: names of attributes.
        """
        model = self._model
        self._decays[name] = decay if callable(decay) else checks.in_range(name, decay, 0.0, 0.999999)
        self.networks[name] = tuple(networks)
        for network in networks:
            source = getattr(model, network)
            copy = copy_network(source, averaged=True)
            copy.set_weights(source.get_weights())
            copy.trainable = False
            setattr(model, f"{name}_{network}", copy)
        step = model.add_weight(shape=(), initializer="zeros", trainable=False, dtype="float32", name=f"{name}_step")
        setattr(model, f"{name}_step", step)

    def of(self, network, name):
        """The copy of ``network`` in the average ``name``; the network itself where there is none."""
        return getattr(self._model, f"{name}_{network}" if network in self.networks.get(name, ()) else network)

    def steps(self):
        """The counters of all averages."""
        return [getattr(self._model, f"{name}_step") for name in self._decays]

    def reset(self):
        """Sets every copy to its network, as at the start."""
        for name, networks in self.networks.items():
            for network in networks:
                getattr(self._model, f"{name}_{network}").set_weights(getattr(self._model, network).get_weights())

    def update(self, finite=True):
        """Takes one step of every average, unless ``finite`` (a boolean scalar tensor) is false."""
        for name, decay in self._decays.items():
            counter = getattr(self._model, f"{name}_step")
            step = ops.convert_to_tensor(counter)
            wanted = decay(step) if callable(decay) else ops.minimum(decay, (1.0 + step) / (10.0 + step))
            rate = ops.where(finite, 1.0 - wanted, 0.0)
            for network in self.networks[name]:
                source, target = getattr(self._model, network), getattr(self._model, f"{name}_{network}")
                for value, average in zip(source.weights, target.weights, strict=True):
                    backend.move_towards(average, value, rate)
            counter.assign(ops.where(finite, step + 1.0, step))


def frozen_network(network):
    """A copy of a network with its weights, which is not trained: the caller's own, and what shares layers with it, goes on as it was.

    Raises:
        TypeError: the network cannot be rebuilt from its configuration.
    """
    copy = copy_network(network)
    copy.set_weights(network.get_weights())
    copy.trainable = False
    return copy


def copy_network(network, averaged=False):
    """A network or layer with the same configuration, built, whose weights are its own.

    Args:
        network: a built ``keras.layers.Layer`` or ``keras.Model``.
        averaged: whether weights of half precision become float32.
    Raises:
        TypeError: the network cannot be rebuilt from its configuration.
    """
    try:
        config = keras.saving.serialize_keras_object(network)
        copy = keras.saving.deserialize_keras_object(_in_float32(config) if averaged else config)
    except Exception as error:
        raise TypeError(
            f"network: {type(network).__name__} could not be rebuilt from its configuration ({error}). A copy with weights of "
            "its own needs it: give the class get_config(), or, where the copy is of averaged weights, pass ema=None."
        ) from error
    if not copy.built:
        copy.build_from_config(network.get_build_config())
    return copy


def _entry_in_float32(key, value):
    if key == "inbound_nodes":  # of a functional model: types of what its layers are called on, which are no policies
        return value
    return FLOAT32.get(value, value) if key == "dtype" and isinstance(value, str) else _in_float32(value)


def _in_float32(config):
    """A configuration whose weights are float32 where they were of half precision; what is computed stays as it was."""
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy":
            inner = config.get("config", {})
            return {**config, "config": {**inner, "name": FLOAT32.get(inner.get("name"), inner.get("name"))}}
        return {k: _entry_in_float32(k, v) for k, v in config.items()}
    return [_in_float32(v) for v in config] if isinstance(config, (list, tuple)) else config
