"""Real NVP: couplings by alternating masks."""

import keras

from kgen.flow.stacks import StackedFlow, couplings_of
from kgen.flow.transforms import AffineTransform


@keras.saving.register_keras_serializable(package="kgen")
class RealNVP(StackedFlow):
    """Affine couplings by alternating checkerboard masks, with activation normalisation.

    Sampling and likelihood both take one pass.

    Args:
        shape: shape of one example.
        couplings: their number.
        widths: hidden widths of each coupling's network.
        dropout: share of hidden units that are dropped in training, in [0, 1).
        **kwargs: ``num_classes``, ``dequantize``, ``logit``, ``ema`` ... as in ``Flow``.
    Reference:
        Dinh et al., Density estimation using Real NVP, 2017, arXiv 1605.08803.
    """

    def __init__(self, shape, *, couplings=8, widths=(128, 128), dropout=0.0, name="real_nvp", **kwargs):
        shape, widths = tuple(shape), tuple(widths)
        steps = couplings_of(shape, "couplings", couplings, AffineTransform(), widths, dropout)
        arguments = {"couplings": couplings, "widths": list(widths), "dropout": dropout}
        super().__init__(shape, steps, arguments, name=name, **kwargs)
