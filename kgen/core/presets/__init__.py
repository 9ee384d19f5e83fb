"""Presets: a model as a folder of data, to give away and to load from people whom one does not know."""

from kgen.core.presets.card import asked
from kgen.core.presets.folder import NAMES, is_preset, read
from kgen.core.presets.remote import fetch, is_address, repository
from kgen.core.presets.writing import describe, place, write

__all__ = ["NAMES", "asked", "describe", "fetch", "is_address", "is_preset", "place", "read", "repository", "write"]
