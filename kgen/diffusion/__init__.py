"""Diffusion models: t = 0 is clean data, t = 1 is noise."""

from kgen.diffusion.ddpm import DDPM
from kgen.diffusion.denoiser import Denoiser
from kgen.diffusion.predictions import DataPrediction, NoisePrediction, Prediction, VelocityPrediction
from kgen.diffusion.samplers import AncestralSampler, DDIMSampler, Sampler
from kgen.diffusion.schedules import CosineSchedule, LinearSchedule, Schedule, SigmoidSchedule

__all__ = [
    "DDPM",
    "AncestralSampler",
    "CosineSchedule",
    "DDIMSampler",
    "DataPrediction",
    "Denoiser",
    "LinearSchedule",
    "NoisePrediction",
    "Prediction",
    "Sampler",
    "Schedule",
    "SigmoidSchedule",
    "VelocityPrediction",
]
