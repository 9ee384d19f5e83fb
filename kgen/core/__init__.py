"""What every family stands on: the model protocol, row seeds, moving averages, saving, endpoints and checks."""

from kgen.core import checks, random
from kgen.core.endpoints import Endpoint, TensorSpec
from kgen.core.inputs import Batch
from kgen.core.loading import from_preset, load
from kgen.core.model import GenerativeModel
from kgen.core.optimizers import OptimizerGroup
from kgen.core.run import Run
from kgen.core.units import bits_per_dim

__all__ = [
    "Batch",
    "Endpoint",
    "GenerativeModel",
    "OptimizerGroup",
    "Run",
    "TensorSpec",
    "bits_per_dim",
    "checks",
    "from_preset",
    "load",
    "random",
]
