"""The U-Net of denoising diffusion."""

import random

import keras
from keras import layers

from kgen.core import checks
from kgen.layers import GroupNormalization, SinusoidalEmbedding, SpatialAttention, silu
from kgen.networks.configured import ConfiguredNetwork, Pieces
from kgen.networks.given import Given

# By the rank of an example: convolution, and what pads, halves and doubles a resolution.
LAYERS = {
    2: (layers.Conv1D, layers.ZeroPadding1D, layers.AveragePooling1D, layers.UpSampling1D),
    3: (layers.Conv2D, layers.ZeroPadding2D, layers.AveragePooling2D, layers.UpSampling2D),
}


@keras.saving.register_keras_serializable(package="kgen")
class UNet(ConfiguredNetwork):
    """A U-Net over images or sequences, conditioned on a time and optionally on a class and other conditions.

    Residual blocks (group normalisation, SiLU, 3x3 convolution, twice; the embedding of time and class is added between,
    or scales and shifts the second normalisation), strided convolutions downwards, nearest-neighbour upsampling and a
    convolution upwards, every intermediate result concatenated on the way up, attention where asked. Over sequences (T, C) the convolutions,
    resampling and attention are along T, and everything else is the same.

    Every residual block and every attention starts as the identity, and the output as zero: what they add begins at zero (Ho et al.'s code;
    Dhariwal & Nichol's `zero_module`). The embeddings of classes are drawn from N(0, 1), as large as what the time's frequencies give, so that
    classes differ from the first step on (Dhariwal & Nichol's code; Keras's own start, U(-0.05, 0.05), hides them for hundreds of steps).

    Dhariwal & Nichol's network ("ADM") is ``attention=(32, 16, 8), head_dim=64, scale_shift=True, resample="residual"``.

    Args:
        shape: (H, W, C), or (T, C) of sequences; H and W, or T, are divisible by 2^(levels - 1).
        channels: feature channels per level, each divisible by ``groups``.
        blocks: residual blocks per level.
        attention: where attention follows each residual block, also in the middle where any level has it: one bool per level; or the sides
            of the feature maps (the larger of height and width; the length of sequences), such as (16, 8). The papers give it to levels of
            side 16 and below (Nichol & Dhariwal 2021; Dhariwal & Nichol 2021: 32, 16 and 8).
        head_dim: channels per attention head.
        num_classes: number of classes, or None. Label ``num_classes`` itself means "no class".
        conditions: further ``kgen.core.conditions``: labels and vectors are added to the embedding of time, pictures are stacked on x_t
            (enlarged by whole pixels where they are smaller), sequences are attended to beside the self-attention, where that stands.
        out_channels: channels of the output; C by default.
        groups: groups of the normalisations. In groups of one channel (as many groups as channels) what time and class add is taken out again
            by the second normalisation of a block, unless it scales and shifts.
        dropout: rate inside the residual blocks, before their last convolution.
        scale_shift: whether time and class scale and shift the second normalisation of a block, h <- (1 + s) norm(h) + b, rather than being added
            before it: h <- norm(h + b). ("Adaptive group normalisation".) The weights of one do not fit the other.
        resample: "convolution", or "residual": each change of resolution is a residual block of its own, which averages 2x2 pixels or repeats
            them, of its input and after its first normalisation (BigGAN's blocks).
        remat: whether training keeps no more than what goes into each block and computes the rest again in the backward pass. The weights are
            the same. 28x28 at batch 64 on torch: 348 MB in place of 1,114, 1.2 times the time; JAX saves nothing on a CPU, where XLA undoes it.
        middle_attention: whether attention stands in the middle; by default where any level has it.
        epsilon: what the normalisations add to the variance.
        stride_padding: where the strided convolutions pad: "both", a pixel at each side, or "behind", one to the right and at the bottom.
        sinusoids: arguments of ``SinusoidalEmbedding`` beside ``dim``, for networks that count time otherwise.
    Call:
        [x, t, label, *conditions]: float (B, H, W, C), float (B,) in [0, 1], int (B,) in [0, num_classes], and the tensors of the
        conditions; without ``num_classes`` there is no label.
        Returns float32 (B, H, W, out_channels).
    Raises:
        ValueError: sizes that do not fit each other.
    Reference:
        Ho et al., Denoising diffusion probabilistic models, 2020, appendix B, arXiv 2006.11239;
        Nichol & Dhariwal, Improved denoising diffusion probabilistic models, 2021, section 3 and appendix A, arXiv 2102.09672;
        Dhariwal & Nichol, Diffusion models beat GANs on image synthesis, 2021, section 3 (`attention`, `resample`) and 3.1 (`scale_shift`),
        arXiv 2105.05233.
    """

    def __init__(
        self,
        shape,
        channels=(64, 128),
        blocks=2,
        attention=(False, True),
        head_dim=32,
        num_classes=None,
        conditions=(),
        out_channels=None,
        groups=8,
        dropout=0.0,
        scale_shift=False,
        resample="convolution",
        remat=False,
        middle_attention=None,
        epsilon=1e-5,
        stride_padding="both",
        sinusoids=None,
        name="unet",
        **kwargs,
    ):
        shape, channels, attention = tuple(shape), tuple(channels), tuple(attention)
        _check(shape, channels, groups)
        checks.one_of("resample", resample, ("convolution", "residual"))
        checks.one_of("stride_padding", stride_padding, ("both", "behind"))
        attends = _attending(attention, [max(shape[:-1]) >> level for level in range(len(channels))])
        in_middle = any(attends) if middle_attention is None else bool(middle_attention)
        rank = len(shape) - 1
        convolution, pad, pool, enlarge = LAYERS[len(shape)]
        x = keras.Input(shape, name="x")
        t = keras.Input((), name="t")
        inputs = [x, t]
        width = 4 * channels[0]
        embedding = SinusoidalEmbedding(channels[0], name="time_sinusoids", **(sinusoids or {}))(t)
        embedding = layers.Dense(width, activation=silu, name="time_dense_1")(embedding)
        embedding = layers.Dense(width, name="time_dense_2")(embedding)
        if num_classes is not None:
            label = keras.Input((), dtype="int32", name="label")
            inputs.append(label)
            start = keras.initializers.RandomNormal(0.0, 1.0)
            embedding = embedding + layers.Embedding(num_classes + 1, width, start, name="label_embedding")(label)
        given = Given(conditions)
        inputs += given.inputs
        embedding = silu(given.embedded(embedding))

        pieces = Pieces(inputs)

        def residual(maps, filters, name, resize=None):
            """Of the channels of all ``maps``; ``resize``, a layer of its own, changes the resolution."""
            h = maps[0] if len(maps) == 1 else layers.Concatenate(name=f"{name}_concat")(maps)
            out = silu(GroupNormalization(groups, epsilon, name=f"{name}_norm_1")(h))
            if resize is not None:
                h, out = resize(2, name=f"{name}_resize_skip")(h), resize(2, name=f"{name}_resize")(out)
            out = convolution(filters, 3, padding="same", name=f"{name}_conv_1")(out)
            width = 2 * filters if scale_shift else filters
            shift = layers.Dense(width, name=f"{name}_embedding")(embedding)
            shift = layers.Reshape((*[1] * rank, width), name=f"{name}_shift")(shift)
            norm = GroupNormalization(groups, epsilon, name=f"{name}_norm_2")
            out = norm(out) * (1.0 + shift[..., :filters]) + shift[..., filters:] if scale_shift else norm(out + shift)
            out, needed = silu(out), [*maps, embedding]
            if dropout:
                # With a seed: without one, Keras on torch drops by torch's global state, which no file keeps.
                drop = layers.Dropout(dropout, seed=random.getrandbits(30), name=f"{name}_dropout")
                out = pieces.dropped(pieces.add(needed, out), drop)
                needed = [*maps, out]
            # A residual block starts as the identity.
            out = convolution(filters, 3, padding="same", kernel_initializer="zeros", name=f"{name}_conv_2")(out)
            if h.shape[-1] != filters:
                h = convolution(filters, 1, name=f"{name}_skip")(h)
            return pieces.add(needed, h + out)

        def attend(h, name):
            heads = max(1, h.shape[-1] // head_dim)
            out = SpatialAttention(heads, groups, epsilon, name=name)(h)
            return pieces.add([h, *given.context], given.attended(out, heads, groups, name))

        h = convolution(channels[0], 3, padding="same", name="conv_in")(given.stacked(x))
        pieces.add(inputs, [h, embedding, *(given.context if in_middle or any(attends) else [])], again=False)
        skips = [h]
        for level, filters in enumerate(channels):
            for block in range(blocks):
                h = residual([h], filters, f"down_{level}_{block}")
                if attends[level]:
                    h = attend(h, f"down_{level}_{block}_attention")
                skips.append(h)
            if level < len(channels) - 1:
                if resample == "residual":
                    h = residual([h], filters, f"down_{level}_resample", pool)
                else:
                    sides = 1 if stride_padding == "both" else (0, 1) if rank == 1 else ((0, 1),) * rank
                    out = pad(sides, name=f"down_{level}_pad")(h)
                    h = pieces.add([h], convolution(filters, 3, strides=2, name=f"down_{level}_stride")(out))
                skips.append(h)
        h = residual([h], channels[-1], "middle_0")
        if in_middle:
            h = attend(h, "middle_attention")
        h = residual([h], channels[-1], "middle_1")
        for level, filters in reversed(list(enumerate(channels))):
            for block in range(blocks + 1):
                h = residual([h, skips.pop()], filters, f"up_{level}_{block}")
                if attends[level]:
                    h = attend(h, f"up_{level}_{block}_attention")
            if level and resample == "residual":
                h = residual([h], filters, f"up_{level}_resample", enlarge)
            elif level:
                out = enlarge(name=f"up_{level}_upsample")(h)
                h = pieces.add([h], convolution(filters, 3, padding="same", name=f"up_{level}_conv")(out))
        last = h
        h = silu(GroupNormalization(groups, epsilon, name="norm_out")(h))
        outputs = convolution(
            out_channels or shape[-1],
            3,
            padding="same",
            kernel_initializer="zeros",
            dtype="float32",
            name="conv_out",
        )(h)
        pieces.add([last], outputs)
        super().__init__(inputs, outputs, name=name, **kwargs)
        self._pieces = pieces.ready() if remat else None
        self._arguments = {
            "shape": list(shape),
            "channels": list(channels),
            "blocks": blocks,
            "attention": list(attention),
            "head_dim": head_dim,
            "num_classes": num_classes,
            "conditions": given.conditions.get_config(),
            "out_channels": out_channels,
            "groups": groups,
            "dropout": dropout,
            "scale_shift": scale_shift,
            "resample": resample,
            "remat": remat,
            "middle_attention": middle_attention,
            "epsilon": epsilon,
            "stride_padding": stride_padding,
            "sinusoids": sinusoids,
            "name": name,
        }


def _check(shape, channels, groups):
    if len(shape) not in LAYERS:
        raise ValueError(f"shape: expected (H, W, C), or (T, C) of sequences, received {shape}.")
    factor = 2 ** (len(channels) - 1)
    if any(side % factor for side in shape[:-1]):
        what = "sides" if len(shape) == 3 else "a length"
        raise ValueError(
            f"shape: {len(channels)} levels need {what} divisible by {factor}, received {shape}. Take fewer levels (channels=), or "
            f"fill up to {(*(-(-side // factor) * factor for side in shape[:-1]), shape[-1])}."
        )
    if any(c % groups for c in channels):
        raise ValueError(f"channels: expected multiples of groups={groups}, received {channels}.")


def _attending(attention, sides):
    """One bool for each level, of which ``sides`` gives the side."""
    if all(isinstance(a, bool) for a in attention) and len(attention) == len(sides):
        return list(attention)
    if any(isinstance(a, bool) or a not in sides for a in attention):
        raise ValueError(
            f"attention: expected one bool for each of {len(sides)} levels, or some of their sides {tuple(sides)}, received {attention}."
        )
    return [side in attention for side in sides]
