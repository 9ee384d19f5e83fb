"""What this family enters in a comparison of families (``kgen compare``)."""

import keras

from kgen.flow import NeuralSplineFlow, RealNVP

ORDER = 3
BACKENDS = ("tensorflow", "jax")


def entry(data):
    """A model for ``data`` and its optimizer: the family's defaults, a little smaller, with a constant learning rate.

    Args:
        data: ``kgen.tools.comparing.Data``: ``shape``, ``x``, ``is_images``, ``num_classes``, ``levels``.
    """
    if data.is_images:
        model = RealNVP(data.shape, dequantize=data.levels, num_classes=data.num_classes, dropout=0.2, ema=0.99)
        return model, keras.optimizers.Adam(1e-3, clipnorm=50.0)
    return NeuralSplineFlow(data.shape, layers=2, bins=16, autoregressive=True, ema=0.99), keras.optimizers.Adam(2e-3)
