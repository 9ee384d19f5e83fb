"""The denoising autoencoder: it is shown x with noise, and returns x.

Reference:
    Vincent et al., Extracting and composing robust features with denoising autoencoders, 2008; Alain & Bengio, What regularized
    auto-encoders learn from the data-generating distribution, 2014, arXiv 1211.4246: for small noise its error, divided by the noise's
    variance, is the score.
"""

import keras

from kgen.core import checks, random
from kgen.vae.deterministic import Autoencoder


@keras.saving.register_keras_serializable(package="kgen")
class DenoisingAutoencoder(Autoencoder):
    """An autoencoder whose encoder sees x + noise N(0, I) in training, and x afterwards.

    Args:
        noise: standard deviation of what is added.
        **kwargs: as in ``Autoencoder``.
    """

    def __init__(self, shape, latent_dim=16, *, noise=0.3, name="denoising_autoencoder", **kwargs):
        super().__init__(shape, latent_dim, name=name, **kwargs)
        self.noise = checks.in_range("noise", noise, 0.0, 1e6)

    def corrupted(self, x, seeds):
        return x + self.noise * random.normal(seeds, self.shape, draw=1)

    def get_config(self):
        return {**super().get_config(), "noise": self.noise}
