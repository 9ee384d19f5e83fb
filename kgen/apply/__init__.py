"""What generative models are used for beside samples: finding anomalies, more training data for a classifier, editing in a latent space."""

from kgen.apply import anomaly, augment, latent

__all__ = ["anomaly", "augment", "latent"]
