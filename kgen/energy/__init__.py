"""Energy-based models: restricted Boltzmann machines, models of any network, and the Markov chains that sample from them."""

from kgen.energy.energy_model import EnergyModel
from kgen.energy.objectives import (
    ContrastiveDivergence,
    DenoisingScoreMatching,
    Objective,
    SlicedScoreMatching,
)
from kgen.energy.partition import Partition
from kgen.energy.rbm import RBM
from kgen.energy.visibles import BernoulliVisible, GaussianVisible, Visible
from kgen.numerics.chains import HMCSampler, LangevinSampler, MALASampler, Sampler, leapfrog

__all__ = [
    "RBM",
    "BernoulliVisible",
    "ContrastiveDivergence",
    "DenoisingScoreMatching",
    "EnergyModel",
    "GaussianVisible",
    "HMCSampler",
    "LangevinSampler",
    "MALASampler",
    "Objective",
    "Partition",
    "Sampler",
    "SlicedScoreMatching",
    "Visible",
    "leapfrog",
]
