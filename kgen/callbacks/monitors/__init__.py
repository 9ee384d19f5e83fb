"""Monitors: callbacks that name a fault while it happens, say since when, and what to try. They know no family: they ask the model."""

from kgen.callbacks.monitors.adversarial import DiscriminatorBalance, ModeCollapse
from kgen.callbacks.monitors.chains import DivergingChains
from kgen.callbacks.monitors.latents import DeadCodes, PosteriorCollapse
from kgen.callbacks.monitors.losses import LossFaults, median_and_spread
from kgen.callbacks.monitors.monitor import Monitor
from kgen.callbacks.monitors.sequences import ExposureBias

__all__ = [
    "DeadCodes",
    "DiscriminatorBalance",
    "DivergingChains",
    "ExposureBias",
    "LossFaults",
    "ModeCollapse",
    "Monitor",
    "PosteriorCollapse",
    "median_and_spread",
]
