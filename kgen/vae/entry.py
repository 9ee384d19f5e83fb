"""What this family enters in a comparison of families (``kgen compare``)."""

import keras

from kgen.networks import MLP
from kgen.vae.vae import VAE

ORDER = 1


def entry(data):
    """A model for ``data`` and its optimizer: the family's defaults, a little smaller, with a constant learning rate.

    Args:
        data: ``kgen.tools.comparing.Data``: ``shape``, ``x``, ``is_images``, ``num_classes``, ``levels``.
    """
    if data.is_images:
        return VAE(data.shape, latent_dim=16, ema=0.99), keras.optimizers.Adam(1e-3)
    encoder, decoder = MLP(data.shape, (4,)), MLP((2,), data.shape)
    return VAE(data.shape, latent_dim=2, encoder=encoder, decoder=decoder, ema=0.99), keras.optimizers.Adam(1e-3)
