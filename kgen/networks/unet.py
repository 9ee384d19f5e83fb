"""The U-Net of denoising diffusion."""

import random

import keras
from keras import layers

from kgen.layers import GroupNormalization, SinusoidalEmbedding, SpatialAttention, silu
from kgen.networks.configured import ConfiguredNetwork
from kgen.networks.given import Given


@keras.saving.register_keras_serializable(package="kgen")
class UNet(ConfiguredNetwork):
    """A U-Net over images, conditioned on a time and optionally on a class and other conditions.

    Residual blocks (group normalisation, SiLU, 3x3 convolution, twice; the embedding of time and class is added between,
    or scales and shifts the second normalisation), strided convolutions downwards, nearest-neighbour upsampling and a
    convolution upwards, every intermediate result concatenated on the way up, attention where asked.

    Every residual block and every attention starts as the identity, and the output as zero: what they add begins at zero (Ho et al.'s code;
    Dhariwal & Nichol's `zero_module`). The embeddings of classes are drawn from N(0, 1), as large as what the time's frequencies give, so that
    classes differ from the first step on (Dhariwal & Nichol's code; Keras's own start, U(-0.05, 0.05), hides them for hundreds of steps).

    Args:
        image_shape: (H, W, C); H and W are divisible by 2^(levels - 1).
        channels: feature channels per level, each divisible by ``groups``.
        blocks: residual blocks per level.
        attention: one bool per level: attention after each of its residual blocks; also in the middle where any level has it. The papers give it to
            levels of side 16 and below (Nichol & Dhariwal 2021; Dhariwal & Nichol 2021: 32, 16 and 8).
        head_dim: channels per attention head.
        num_classes: number of classes, or None. Label ``num_classes`` itself means "no class".
        conditions: further ``kgen.core.conditions``: labels and vectors are added to the embedding of time, pictures are stacked on x_t
            (enlarged by whole pixels where they are smaller), sequences are attended to beside the self-attention, where that stands.
        out_channels: channels of the output; C by default.
        groups: groups of the normalisations.
        dropout: rate inside the residual blocks, before their last convolution.
        scale_shift: whether time and class scale and shift the second normalisation of a block, h <- (1 + s) norm(h) + b, rather than being added
            before it: h <- norm(h + b). ("Adaptive group normalisation".) The weights of one do not fit the other.
    Call:
        [x, t, label, *conditions]: float (B, H, W, C), float (B,) in [0, 1], int (B,) in [0, num_classes], and the tensors of the
        conditions; without ``num_classes`` there is no label.
        Returns float32 (B, H, W, out_channels).
    Reference:
        Ho et al., Denoising diffusion probabilistic models, 2020, appendix B, arXiv 2006.11239;
        Nichol & Dhariwal, Improved denoising diffusion probabilistic models, 2021, section 3 and appendix A, arXiv 2102.09672;
        Dhariwal & Nichol, Diffusion models beat GANs on image synthesis, 2021, section 3.1 (`scale_shift`), arXiv 2105.05233.
    """

    def __init__(
        self,
        image_shape,
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
        name="unet",
        **kwargs,
    ):
        image_shape, channels, attention = tuple(image_shape), tuple(channels), tuple(bool(a) for a in attention)
        _check(image_shape, channels, attention, groups)
        x = keras.Input(image_shape, name="x")
        t = keras.Input((), name="t")
        inputs = [x, t]
        width = 4 * channels[0]
        embedding = SinusoidalEmbedding(channels[0], name="time_sinusoids")(t)
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

        def residual(h, filters, name):
            out = GroupNormalization(groups, name=f"{name}_norm_1")(h)
            out = layers.Conv2D(filters, 3, padding="same", name=f"{name}_conv_1")(silu(out))
            width = 2 * filters if scale_shift else filters
            shift = layers.Dense(width, name=f"{name}_embedding")(embedding)
            shift = layers.Reshape((1, 1, width), name=f"{name}_shift")(shift)
            norm = GroupNormalization(groups, name=f"{name}_norm_2")
            out = norm(out) * (1.0 + shift[..., :filters]) + shift[..., filters:] if scale_shift else norm(out + shift)
            out = silu(out)
            if dropout:
                # With a seed: without one, Keras on torch drops by torch's global state, which no file keeps.
                out = layers.Dropout(dropout, seed=random.getrandbits(30), name=f"{name}_dropout")(out)
            # A residual block starts as the identity.
            out = layers.Conv2D(filters, 3, padding="same", kernel_initializer="zeros", name=f"{name}_conv_2")(out)
            if h.shape[-1] != filters:
                h = layers.Conv2D(filters, 1, name=f"{name}_skip")(h)
            return h + out

        def attend(h, name):
            heads = max(1, h.shape[-1] // head_dim)
            return given.attended(SpatialAttention(heads, groups, name=name)(h), heads, groups, name)

        h = layers.Conv2D(channels[0], 3, padding="same", name="conv_in")(given.stacked(x))
        skips = [h]
        for level, filters in enumerate(channels):
            for block in range(blocks):
                h = residual(h, filters, f"down_{level}_{block}")
                if attention[level]:
                    h = attend(h, f"down_{level}_{block}_attention")
                skips.append(h)
            if level < len(channels) - 1:
                h = layers.ZeroPadding2D(1, name=f"down_{level}_pad")(h)
                h = layers.Conv2D(filters, 3, strides=2, name=f"down_{level}_stride")(h)
                skips.append(h)
        h = residual(h, channels[-1], "middle_0")
        if any(attention):
            h = attend(h, "middle_attention")
        h = residual(h, channels[-1], "middle_1")
        for level, filters in reversed(list(enumerate(channels))):
            for block in range(blocks + 1):
                h = residual(
                    layers.Concatenate(name=f"up_{level}_{block}_concat")([h, skips.pop()]),
                    filters,
                    f"up_{level}_{block}",
                )
                if attention[level]:
                    h = attend(h, f"up_{level}_{block}_attention")
            if level:
                h = layers.UpSampling2D(name=f"up_{level}_upsample")(h)
                h = layers.Conv2D(filters, 3, padding="same", name=f"up_{level}_conv")(h)
        h = silu(GroupNormalization(groups, name="norm_out")(h))
        outputs = layers.Conv2D(
            out_channels or image_shape[-1],
            3,
            padding="same",
            kernel_initializer="zeros",
            dtype="float32",
            name="conv_out",
        )(h)
        super().__init__(inputs, outputs, name=name, **kwargs)
        self._arguments = {
            "image_shape": list(image_shape),
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
            "name": name,
        }


def _check(image_shape, channels, attention, groups):
    if len(image_shape) != 3:
        raise ValueError(f"image_shape: expected (H, W, C), received {image_shape}.")
    if len(attention) != len(channels):
        raise ValueError(f"attention: expected one bool for each of {len(channels)} levels, received {attention}.")
    factor = 2 ** (len(channels) - 1)
    if image_shape[0] % factor or image_shape[1] % factor:
        raise ValueError(
            f"image_shape: {len(channels)} levels need sides divisible by {factor}, received {image_shape}."
        )
    if any(c % groups for c in channels):
        raise ValueError(f"channels: expected multiples of groups={groups}, received {channels}.")
