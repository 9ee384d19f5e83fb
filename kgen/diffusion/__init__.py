"""Diffusion models: t = 0 is clean data, t = 1 is noise."""

from kgen.diffusion.adams import DEISSampler, LMSSampler
from kgen.diffusion.auto_guidance import AutoGuidance
from kgen.diffusion.captions import CaptionedDiffusion
from kgen.diffusion.cascade import Cascade
from kgen.diffusion.churn import EDMSampler
from kgen.diffusion.classifier_guidance import ClassifierGuidance
from kgen.diffusion.composed_guidance import ComposedGuidance
from kgen.diffusion.consistency import (
    ConsistencyModel,
    ConsistencyPrediction,
    ConsistencySampler,
    GrowingLevels,
    ShrinkingGaps,
)
from kgen.diffusion.coupling import assignment, minibatch_coupling
from kgen.diffusion.ddpm import DDPM
from kgen.diffusion.denoiser import Denoiser
from kgen.diffusion.distillation import ConsistencyDistillation, ProgressiveDistillation
from kgen.diffusion.dpm_solver import DPMSolverMultistepSampler, DPMSolverSinglestepSampler
from kgen.diffusion.dynamic_thresholding import DynamicThresholding
from kgen.diffusion.edm import EDM, EDMPrediction
from kgen.diffusion.euler import EulerAncestralSampler, EulerSampler
from kgen.diffusion.flow_matching import FlowMatching
from kgen.diffusion.grids import KarrasGrid, LeadingGrid, LogSNRGrid, TimeGrid, TrailingGrid, UniformGrid
from kgen.diffusion.guidance import ClassifierFreeGuidance, FurtherGuidance, Guidance, GuidedDenoiser
from kgen.diffusion.heun import HeunSampler
from kgen.diffusion.inpainting import InpaintingModel, KnownRegion
from kgen.diffusion.interval_guidance import IntervalGuidance
from kgen.diffusion.inversion import interpolate, invert
from kgen.diffusion.laws import (
    LogitNormalTimes,
    LogNormalTimes,
    SNRWeight,
    StepTimes,
    Times,
    TruncatedSNRWeight,
    UniformTimes,
    Weight,
)
from kgen.diffusion.learned_variance import LearnedVariance
from kgen.diffusion.likelihood import ODELikelihood
from kgen.diffusion.log_variance import LogVariance
from kgen.diffusion.noisy_classifier import NoisyClassifier
from kgen.diffusion.operators import AveragePooling, GaussianBlur, Grey, Masking, Operator
from kgen.diffusion.pndm import PNDMSampler
from kgen.diffusion.posterior import PosteriorGuidance, posterior_sample
from kgen.diffusion.posterior_restoration import PosteriorRestoration
from kgen.diffusion.predictions import (
    DataPrediction,
    Estimate,
    FlowPrediction,
    NoisePrediction,
    Prediction,
    ScorePrediction,
    VelocityPrediction,
)
from kgen.diffusion.predictor_corrector import PredictorCorrectorSampler
from kgen.diffusion.processes import EDMSchedule, RectifiedFlowSchedule, SubVPSchedule, VESchedule
from kgen.diffusion.reflow import Reflow, reflow_pairs
from kgen.diffusion.repaint import RePaintSampler, inpaint
from kgen.diffusion.rescaled_guidance import RescaledGuidance
from kgen.diffusion.restoration import DegradedPicture, Restoration
from kgen.diffusion.samplers import AncestralSampler, DDIMSampler, Sampler
from kgen.diffusion.schedules import Schedule
from kgen.diffusion.score_sde import ReverseSDESampler, ScoreSDE
from kgen.diffusion.super_resolution import AugmentationLevel, SmallerPicture, SuperResolution
from kgen.diffusion.teachers import trained_network
from kgen.diffusion.translation import translate
from kgen.diffusion.unipc import UniPCSampler
from kgen.diffusion.variance_preserving import (
    BetaSchedule,
    CappedCosineSchedule,
    CosineSchedule,
    LinearSchedule,
    ScaledLinearSchedule,
    SigmoidSchedule,
    VPSchedule,
    ZeroTerminalSNR,
)

__all__ = [
    "DDPM",
    "EDM",
    "AncestralSampler",
    "AugmentationLevel",
    "AutoGuidance",
    "AveragePooling",
    "BetaSchedule",
    "CappedCosineSchedule",
    "CaptionedDiffusion",
    "Cascade",
    "ClassifierFreeGuidance",
    "ClassifierGuidance",
    "ComposedGuidance",
    "ConsistencyDistillation",
    "ConsistencyModel",
    "ConsistencyPrediction",
    "ConsistencySampler",
    "CosineSchedule",
    "DDIMSampler",
    "DEISSampler",
    "DPMSolverMultistepSampler",
    "DPMSolverSinglestepSampler",
    "DataPrediction",
    "DegradedPicture",
    "Denoiser",
    "DynamicThresholding",
    "EDMPrediction",
    "EDMSampler",
    "EDMSchedule",
    "Estimate",
    "EulerAncestralSampler",
    "EulerSampler",
    "FlowMatching",
    "FlowPrediction",
    "FurtherGuidance",
    "GaussianBlur",
    "Grey",
    "GrowingLevels",
    "Guidance",
    "GuidedDenoiser",
    "HeunSampler",
    "InpaintingModel",
    "IntervalGuidance",
    "KarrasGrid",
    "KnownRegion",
    "LMSSampler",
    "LeadingGrid",
    "LearnedVariance",
    "LinearSchedule",
    "LogNormalTimes",
    "LogSNRGrid",
    "LogVariance",
    "LogitNormalTimes",
    "Masking",
    "NoisePrediction",
    "NoisyClassifier",
    "ODELikelihood",
    "Operator",
    "PNDMSampler",
    "PosteriorGuidance",
    "PosteriorRestoration",
    "Prediction",
    "PredictorCorrectorSampler",
    "ProgressiveDistillation",
    "RePaintSampler",
    "RectifiedFlowSchedule",
    "Reflow",
    "RescaledGuidance",
    "Restoration",
    "ReverseSDESampler",
    "SNRWeight",
    "Sampler",
    "ScaledLinearSchedule",
    "Schedule",
    "ScorePrediction",
    "ScoreSDE",
    "ShrinkingGaps",
    "SigmoidSchedule",
    "SmallerPicture",
    "StepTimes",
    "SubVPSchedule",
    "SuperResolution",
    "TimeGrid",
    "Times",
    "TrailingGrid",
    "TruncatedSNRWeight",
    "UniPCSampler",
    "UniformGrid",
    "UniformTimes",
    "VESchedule",
    "VPSchedule",
    "VelocityPrediction",
    "Weight",
    "ZeroTerminalSNR",
    "assignment",
    "inpaint",
    "interpolate",
    "invert",
    "minibatch_coupling",
    "posterior_sample",
    "reflow_pairs",
    "trained_network",
    "translate",
]
