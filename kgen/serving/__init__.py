"""Models behind a server: SavedModels that a stock TF Serving answers from. Each name is loaded when first used."""

import importlib

_NAMES = {
    "Client": "kgen.serving.client",
    "Session": "kgen.serving.capi",
    "export": "kgen.serving.exporting",
    "export_portable": "kgen.serving.portable",
    "verify": "kgen.serving.verifying",
}

__all__ = ["Client", "Session", "export", "export_portable", "verify"]


def __getattr__(name):
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    raise AttributeError(f"module 'kgen.serving' has no attribute {name!r}. It has: {', '.join(__all__)}.")


def __dir__():
    return sorted(__all__)
