"""Approximate posteriors q(z | x): what an encoder's output says about the latent vector."""

import keras
from keras import ops

from kgen import distributions
from kgen.core.config import Configured, resolve


class Posterior(Configured):
    """Base class: a family of distributions of z, reparameterised as z = f(parameters, noise)."""

    def size(self, latent_dim):
        """How many numbers the encoder returns."""
        raise NotImplementedError

    def distribution(self, parameters):
        """The distribution of z, with ``log_prob``, from float32 parameters (B, size)."""
        raise NotImplementedError

    def sample(self, parameters, noise):
        """z (B, d) from parameters (B, size) and standard normal noise (B, d)."""
        raise NotImplementedError

    def mean(self, parameters):
        """E[z | x], (B, d)."""
        raise NotImplementedError


def _scale(raw):
    """A positive scale, 1 where the output is 0: softplus grows slowly enough that a bad step does not overflow."""
    return ops.softplus(raw + 0.5413248546129181) + 1e-6  # softplus(ln(e - 1)) = 1


@keras.saving.register_keras_serializable(package="kgen")
class DiagonalGaussianPosterior(Posterior):
    """Independent normals: 2 d numbers. Reference: Kingma & Welling 2014, Eq. 9, arXiv 1312.6114."""

    def size(self, latent_dim):
        return 2 * latent_dim

    def _parts(self, parameters):
        loc, raw = ops.split(parameters, 2, axis=-1)
        return loc, _scale(raw)

    def distribution(self, parameters):
        return distributions.MultivariateNormalDiag(*self._parts(parameters))

    def sample(self, parameters, noise):
        loc, scale = self._parts(parameters)
        return loc + scale * noise

    def mean(self, parameters):
        return self._parts(parameters)[0]


@keras.saving.register_keras_serializable(package="kgen")
class FullGaussianPosterior(Posterior):
    """A normal with any covariance L L^T, L lower triangular: d + d (d + 1)/2 numbers."""

    def size(self, latent_dim):
        return latent_dim + latent_dim * (latent_dim + 1) // 2

    def _parts(self, parameters):
        count = parameters.shape[-1]
        dim = next(d for d in range(1, count) if self.size(d) == count)
        loc, packed = parameters[:, :dim], parameters[:, dim:]
        # Row i of L takes the next i + 1 numbers.
        index = [[i * (i + 1) // 2 + min(j, i) for j in range(dim)] for i in range(dim)]
        square = ops.reshape(ops.take(packed, ops.convert_to_tensor(index, dtype="int32"), axis=-1), (-1, dim, dim))
        diagonal = ops.eye(dim, dtype="float32")
        below = ops.tril(ops.ones((dim, dim), dtype="float32"), -1)
        return loc, square * below + _scale(square) * diagonal

    def distribution(self, parameters):
        return distributions.MultivariateNormalTriL(*self._parts(parameters))

    def sample(self, parameters, noise):
        loc, scale = self._parts(parameters)
        return loc + ops.squeeze(ops.matmul(scale, noise[..., None]), -1)

    def mean(self, parameters):
        return self._parts(parameters)[0]


@keras.saving.register_keras_serializable(package="kgen")
class PointPosterior(Posterior):
    """All probability on one point, which the encoder returns: d numbers. It has no density, and no KL divergence."""

    def size(self, latent_dim):
        return latent_dim

    def sample(self, parameters, noise):
        return parameters

    def mean(self, parameters):
        return parameters


def get(posterior):
    """A ``Posterior`` from itself, "diagonal" or "full", or its configuration."""
    return resolve(
        "posterior", posterior, Posterior, {"diagonal": DiagonalGaussianPosterior, "full": FullGaussianPosterior}
    )
