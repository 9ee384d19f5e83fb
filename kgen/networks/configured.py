"""Functional networks that are made again from their arguments."""

import functools

import keras


class ConfiguredNetwork(keras.Model):
    """A functional model whose configuration is the arguments it was made with, ``self._arguments``.

    Its layers are made under the policy ``dtype``, as a layer of one piece would be: Keras's own functional models leave theirs at the
    global policy, whatever they are told.
    """

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "__init__" in cls.__dict__:
            cls.__init__ = _under_policy(cls.__init__)

    def get_config(self):
        config = dict(self._arguments)
        if self.dtype_policy.name != "float32":
            config["dtype"] = keras.dtype_policies.serialize(self.dtype_policy)
        return config

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**config)


def _under_policy(init):
    @functools.wraps(init)
    def made(self, *args, dtype=None, **kwargs):
        before = keras.config.dtype_policy()
        policy = before if dtype is None else keras.dtype_policies.get(dtype)
        keras.config.set_dtype_policy(policy)
        try:
            init(self, *args, dtype=policy, **kwargs)
        finally:
            keras.config.set_dtype_policy(before)

    return made
