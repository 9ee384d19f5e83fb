"""Callbacks for ``fit``."""

from kgen.callbacks.interrupt import GracefulStop
from kgen.callbacks.samples import SampleGrid

__all__ = ["GracefulStop", "SampleGrid"]
