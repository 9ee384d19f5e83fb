"""Normalising flows, on TensorFlow and JAX."""

from kgen.flow.autoregression import MaskedAutoregressive
from kgen.flow.chain import Chain, Step
from kgen.flow.conditioners import MADE, convolutional_conditioner, dense_conditioner
from kgen.flow.couplings import Coupling, channel_halves, checkerboard
from kgen.flow.dequantization import Dequantization
from kgen.flow.flow import Flow
from kgen.flow.maf import MAF
from kgen.flow.multiscale import Split, Squeeze
from kgen.flow.realnvp import RealNVP
from kgen.flow.spline import NeuralSplineFlow
from kgen.flow.steps import ActNorm, BijectorStep, Permutation
from kgen.flow.transforms import AffineTransform, SplineTransform, Transform

__all__ = [
    "MADE",
    "MAF",
    "ActNorm",
    "AffineTransform",
    "BijectorStep",
    "Chain",
    "Coupling",
    "Dequantization",
    "Flow",
    "MaskedAutoregressive",
    "NeuralSplineFlow",
    "Permutation",
    "RealNVP",
    "SplineTransform",
    "Split",
    "Squeeze",
    "Step",
    "Transform",
    "channel_halves",
    "checkerboard",
    "convolutional_conditioner",
    "dense_conditioner",
]
