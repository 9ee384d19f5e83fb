"""The Wasserstein GAN with weights that are clipped.

The critic D estimates the Wasserstein-1 distance between data and samples, max over D of Lipschitz constant 1 of E_x[D(x)] - E_z[D(G(z))]. With
each weight in [-c, c] that constant is bounded, by what c and the layers say: the estimate is some multiple of the distance.

Reference:
    Arjovsky et al., Wasserstein GAN, 2017, Eq. 2 and 3, Algorithm 1, arXiv 1701.07875.
"""

import keras
from keras import ops

from kgen.core import checks
from kgen.gan import losses
from kgen.gan.gan import GAN
from kgen.gan.networks import Discriminator
from kgen.gan.top_k import TopK


def wasserstein(name, adversarial_loss):
    """The Wasserstein loss, or a ``TopK`` of it, for the class ``name``, whose critic is bounded for no other.

    Raises:
        ValueError: it is another loss.
    """
    found = losses.get(adversarial_loss)
    inner = found.loss if isinstance(found, TopK) else found
    if not isinstance(inner, losses.WassersteinLoss):
        raise ValueError(
            f'adversarial_loss: {name} is of the Wasserstein loss, expected "wasserstein" or kgen.gan.TopK("wasserstein"), received '
            f"{adversarial_loss!r}. GAN takes the others."
        )
    return found


@keras.saving.register_keras_serializable(package="kgen")
class ClippedWeights(keras.constraints.Constraint):
    """A constraint of weights: what an optimizer's step leaves beyond [-limit, limit] is set to the nearer end."""

    def __init__(self, limit):
        self.limit = checks.in_range("limit", limit, 1e-9, 1e6)

    def __call__(self, w):
        return ops.clip(w, -self.limit, self.limit)

    def get_config(self):
        return {"limit": self.limit}


@keras.saving.register_keras_serializable(package="kgen")
class WGAN(GAN):
    """A GAN whose critic has clipped weights; ``real_logit - fake_logit`` in the logs is a multiple of a Wasserstein distance.

    A batch is dealt out to the critic's steps: ``fit(x, batch_size=n_critic * 64)`` gives each the paper's 64 rows. ``compile()`` trains
    both players by the paper's ``RMSprop(5e-5)``. ``WGANGP`` bounds the slope where it matters, and mostly learns more.

    Args:
        shape, latent_dim, generator: as in ``GAN``.
        discriminator: the critic; all of its trainable weights are clipped after each of its steps, and as they start.
        clip: c, above 0.
        n_critic: critic steps for each step of the generator.
        adversarial_loss: "wasserstein", or a ``TopK`` of it.
        **kwargs: ``regularizers``, ``num_classes``, ``ema``, ``dtype`` ... as in ``GAN``.
    """

    def __init__(
        self,
        shape,
        latent_dim=64,
        *,
        generator=None,
        discriminator=None,
        clip=0.01,
        n_critic=5,
        adversarial_loss="wasserstein",
        name="wgan",
        **kwargs,
    ):
        if discriminator is None and kwargs.get("num_classes") is None:
            discriminator = Discriminator(shape, dtype=kwargs.get("dtype"))
        super().__init__(
            shape,
            latent_dim,
            generator=generator,
            discriminator=discriminator,
            adversarial_loss=wasserstein("WGAN", adversarial_loss),
            n_critic=n_critic,
            name=name,
            **kwargs,
        )
        constraint = ClippedWeights(clip)
        self.clip = constraint.limit
        for weight in self.discriminator.trainable_variables:
            weight.constraint = constraint  # optimizers apply it after each step
            weight.assign(constraint(weight))

    def default_optimizer(self):
        """The paper's: RMSprop(5e-5) for both players; with momentum its critic becomes unstable."""
        return keras.optimizers.RMSprop(5e-5)

    def get_config(self):
        return {**super().get_config(), "clip": self.clip}
