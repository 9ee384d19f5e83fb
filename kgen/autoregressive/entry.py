"""What this family enters in a comparison of families (``kgen compare``)."""

import keras

from kgen.autoregressive.pixelcnn import PixelCNN

ORDER = 4
IMAGES_ALONE = True


def entry(data):
    """A model for ``data`` and its optimizer: the family's defaults, a little smaller, with a constant learning rate.

    Args:
        data: ``kgen.tools.comparing.Data``: ``shape``, ``x``, ``is_images``, ``num_classes``, ``levels``.
    """
    options = {"channels": 32, "blocks": 2, "components": 5, "dropout": 0.3, "ema": 0.99}
    model = PixelCNN(data.shape, levels=data.levels, num_classes=data.num_classes, **options)
    return model, keras.optimizers.Adam(2e-3, clipnorm=1.0)
