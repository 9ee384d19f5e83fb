"""Callbacks for ``fit``."""

from kgen.callbacks.checkpoint import Checkpoint
from kgen.callbacks.interrupt import GracefulStop
from kgen.callbacks.measure import Measure
from kgen.callbacks.monitors import (
    DeadCodes,
    DiscriminatorBalance,
    DivergingChains,
    ExposureBias,
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
    "DivergingChains",
    "ExposureBias",
    "GracefulStop",
    "LossFaults",
    "Measure",
    "ModeCollapse",
    "Monitor",
    "PosteriorCollapse",
    "SampleGrid",
]
