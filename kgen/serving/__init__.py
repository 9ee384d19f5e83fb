"""Models behind a server: SavedModels that a stock TF Serving answers from. Each name is loaded when first used."""

import importlib

_NAMES = {"export": "kgen.serving.exporting", "Session": "kgen.serving.capi", "verify": "kgen.serving.verifying"}

__all__ = ["Session", "export", "verify"]


def __getattr__(name):
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    raise AttributeError(f"module 'kgen.serving' has no attribute {name!r}. It has: {', '.join(__all__)}.")


def __dir__():
    return sorted(__all__)
