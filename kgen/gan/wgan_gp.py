"""The Wasserstein GAN with gradient penalty.

The critic D estimates the Wasserstein-1 distance between data and samples, max over D of Lipschitz constant 1 of E_x[D(x)] - E_z[D(G(z))]; a
penalty on the slope of D between data and samples keeps it near that constant.

Reference:
    Gulrajani et al., Improved training of Wasserstein GANs, 2017, Eq. 3 and Algorithm 1, arXiv 1704.00028.
"""

import keras

from kgen.gan.gan import GAN
from kgen.gan.networks import Discriminator
from kgen.gan.regularizers import GradientPenalty, get
from kgen.gan.wgan import wasserstein


@keras.saving.register_keras_serializable(package="kgen")
class WGANGP(GAN):
    """A GAN whose critic estimates a Wasserstein distance, ``real_logit - fake_logit`` in the logs.

    A batch is dealt out to the critic's steps: ``fit(x, batch_size=n_critic * 64)`` gives each the paper's 64 rows. ``compile()`` trains
    both players by the paper's ``Adam(1e-4, beta_1=0, beta_2=0.9)``.

    Args:
        shape, latent_dim, generator: as in ``GAN``.
        discriminator: the critic; it must not mix the rows of a batch, as BatchNorm does: the penalty is one of each example. LayerNorm may
            stand in its place.
        gradient_penalty: weight of the penalty, lambda in the paper.
        n_critic: critic steps for each step of the generator.
        adversarial_loss: "wasserstein", or a ``TopK`` of it.
        regularizers: what is added to the critic's loss beside the penalty, as in ``GAN``.
        **kwargs: ``num_classes``, ``ema``, ``dtype`` ... as in ``GAN``.
    """

    def __init__(
        self,
        shape,
        latent_dim=64,
        *,
        generator=None,
        discriminator=None,
        gradient_penalty=10.0,
        n_critic=5,
        adversarial_loss="wasserstein",
        regularizers=(),
        name="wgan_gp",
        **kwargs,
    ):
        if discriminator is None and kwargs.get("num_classes") is None:
            discriminator = Discriminator(shape, dtype=kwargs.get("dtype"))
        super().__init__(
            shape,
            latent_dim,
            generator=generator,
            discriminator=discriminator,
            adversarial_loss=wasserstein("WGANGP", adversarial_loss),
            regularizers=(GradientPenalty(gradient_penalty), *get(regularizers)),
            n_critic=n_critic,
            name=name,
            **kwargs,
        )
        self.gradient_penalty = self.regularizers[0].weight

    def default_optimizer(self):
        """The paper's: Adam(1e-4, beta_1=0, beta_2=0.9) for both players."""
        return keras.optimizers.Adam(1e-4, beta_1=0.0, beta_2=0.9)

    def get_config(self):
        config = super().get_config()
        own = {"regularizers": config["regularizers"][1:], "gradient_penalty": self.gradient_penalty}
        return {**config, **own}
