"""Networks and samplers that suit a shape, for those who bring none."""

from kgen.diffusion.churn import EDMSampler
from kgen.diffusion.dpm_solver import DPMSolverMultistepSampler
from kgen.diffusion.heun import HeunSampler
from kgen.diffusion.predictions import VelocityPrediction
from kgen.diffusion.processes import EDMSchedule, RectifiedFlowSchedule, VESchedule
from kgen.diffusion.samplers import DDIMSampler
from kgen.networks import MLP, ConvEncoder, ResidualMLP, UNet

ATTENDED = 16  # the largest side at which pixels attend to each other (Nichol & Dhariwal 2021; Dhariwal & Nichol 2021)


def default_network(shape, conditions=(), outputs=1, dtype=None):
    """A U-Net for images (H, W, C) and for sequences (T, C), residual dense layers for vectors (D,).

    Args:
        shape: shape of one example.
        conditions: ``Conditions``.
        outputs: channels of the output for each of the example's.
        dtype: the policy of its layers.
    Raises:
        ValueError: other shapes, which need ``network=``.
    """
    if len(shape) == 1:
        return ResidualMLP(shape[0], conditions=conditions, outputs=outputs, dtype=dtype)
    if len(shape) not in (2, 3):
        raise ValueError(
            f"shape: expected (H, W, C), (T, C) or (D,), received {tuple(shape)}. Other shapes need network=."
        )
    return default_unet(shape, conditions=conditions, outputs=outputs, dtype=dtype)


def default_unet(shape, num_classes=None, conditions=(), outputs=1, dtype=None):
    """A U-Net whose width and depth grow with the image: about 0.7 M parameters at 8x8 and at 28x28, 4.6 M at 32x32, 18.5 M at 64x64.

    Attention stands at levels of at most 16 pixels a side, or as many steps of a sequence as such a map has pixels, the first of several levels left
    out. There are fewer levels where the sides cannot be halved so often: lengths and sides that are multiples of 8 get all of theirs. Up to 28
    pixels those that are left are the widest, and one alone has two blocks.

    Args:
        shape: (H, W, C), or (T, C) of sequences.
        num_classes: number of classes, or None; or as a condition.
        conditions: ``Conditions``.
        outputs: channels of the output for each of the image's.
        dtype: the policy of its layers.
    """
    side = max(shape[:-1])
    if side <= 4:
        channels, blocks = (128,), 2  # maps of few pixels and many channels, such as latents
    elif side <= 12:
        channels, blocks = (32, 64), 1
    elif side <= 28:
        # In minutes on a CPU more steps are worth more than more channels (benchmarks/DEFAULTS.md).
        channels, blocks = (16, 32, 64), 1
    elif side <= 32:
        channels, blocks = (64, 128, 128), 1
    else:
        channels, blocks = (64, 128, 128, 256), 2
    while len(channels) > 1 and any(s % 2 ** (len(channels) - 1) for s in shape[:-1]):
        channels = channels[1:] if side <= 28 else channels[:-1]
    largest = ATTENDED if len(shape) == 3 else ATTENDED**2
    attention = [level > 0 and side >> level <= largest for level in range(len(channels))]
    if len(channels) == 1:
        attention, blocks = [side <= largest], 2
    return UNet(
        shape,
        channels=channels,
        blocks=blocks,
        attention=attention,
        num_classes=num_classes,
        conditions=conditions,
        out_channels=outputs * shape[-1],
        dtype=dtype,
    )


def default_sampler(shape, schedule):
    """The sampler that drew best of those measured: for images (H, W, C) with noise on the way, for other data without.

    SDE-DPM-Solver++ in 30 calls, on Karras's grid for EDM's process; on straight paths, where few equal steps are enough, ten of EDM's
    stochastic sampler, 19 calls. Other data: Heun's 18 steps for EDM's process, DDIM's 50 for others.

    Noise on the way takes away what the network got wrong before: after five minutes of training digits lie half as far from the data as
    DDIM's, after more and better training as far (``benchmarks/DEFAULTS.md``; flows and EDM: ``benchmarks/RESULTS.md``). Points in the
    plane are drawn worse with it.

    Args:
        shape: shape of one example.
        schedule: the ``Schedule``.
    """
    if len(shape) != 3:
        return HeunSampler(18) if isinstance(schedule, EDMSchedule) else DDIMSampler(50)
    if isinstance(schedule, RectifiedFlowSchedule):
        return EDMSampler(10, grid="uniform")
    return DPMSolverMultistepSampler(
        30, grid="karras" if isinstance(schedule, EDMSchedule) else "log_snr", stochastic=True
    )


def default_prediction(schedule):
    """EDM's preconditioning where the data is not made smaller, so that x_t may be 80 times as large; velocity elsewhere."""
    from kgen.diffusion.edm import EDMPrediction  # EDM is a DDPM, which asks here

    return EDMPrediction() if isinstance(schedule, (EDMSchedule, VESchedule)) else VelocityPrediction()


def default_classifier(shape, num_classes, dtype=None):
    """A network that is told the time: convolutions with strides for images, down to 4 pixels or fewer, dense layers for other shapes.

    Args:
        shape: shape of one example.
        num_classes: length of the output.
        dtype: the policy of its layers.
    """
    channels, sides = [], shape[:2]
    while len(shape) == 3 and max(sides) > 4 and all(s % 2 == 0 for s in sides) and len(channels) < 4:
        channels.append(32 << len(channels))
        sides = [s // 2 for s in sides]
    if channels:
        return ConvEncoder(shape, num_classes, channels, time=True, name="classifier", dtype=dtype)
    return MLP(shape, (num_classes,), time=True, name="classifier", dtype=dtype)
