"""Fidelity of generated samples, and the frozen classifiers that it is measured with."""

from kgen.metrics.classifier import FrozenClassifier, classifiers, load_classifier
from kgen.metrics.disentanglement import (
    attribute_predictability,
    disentanglement_completeness,
    disentanglement_report,
    mutual_information_gap,
)
from kgen.metrics.distances import (
    classifier_two_sample_test,
    inception_score,
    kernel_distance,
    maximum_mean_discrepancy,
    mode_coverage,
    sliced_wasserstein_distance,
)
from kgen.metrics.extractors import Inception, load_extractor
from kgen.metrics.fidelity import (
    density_coverage,
    frechet_distance,
    frechet_distance_from_moments,
    precision_recall,
)
from kgen.metrics.images import (
    peak_signal_to_noise_ratio,
    perceptual_distance,
    reconstruction_error,
    structural_similarity,
)
from kgen.metrics.memorization import membership_auc, memorization_report, nearest_neighbours, save_nearest_pairs
from kgen.metrics.report import fidelity_report, per_class
from kgen.metrics.streaming import (
    BitsPerDim,
    ClassifierTwoSampleTest,
    DensityCoverage,
    FrechetDistance,
    InceptionScore,
    KernelDistance,
    MaximumMeanDiscrepancy,
    Metric,
    ModeCoverage,
    PeakSignalToNoiseRatio,
    PrecisionRecall,
    ReconstructionError,
    SlicedWassersteinDistance,
    StructuralSimilarity,
)

__all__ = [
    "BitsPerDim",
    "ClassifierTwoSampleTest",
    "DensityCoverage",
    "FrechetDistance",
    "FrozenClassifier",
    "Inception",
    "InceptionScore",
    "KernelDistance",
    "MaximumMeanDiscrepancy",
    "Metric",
    "ModeCoverage",
    "PeakSignalToNoiseRatio",
    "PrecisionRecall",
    "ReconstructionError",
    "SlicedWassersteinDistance",
    "StructuralSimilarity",
    "attribute_predictability",
    "classifier_two_sample_test",
    "classifiers",
    "density_coverage",
    "disentanglement_completeness",
    "disentanglement_report",
    "fidelity_report",
    "frechet_distance",
    "frechet_distance_from_moments",
    "inception_score",
    "kernel_distance",
    "load_classifier",
    "load_extractor",
    "maximum_mean_discrepancy",
    "membership_auc",
    "memorization_report",
    "mode_coverage",
    "mutual_information_gap",
    "nearest_neighbours",
    "peak_signal_to_noise_ratio",
    "per_class",
    "perceptual_distance",
    "precision_recall",
    "reconstruction_error",
    "save_nearest_pairs",
    "sliced_wasserstein_distance",
    "structural_similarity",
]
