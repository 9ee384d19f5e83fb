"""kgen: generative models in Keras 3, on TensorFlow, JAX and torch.

Importing kgen is cheap: it loads no framework and never chooses a backend. Each name below is loaded when it is first used.
"""

import importlib

__version__ = "0.2.0"

_ROOMS = (
    "apply",
    "autoregressive",
    "backend",
    "callbacks",
    "core",
    "data",
    "diffusion",
    "distributions",
    "energy",
    "flow",
    "gan",
    "hybrid",
    "interop",
    "layers",
    "metrics",
    "networks",
    "numerics",
    "recipes",
    "serving",
    "text",
    "tools",
    "vae",
)
_NAMES = {
    "GenerativeModel": "kgen.core.model",
    "Run": "kgen.core.run",
    "from_preset": "kgen.core.loading",
    "load": "kgen.core.loading",
}

NO_RECIPES = (
    "The recipes are not installed (kgen.recipes cannot be imported): kgen was put on Python's path by hand, or installed by an old way. "
    "In a clone of kgen, run: pip install -e ."
)

__all__ = ["__version__", *_NAMES, *_ROOMS]


def __getattr__(name):
    try:
        if name in _ROOMS:
            return importlib.import_module(f"kgen.{name}")
        if name in _NAMES:
            return getattr(importlib.import_module(_NAMES[name]), name)
    except ModuleNotFoundError as error:
        if error.name in ("tensorflow", "jax", "torch"):
            raise ImportError(
                f"The Keras backend is {error.name!r}, which is not installed. Install it (pip install {error.name}), or choose another "
                "by the environment variable KERAS_BACKEND, before Python starts."
            ) from error
        if error.name == "kgen.recipes":
            raise ImportError(NO_RECIPES) from error
        raise
    raise AttributeError(f"module 'kgen' has no attribute {name!r}. It has: {', '.join(__all__)}.")


def __dir__():
    return sorted(__all__)
