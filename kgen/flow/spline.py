"""The neural spline flow."""

import keras

from kgen.flow.stacks import StackedFlow, autoregressions_of, couplings_of
from kgen.flow.transforms import SplineTransform


@keras.saving.register_keras_serializable(package="kgen")
class NeuralSplineFlow(StackedFlow):
    """Rational-quadratic splines, in couplings or, more flexible and slower to sample from, in autoregressive steps.

    Args:
        shape: shape of one example.
        layers: number of couplings or autoregressive steps.
        bins: bins of each spline.
        bound: half the side of the square that the splines transform, in standard deviations.
        autoregressive: autoregressive steps, as in the paper's RQ-NSF (AR), instead of couplings, as in its RQ-NSF (C); without the
            linear layers that the paper puts between them.
        widths: hidden widths of each step's network.
        dropout: of the couplings' networks, in [0, 1).
        direct: whether an autoregressive step's network connects its inputs straight to its outputs too (see ``MADE``).
        **kwargs: ``num_classes``, ``dequantize``, ``logit``, ``ema`` ... as in ``Flow``.
    Reference:
        Durkan et al., Neural spline flows, 2019, arXiv 1906.04032.
    """

    left_out = {"direct": False}

    def __init__(
        self,
        shape,
        *,
        layers=4,
        bins=8,
        bound=4.0,
        autoregressive=False,
        widths=(128, 128),
        dropout=0.0,
        direct=True,
        name="neural_spline_flow",
        **kwargs,
    ):
        shape, widths, transform = tuple(shape), tuple(widths), SplineTransform(bins, bound)
        if autoregressive and dropout:
            raise ValueError("dropout: the autoregressive networks have none; pass dropout=0 or autoregressive=False.")
        if autoregressive:
            steps = autoregressions_of("layers", layers, transform, widths, direct)
        else:
            steps = couplings_of(shape, "layers", layers, transform, widths, dropout)
        arguments = {"layers": layers, "bins": bins, "bound": bound, "autoregressive": autoregressive}
        arguments |= {"widths": widths, "dropout": dropout, "direct": direct}
        super().__init__(shape, steps, arguments, name=name, **kwargs)
