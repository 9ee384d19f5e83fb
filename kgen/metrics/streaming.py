"""Fréchet distance of features that arrive in batches."""

import numpy as np

from kgen.metrics._validation import check_features
from kgen.metrics.fidelity import frechet_distance_from_moments


class FrechetDistance:
    """Fréchet distance that keeps moments instead of features.

    Each side is held as a count, a mean (D,) and a scatter matrix (D, D) in float64, so memory does not grow with the
    number of samples. A batch is centred on its own mean and then merged, which is stable where a running sum of outer
    products is not (features with a mean far from zero). The result equals `frechet_distance` on all features at once,
    however they were split.

        distance = FrechetDistance()
        distance.update_real(features_of_test_images)
        for batch in batches:
            distance.update_generated(classifier.features(batch))
        distance.result()

    Reference:
        Chan, Golub & LeVeque, Algorithms for computing the sample variance, 1983, Eq. 2.1; Heusel et al., 2017, Eq. 6,
        arXiv 1706.08500.
    """

    def __init__(self):
        self.reset_state()

    def reset_state(self):
        """Forgets everything."""
        self._real = _RunningMoments("real")
        self._generated = _RunningMoments("generated")

    def reset_generated(self):
        """Forgets the generated samples and keeps the real ones, for the next epoch of the same model."""
        self._generated = _RunningMoments("generated")

    def update_real(self, features):
        """Adds features of real data, float array (n, D), n >= 1.

        Raises:
            TypeError: `features` are not real numbers.
            ValueError: `features` are not (samples, features), are not finite, or D is not that of earlier features.
        """
        self._real.update(features, self._generated.width)

    def update_generated(self, features):
        """Adds features of generated data, float array (n, D), n >= 1. Raises as `update_real` does."""
        self._generated.update(features, self._real.width)

    @property
    def real_samples(self):
        """How many real samples have been added."""
        return self._real.count

    @property
    def generated_samples(self):
        """How many generated samples have been added."""
        return self._generated.count

    def result(self):
        """The distance between all features added so far, a float >= 0.

        Raises:
            ValueError: fewer than 2 samples have been added on either side.
        """
        for side in (self._real, self._generated):
            if side.count < 2:
                raise ValueError(
                    f"`FrechetDistance` needs at least 2 {side.name} samples for a covariance, received {side.count}: "
                    f"call `update_{side.name}(features)` first."
                )
        return frechet_distance_from_moments(
            self._real.mean, self._real.covariance(), self._generated.mean, self._generated.covariance()
        )


class _RunningMoments:
    """Count, mean and scatter matrix of the rows seen so far."""

    def __init__(self, name):
        self.name = name
        self.count = 0
        self.mean = None
        self.scatter = None

    @property
    def width(self):
        return None if self.mean is None else self.mean.size

    def update(self, features, width_of_other_side):
        features = check_features(features, "features", minimum=1)
        width = self.width or width_of_other_side
        if width is not None and features.shape[1] != width:
            raise ValueError(
                f"`features` must have the {width} columns of the features added before, "
                f"received {features.shape[1]}: use one feature extractor throughout."
            )
        count = len(features)
        mean = features.mean(axis=0)
        centred = features - mean
        scatter = centred.T @ centred
        if self.count == 0:
            self.count, self.mean, self.scatter = count, mean, scatter
            return
        total = self.count + count
        shift = mean - self.mean
        self.scatter += scatter + np.outer(shift, shift) * (self.count * count / total)
        self.mean = self.mean + shift * (count / total)
        self.count = total

    def covariance(self):
        return self.scatter / (self.count - 1)
