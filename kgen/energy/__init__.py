"""Energy-based models: restricted Boltzmann machines, models of any network, and the Markov chains that sample from them."""

from kgen.energy.criteria import ContrastiveDivergence, Criterion, DenoisingScoreMatching, SlicedScoreMatching
from kgen.energy.energy_model import EnergyModel
from kgen.energy.partition import Partition
from kgen.energy.rbm import RBM
from kgen.energy.visibles import BernoulliVisible, GaussianVisible, Visible
from kgen.numerics.chains import HMCSampler, LangevinSampler, MALASampler, Sampler, leapfrog

__all__ = [
    "RBM",
    "BernoulliVisible",
    "ContrastiveDivergence",
    "Criterion",
    "DenoisingScoreMatching",
    "EnergyModel",
    "GaussianVisible",
    "HMCSampler",
    "LangevinSampler",
    "MALASampler",
    "Partition",
    "Sampler",
    "SlicedScoreMatching",
    "Visible",
    "leapfrog",
]
