"""What this family enters in a comparison of families (``kgen compare``)."""

import keras

from kgen.diffusion.ddpm import DDPM
from kgen.networks import ResidualMLP

ORDER = 0


def entry(data):
    """A model for ``data`` and its optimizer: the family's defaults, a little smaller, with a constant learning rate.

    Args:
        data: ``kgen.tools.comparing.Data``: ``shape``, ``x``, ``is_images``, ``num_classes``, ``levels``.
    """
    network = None if data.is_images else ResidualMLP(data.shape[0], 128)
    classes = data.num_classes if data.is_images else None
    return DDPM(data.shape, network=network, num_classes=classes, ema=0.99), keras.optimizers.Adam(1e-3, clipnorm=1.0)
