"""What this family enters in a comparison of families (``kgen compare``)."""

import keras

from kgen.energy import RBM, EnergyModel, GaussianVisible, MALASampler

ORDER = 5


def entry(data):
    """A model for ``data`` and its optimizer: the family's defaults, a little smaller, with a constant learning rate.

    Args:
        data: ``kgen.tools.comparing.Data``: ``shape``, ``x``, ``is_images``, ``num_classes``, ``levels``.
    """
    if data.is_images:
        model = RBM(data.shape, hidden=128, visible=GaussianVisible(0.3), gibbs_steps=2, ema=0.99)
        model.adapt(data.x)
        return model, keras.optimizers.Adam(1e-3)
    sampler = MALASampler(0.2, 300)
    model = EnergyModel(data.shape, sampler=sampler, reference_scale=float(3 * data.x.std()), ema=0.99)
    return model, keras.optimizers.Adam(1e-3)
