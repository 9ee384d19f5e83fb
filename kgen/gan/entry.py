"""What this family enters in a comparison of families (``kgen compare``)."""

import keras

from kgen.gan.dcgan import DCGAN
from kgen.gan.gan import GAN
from kgen.gan.regularizers import R1, R2

ORDER = 2


def entry(data):
    """A model for ``data`` and its optimizer: the family's defaults, a little smaller, with a constant learning rate.

    Args:
        data: ``kgen.tools.comparing.Data``: ``shape``, ``x``, ``is_images``, ``num_classes``, ``levels``.
    """
    if data.is_images:
        model = DCGAN(data.shape, latent_dim=50, widths=(32, 64), ema=0.99)
    else:
        model = GAN(data.shape, 8, adversarial_loss="relativistic", regularizers=[R1(1.0), R2(1.0)], ema=0.99)
    return model, {player: keras.optimizers.Adam(5e-4, beta_1=0.5) for player in model.players}
