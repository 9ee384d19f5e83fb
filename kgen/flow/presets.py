"""Flows under the names of their papers: a ``Flow`` whose steps follow from a few numbers."""

import keras
import numpy as np

from kgen.core import checks
from kgen.flow.autoregression import MaskedAutoregressive
from kgen.flow.couplings import Coupling, checkerboard
from kgen.flow.flow import Flow
from kgen.flow.steps import ActNorm, Permutation
from kgen.flow.transforms import AffineTransform, SplineTransform


class _Preset(Flow):
    """Keeps the arguments that its steps follow from, in place of the steps."""

    def __init__(self, shape, steps, arguments, **kwargs):
        super().__init__(shape, steps, **kwargs)
        self._arguments = arguments

    def get_config(self):
        config = super().get_config()
        del config["steps"]
        return {**config, **self._arguments}


def _couplings(shape, number, transform, widths, dropout):
    """Couplings by alternating checkerboards, each after an activation normalisation."""
    if np.prod(shape) < 2:
        raise ValueError(
            f"shape: a coupling transforms some values given others and needs at least 2, received {shape}."
        )
    steps = []
    for i in range(checks.positive_int("couplings", number)):
        steps.append(ActNorm())
        steps.append(Coupling(transform, mask=checkerboard(shape, i % 2), widths=widths, dropout=dropout))
    return steps


def _autoregressions(number, transform, widths):
    """Autoregressive steps in alternating orders, each after an activation normalisation."""
    steps = []
    for i in range(number):
        steps += [Permutation("reverse")] if i else []
        steps += [ActNorm(), MaskedAutoregressive(transform, widths=widths)]
    return steps


@keras.saving.register_keras_serializable(package="kgen")
class RealNVP(_Preset):
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
        steps = _couplings(shape, couplings, AffineTransform(), widths, dropout)
        arguments = {"couplings": couplings, "widths": list(widths), "dropout": dropout}
        super().__init__(shape, steps, arguments, name=name, **kwargs)


@keras.saving.register_keras_serializable(package="kgen")
class MAF(_Preset):
    """The masked autoregressive flow: affine autoregressive steps in alternating orders.

    Likelihood takes one pass, sampling as many as there are values in a row.

    Args:
        shape: shape of one example.
        layers: number of autoregressive steps.
        widths: hidden widths of each step's network.
        **kwargs: ``num_classes``, ``dequantize``, ``logit``, ``ema`` ... as in ``Flow``.
    Reference:
        Papamakarios et al., Masked autoregressive flow for density estimation, 2017, arXiv 1705.07057.
    """

    def __init__(self, shape, *, layers=5, widths=(128, 128), name="maf", **kwargs):
        widths = tuple(widths)
        steps = _autoregressions(checks.positive_int("layers", layers), AffineTransform(), widths)
        super().__init__(shape, steps, {"layers": layers, "widths": list(widths)}, name=name, **kwargs)


@keras.saving.register_keras_serializable(package="kgen")
class NeuralSplineFlow(_Preset):
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
        **kwargs: ``num_classes``, ``dequantize``, ``logit``, ``ema`` ... as in ``Flow``.
    Reference:
        Durkan et al., Neural spline flows, 2019, arXiv 1906.04032.
    """

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
        name="neural_spline_flow",
        **kwargs,
    ):
        shape, widths, transform = tuple(shape), tuple(widths), SplineTransform(bins, bound)
        if autoregressive and dropout:
            raise ValueError("dropout: the autoregressive networks have none; pass dropout=0 or autoregressive=False.")
        if autoregressive:
            steps = _autoregressions(checks.positive_int("layers", layers), transform, widths)
        else:
            steps = _couplings(shape, layers, transform, widths, dropout)
        arguments = {"layers": layers, "bins": bins, "bound": bound, "autoregressive": autoregressive}
        arguments |= {"widths": list(widths), "dropout": dropout}
        super().__init__(shape, steps, arguments, name=name, **kwargs)
