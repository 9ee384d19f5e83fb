"""Moments of rows that arrive in batches."""

import numpy as np

from kgen.metrics._validation import check_features


class RunningMoments:
    """Count, mean and scatter matrix of the rows seen so far, in float64.

    A batch is centred on its own mean and then merged, which is stable where a running sum of outer products is not.

    Reference:
        Chan, Golub & LeVeque, Algorithms for computing the sample variance, 1983, Eq. 2.1.
    """

    def __init__(self, name):
        self.name = name
        self.count = 0
        self.mean = None
        self.scatter = None

    @property
    def width(self):
        return None if self.mean is None else self.mean.size

    def update(self, features, width_of_other_side=None, argument="features"):
        features = check_features(features, argument, minimum=1)
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
