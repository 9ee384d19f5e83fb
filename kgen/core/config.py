"""Small objects that are data: they say what they are made of, and can be made again from that."""

import inspect

import keras

from kgen.core import checks


class Configured:
    """An object whose configuration is the arguments it was made with.

    A subclass names its arguments in ``__init__`` and keeps each as an attribute of the same name. An attribute is set once: what a
    compiled function has read cannot be changed under it.
    """

    def __setattr__(self, name, value):
        if name in self.__dict__:
            raise AttributeError(
                f"{name}: {type(self).__name__} is not changed once it is made, since compiled functions have read it. Make a new one: "
                f"{type(self).__name__}({name}=...)."
            )
        object.__setattr__(self, name, value)

    def get_config(self):
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    def __repr__(self):
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.get_config().items())})"

    def __eq__(self, other):
        return type(other) is type(self) and other.get_config() == self.get_config()

    def __hash__(self):
        return hash(repr(self))


def own_copy(config):
    """A configuration whose dicts and lists are its own: Keras empties some of those that it makes an object from."""
    if isinstance(config, dict):
        return {k: own_copy(v) for k, v in config.items()}
    if isinstance(config, (list, tuple)):
        return (list if isinstance(config, list) else tuple)(own_copy(v) for v in config)
    return config


def resolve(name, value, base, aliases):
    """An object of class ``base`` from itself, a short name, or its Keras configuration: as ``keras.optimizers.get``.

    Args:
        name: the argument's name, for the error.
        value: what the user passed.
        base: the class it must be of.
        aliases: dict from a short name to a class.
    Raises:
        ValueError, TypeError: unknown name, or another kind of object.
    """
    if isinstance(value, str):
        return aliases[checks.one_of(name, value, list(aliases))]()
    if isinstance(value, dict) and "class_name" in value:
        value = keras.saving.deserialize_keras_object(value)
    if not isinstance(value, base):
        raise TypeError(
            f"{name}: expected {', '.join(repr(a) for a in aliases)} or a {base.__name__}, received {value!r}."
        )
    return value
