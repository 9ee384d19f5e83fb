"""Real NVP: affine couplings by alternating masks, of images at several scales."""

import keras

from kgen.core import checks
from kgen.flow.couplings import Coupling, channel_halves, checkerboard
from kgen.flow.multiscale import Split, Squeeze
from kgen.flow.stacks import StackedFlow, couplings_of, number_of
from kgen.flow.steps import ActNorm
from kgen.flow.transforms import AffineTransform

SMALLEST_SIDE = 4  # no default scale goes below, as in the paper


@keras.saving.register_keras_serializable(package="kgen")
class RealNVP(StackedFlow):
    """Affine couplings with activation normalisation; of images with convolutions, at several scales.

    On images each scale has half of its couplings by checkerboard masks. Then, but for the last scale, squares of 2 x 2 pixels become
    channels; the other half of the couplings mask halves of the channels; and half of the channels leaves as Gaussian latents, whose
    mean and scale are learnt from what goes on (``Split``). z is then one vector (D,). Other rows take couplings by alternating
    checkerboards with dense networks. Sampling and likelihood both take one pass.

    Args:
        shape: shape of one example.
        couplings: their number, 8 by default; with convolutions their number in each scale, 6 by default; at most 256.
        widths: hidden widths of each coupling's network, (128, 128) by default; with convolutions the channels of its residual blocks,
            (32, 32) by default.
        dropout: share of hidden units that are dropped in training, in [0, 1).
        convolutional: whether the networks are convolutional; by default for images (H, W, C) of sides of at least 2.
        scales: their number with convolutions: sides are halved scales - 1 times. By default as many as leave sides of at least 4.
        **kwargs: ``num_classes``, ``dequantize``, ``logit``, ``ema`` ... as in ``Flow``.
    Raises:
        ValueError: a number is out of range, or the shape does not fit.
    Reference:
        Dinh et al., Density estimation using Real NVP, 2017, section 3, arXiv 1605.08803; activation normalisation and learnt priors are
        those of Kingma & Dhariwal, Glow, 2018, arXiv 1807.03039.
    """

    left_out = {"convolutional": False, "scales": None}

    def __init__(
        self,
        shape,
        *,
        couplings=None,
        widths=None,
        dropout=0.0,
        convolutional=None,
        scales=None,
        name="real_nvp",
        **kwargs,
    ):
        shape = checks.shape("shape", shape)
        is_image = len(shape) == 3 and min(shape[:2]) >= 2
        convolutional = is_image if convolutional is None else bool(convolutional)
        if convolutional and not is_image:
            raise ValueError(
                f"convolutional: expected False for rows that are no images (H, W, C), received shape {shape}."
            )
        couplings = (6 if convolutional else 8) if couplings is None else couplings
        widths = ((32, 32) if convolutional else (128, 128)) if widths is None else tuple(widths)
        if convolutional:
            scales = _scales_of(shape, scales)
            steps = _multiscale(shape, number_of("couplings", couplings), scales, widths, dropout)
        elif scales is None:
            steps = couplings_of(shape, "couplings", couplings, AffineTransform(), widths, dropout)
        else:
            raise ValueError(f"scales: expected None without convolutions, received {scales!r}.")
        arguments = {"couplings": couplings, "widths": widths, "dropout": dropout}
        arguments |= {"convolutional": convolutional, "scales": scales}
        super().__init__(shape, steps, arguments, name=name, **kwargs)


def _scales_of(shape, scales):
    """The number of scales; raises ValueError where sides cannot be halved so often."""
    side, most, fitting = shape[:2], 1, 1
    while side[0] % 2 == side[1] % 2 == 0:
        side, most = (side[0] // 2, side[1] // 2), most + 1
        fitting = most if min(side) >= SMALLEST_SIDE else fitting
    most -= min(side) < 2  # a checkerboard of one pixel masks all or nothing
    if scales is not None and checks.positive_int("scales", scales) > most:
        raise ValueError(
            f"scales: expected at most {most}, since each but the last halves the sides of {shape}, received {scales}."
        )
    return fitting if scales is None else int(scales)


def _multiscale(shape, number, scales, widths, dropout):
    """The steps of all scales: Dinh et al., section 3.6 and Fig. 4."""
    steps = []

    def couple(mask_of, count):
        masks = [mask_of(shape, parity) for parity in (0, 1)]  # made once: they are as large as a row
        for i in range(count):
            options = {"network": "convolutional", "widths": widths, "dropout": dropout}
            steps.extend([ActNorm(), Coupling(AffineTransform(), mask=masks[i % 2], **options)])

    for scale in range(scales):
        is_last = scale == scales - 1
        boards = number if is_last and shape[-1] < 2 else number - number // 2
        couple(checkerboard, boards)
        if not is_last:
            steps.append(Squeeze())
            shape = steps[-1].output_shape(shape)
        couple(channel_halves, number - boards)
        if not is_last:
            steps.append(Split())
            shape = steps[-1].output_shape(shape)
    return steps
