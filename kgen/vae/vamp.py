"""The VampPrior: a mixture of the posteriors of inputs that are learnt.

p(z) = 1/K sum_k q(z | u_k): an estimate of the aggregate posterior, which is the best of all priors, from K pseudo-inputs u_k.

Reference:
    Tomczak & Welling, VAE with a VampPrior, 2018, Eq. 9, arXiv 1705.07120.
"""

import keras
from keras import ops

from kgen import distributions
from kgen.core import checks, random
from kgen.vae.priors import Prior


@keras.saving.register_keras_serializable(package="kgen")
class VampPrior(Prior):
    """The mixture of the posteriors of pseudo-inputs, for a VAE without conditions: ``VAE((28, 28, 1), prior=VampPrior((28, 28, 1)))``.

    The pseudo-inputs start as small noise. To start from data: ``vae.prior.pseudo_inputs.assign(x[:50])``.

    Args:
        shape: shape of one pseudo-input, that of the data.
        components: number K of them.
    """

    def __init__(self, shape, components=50, **kwargs):
        super().__init__(**kwargs)
        self.shape = checks.shape("shape", shape)
        self.components = checks.positive_int("components", components)

    def build(self, latent_dim):
        start = keras.initializers.RandomNormal(stddev=0.1)
        shape = (self.components, *self.shape)
        self.pseudo_inputs = self.add_weight(shape=shape, initializer=start, name="pseudo_inputs", dtype="float32")
        super().build(latent_dim)

    def check(self, shape, conditions):
        if len(conditions):
            raise ValueError(
                "prior: a VampPrior's pseudo-inputs have no conditions, and the encoder of this VAE takes "
                f"{', '.join(conditions.specs())}; expected another prior, such as 'gaussian_mixture'."
            )
        if self.shape != tuple(shape):
            raise ValueError(
                f"prior: expected VampPrior({tuple(shape)}), of pseudo-inputs like the data, received one of {self.shape}."
            )

    def of(self, encoder, posterior):
        parameters = ops.cast(encoder(ops.convert_to_tensor(self.pseudo_inputs)), "float32")
        return _Posteriors(parameters, posterior, self.latent_dim)

    def get_config(self):
        return {**super().get_config(), "shape": list(self.shape), "components": self.components}


class _Posteriors:
    """The mixture of the posteriors of parameters (K, size), each as likely as the other."""

    def __init__(self, parameters, posterior, latent_dim):
        self.parameters, self.posterior, self.latent_dim = parameters, posterior, latent_dim

    def distribution(self):
        logits = ops.zeros_like(self.parameters[:, 0])
        each = self.posterior.distribution(self.parameters)
        return distributions.MixtureSameFamily(distributions.Categorical(logits=logits), each)

    def sample(self, seeds, draw=0):
        seeds = random.fold_in(seeds, draw)
        count = self.parameters.shape[0]
        chosen = ops.cast(ops.floor(random.uniform(seeds, (), 0) * count), "int32")
        noise = random.normal(seeds, (self.latent_dim,), 1)
        return self.posterior.sample(ops.take(self.parameters, chosen, axis=0), noise)
