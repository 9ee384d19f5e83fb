"""Fidelity of generated samples, and the frozen classifiers that it is measured with."""

from kgen.metrics.classifier import FrozenClassifier, classifiers, load_classifier
from kgen.metrics.fidelity import (
    density_coverage,
    frechet_distance,
    frechet_distance_from_moments,
    precision_recall,
)
from kgen.metrics.report import fidelity_report
from kgen.metrics.streaming import FrechetDistance

__all__ = [
    "FrechetDistance",
    "FrozenClassifier",
    "classifiers",
    "density_coverage",
    "fidelity_report",
    "frechet_distance",
    "frechet_distance_from_moments",
    "load_classifier",
    "precision_recall",
]
