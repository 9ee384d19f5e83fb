"""Presets: a model as a folder of data, to give away and to load from people whom one does not know."""

from kgen.core.presets.folder import NAMES, is_preset, read, write
from kgen.core.presets.remote import fetch, is_address

__all__ = ["NAMES", "fetch", "is_address", "is_preset", "read", "write"]
