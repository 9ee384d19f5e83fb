"""Callbacks for ``fit``."""

from kgen.callbacks.checkpoint import Checkpoint
from kgen.callbacks.interrupt import GracefulStop
from kgen.callbacks.monitors import (
    DeadCodes,
    DiscriminatorBalance,
    LossFaults,
    ModeCollapse,
    Monitor,
    PosteriorCollapse,
)
from kgen.callbacks.samples import SampleGrid

__all__ = [
    "Checkpoint",
    "DeadCodes",
    "DiscriminatorBalance",
    "GracefulStop",
    "LossFaults",
    "ModeCollapse",
    "Monitor",
    "PosteriorCollapse",
    "SampleGrid",
]
