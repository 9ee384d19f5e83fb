"""Anomalies: examples that a model of the normal ones finds unlikely, of high energy, or cannot reconstruct."""

import math

import numpy as np

from kgen.core import checks
from kgen.metrics import membership_auc

SCORES = ("likelihood", "energy", "reconstruction")


def scores(model, x, *, by=None, **options):
    """How unusual each example is to a model that was trained on normal ones.

    A likelihood is not always the best score: a model of pixels can find a plain image of another kind likelier than the busy ones it
    was trained on. Look at more than one.

    Args:
        model: a trained model.
        x: float array (N, ...), as the model takes it.
        by: "likelihood", -log p(x) in nats; "energy", E(x); "reconstruction", the mean squared error of ``model.reconstruct(x)``; None for
            the first of them that the model has.
        **options: passed to ``model.log_prob``, ``model.energy`` or ``model.reconstruct``.
    Returns:
        numpy float64 array (N,), higher for what is more unusual.
    Raises:
        ValueError: ``by`` is none of these, or nothing that this model has.
    Reference:
        Nalisnick et al., Do Deep Generative Models Know What They Don't Know?, 2019, arXiv 1810.09136.
    """
    possible = _possible(model)
    if by is not None:
        checks.one_of("by", by, SCORES)
    if not possible or by not in (None, *possible):
        raise ValueError(
            f"by: {type(model).__name__} has {' and '.join(possible) or 'no likelihood, no energy and no reconstruction'}, received {by!r}."
        )
    by = by or possible[0]
    if by == "likelihood":
        return -np.asarray(model.log_prob(x, **options), "float64")
    if by == "energy":
        return np.asarray(model.energy(x, **options), "float64")
    error = np.asarray(x, "float64") - model.reconstruct(x, **options)
    return np.mean(error.reshape(len(error), -1) ** 2, axis=1)


def auroc(normal, anomalous):
    """How well scores tell anomalies from normal examples: the probability that an anomaly has the higher one.

    Args:
        normal: float array (N,), scores of normal examples that the model was not trained on.
        anomalous: float array (M,), scores of anomalies.
    Returns:
        float in [0, 1], 0.5 for no difference.
    Raises:
        ValueError: an array is empty, not (N,), or holds NaN.
    """
    return membership_auc(anomalous, normal)[0]


class Detector:
    """Says which examples are anomalies: those with a score that few normal examples exceed.

    The threshold is the k-th smallest score of N normal examples, k = ceil((N + 1) (1 - a)): a new normal example, drawn as they were, is above it
    with a probability of at most a, whatever the scores' distribution.

    Args:
        model: a trained model.
        x: float array (N, ...), normal examples that it was not trained on; they set the threshold. N is at least 1 / a - 1.
        false_alarms: a, in (0, 1): the probability that a normal example is called an anomaly.
        by, **options: as in ``scores``.
    Raises:
        ValueError: ``false_alarms`` is not in (0, 1), or there are too few examples for it; as ``scores``.
    Reference:
        Vovk et al., Algorithmic Learning in a Random World, 2005; Lei et al., Distribution-free predictive inference, 2018, Eq. 2, arXiv 1604.04173.
    """

    def __init__(self, model, x, *, false_alarms=0.05, by=None, **options):
        self.model, self.options = model, {"by": by, **options}
        share = checks.in_range("false_alarms", false_alarms, 0.0, 1.0)
        if not 0.0 < share < 1.0:
            raise ValueError(f"false_alarms: expected a number between 0 and 1, both excluded, received {share:g}.")
        above = math.floor((len(x) + 1) * share + 1e-9)  # how many of N + 1 may lie above it
        if above < 1:
            raise ValueError(
                f"x: expected at least {math.ceil(1 / share - 1 - 1e-9)} normal examples for false_alarms={share:g}, received {len(x)}: "
                "the largest score of fewer is exceeded more often."
            )
        self.threshold = float(np.sort(scores(model, x, **self.options))[len(x) - above])

    def __call__(self, x):
        """Whether each example is an anomaly: bool array (N,)."""
        return scores(self.model, x, **self.options) > self.threshold


def _possible(model):
    found = []
    if model.likelihood in ("exact", "bound"):
        found.append("likelihood")
    if hasattr(model, "energy"):
        found.append("energy")
    if hasattr(model, "reconstruct"):
        found.append("reconstruction")
    return found
