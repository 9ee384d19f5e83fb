"""Priors p(z)."""

import keras
from keras import ops

from kgen import distributions
from kgen.core import checks, random
from kgen.core.config import resolve


class Prior(keras.layers.Layer):
    """Base class. A layer, so that it can hold weights; built with the length of z."""

    def build(self, latent_dim):
        self.latent_dim = latent_dim
        self.built = True

    def check(self, shape, conditions):
        """Raises ValueError unless it may be the prior of a VAE of examples of this shape, under these conditions."""

    def of(self, encoder, posterior):
        """The prior where a model has this encoder and ``Posterior``; itself, unless it is made of them."""
        return self

    def distribution(self):
        """The distribution of one z (d,), with ``log_prob``."""
        raise NotImplementedError

    def sample(self, seeds, draw=0):
        """Draws z: float32 tensor (B, d), with row seeds (B, 2)."""
        raise NotImplementedError


@keras.saving.register_keras_serializable(package="kgen")
class StandardNormalPrior(Prior):
    """N(0, I)."""

    def distribution(self):
        zeros = ops.zeros((self.latent_dim,), dtype="float32")
        return distributions.MultivariateNormalDiag(zeros, ops.ones_like(zeros))

    def sample(self, seeds, draw=0):
        return random.normal(seeds, (self.latent_dim,), draw)


@keras.saving.register_keras_serializable(package="kgen")
class GaussianMixturePrior(Prior):
    """A mixture of normals with trained weights, means and scales. The divergence to it is estimated from the sampled z.

    Args:
        components: number of normals.
    Reference:
        Dilokthanakul et al., Deep unsupervised clustering with Gaussian mixture VAEs, 2016, arXiv 1611.02648 (the prior alone).
    """

    def __init__(self, components=10, **kwargs):
        super().__init__(**kwargs)
        self.components = checks.positive_int("components", components)

    def build(self, latent_dim):
        shape = (self.components, latent_dim)
        # Drawn from N(0, I): normals that start on top of each other stay there for long.
        apart = keras.initializers.RandomNormal(stddev=1.0)
        self.logits = self.add_weight(shape=(self.components,), initializer="zeros", name="logits", dtype="float32")
        self.loc = self.add_weight(shape=shape, initializer=apart, name="loc", dtype="float32")
        self.raw_scale = self.add_weight(shape=shape, initializer="zeros", name="raw_scale", dtype="float32")
        super().build(latent_dim)

    def _scale(self):
        return ops.exp(ops.convert_to_tensor(self.raw_scale))

    def distribution(self):
        return distributions.MixtureSameFamily(
            distributions.Categorical(logits=ops.convert_to_tensor(self.logits)),
            distributions.MultivariateNormalDiag(ops.convert_to_tensor(self.loc), self._scale()),
        )

    def sample(self, seeds, draw=0):
        seeds = random.fold_in(seeds, draw)
        logits = ops.broadcast_to(ops.convert_to_tensor(self.logits), (ops.shape(seeds)[0], self.components))
        chosen = random.categorical(seeds, logits, 0)
        noise = random.normal(seeds, (self.latent_dim,), 1)
        return (
            ops.take(ops.convert_to_tensor(self.loc), chosen, axis=0) + ops.take(self._scale(), chosen, axis=0) * noise
        )

    def get_config(self):
        return {**super().get_config(), "components": self.components}


def get(prior):
    """A ``Prior`` from itself, "standard_normal" or "gaussian_mixture", or its configuration."""
    return resolve(
        "prior", prior, Prior, {"standard_normal": StandardNormalPrior, "gaussian_mixture": GaussianMixturePrior}
    )
