"""The masked autoregressive flow."""

import keras

from kgen.flow.stacks import StackedFlow, autoregressions_of
from kgen.flow.transforms import AffineTransform


@keras.saving.register_keras_serializable(package="kgen")
class MAF(StackedFlow):
    """The masked autoregressive flow: affine autoregressive steps in alternating orders.

    Likelihood takes one pass, sampling as many as there are values in a row.

    Args:
        shape: shape of one example.
        layers: number of autoregressive steps.
        widths: hidden widths of each step's network.
        direct: whether each step's network connects its inputs straight to its outputs too (see ``MADE``).
        **kwargs: ``num_classes``, ``dequantize``, ``logit``, ``ema`` ... as in ``Flow``.
    Reference:
        Papamakarios et al., Masked autoregressive flow for density estimation, 2017, arXiv 1705.07057.
    """

    left_out = {"direct": False}

    def __init__(self, shape, *, layers=5, widths=(128, 128), direct=True, name="maf", **kwargs):
        widths = tuple(widths)
        steps = autoregressions_of("layers", layers, AffineTransform(), widths, direct)
        arguments = {"layers": layers, "widths": widths, "direct": direct}
        super().__init__(shape, steps, arguments, name=name, **kwargs)
