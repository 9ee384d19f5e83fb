"""Fidelity of generated samples, and the frozen classifiers that it is measured with."""

from kgen.metrics.classifier import FrozenClassifier, classifiers, load_classifier
from kgen.metrics.distances import (
    classifier_two_sample_test,
    inception_score,
    kernel_distance,
    maximum_mean_discrepancy,
    mode_coverage,
    sliced_wasserstein_distance,
)
from kgen.metrics.fidelity import (
    density_coverage,
    frechet_distance,
    frechet_distance_from_moments,
    precision_recall,
)
from kgen.metrics.images import peak_signal_to_noise_ratio, structural_similarity
from kgen.metrics.memorization import membership_auc, memorization_report, nearest_neighbours
from kgen.metrics.report import fidelity_report
from kgen.metrics.streaming import FrechetDistance

__all__ = [
    "FrechetDistance",
    "FrozenClassifier",
    "classifier_two_sample_test",
    "classifiers",
    "density_coverage",
    "fidelity_report",
    "frechet_distance",
    "frechet_distance_from_moments",
    "inception_score",
    "kernel_distance",
    "load_classifier",
    "maximum_mean_discrepancy",
    "membership_auc",
    "memorization_report",
    "mode_coverage",
    "nearest_neighbours",
    "peak_signal_to_noise_ratio",
    "precision_recall",
    "sliced_wasserstein_distance",
    "structural_similarity",
]
