"""Compiled functions of a model, kept by what identifies them."""

import keras

from kgen import backend
from kgen.backend import keras_private


class CompiledFunctions:
    """Functions by key. Not a dict, so that Keras does not track what is in it; never copied, never saved."""

    def __init__(self):
        self.functions = {}

    def get(self, key, function, variables, compiler):
        """``function`` compiled: once for each (key, compiler)."""
        key = (key, compiler)
        if key not in self.functions:
            self.functions[key] = backend.jit(function, variables, compiler=compiler)
        return self.functions[key]

    def __deepcopy__(self, memo):
        return CompiledFunctions()

    def __reduce__(self):
        return (CompiledFunctions, ())


def compiler_of(model, jit_compile, loop):
    """Which compiler a function of ``model`` gets: "xla" or None.

    A loop is compiled by XLA unless ``compile(jit_compile=False)`` was asked for: on a CPU too, where Keras's "auto" leaves XLA out, it
    makes a sampler two to five times as fast. What runs once follows Keras's choice: it is over before XLA has compiled.

    Args:
        model: a ``keras.Model``.
        jit_compile: what ``compile`` was given.
        loop: whether the function runs networks many times.
    """
    xla = model.jit_compile
    if loop and jit_compile == "auto" and not model.run_eagerly and keras.config.backend() != "torch":
        xla = keras_private.supports_jit(model)
    return "xla" if xla else None
