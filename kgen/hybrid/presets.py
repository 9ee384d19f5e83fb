"""Networks that suit a latent's shape, for those who bring none."""

import keras
from keras import layers

from kgen.diffusion.presets import default_unet
from kgen.layers import SinusoidalEmbedding, silu


def default_denoiser(latent_shape, num_classes=None):
    """A U-Net for maps (h, w, c), a residual network of dense layers for vectors (d,).

    Args:
        latent_shape: shape of one latent.
        num_classes: number of classes, or None.
    Raises:
        ValueError: the latent is neither a map nor a vector.
    """
    if len(latent_shape) == 3:
        return default_unet(latent_shape, num_classes)
    if len(latent_shape) == 1:
        return residual_denoiser(latent_shape[0], num_classes)
    raise ValueError(f"network: latents of shape {latent_shape} are neither vectors nor maps and need network=.")


def residual_denoiser(dim, num_classes=None, width=256, blocks=3):
    """Residual blocks of dense layers; the embedding of time and class is added inside each.

    Args:
        dim: length d of the latent vector.
        num_classes: number of classes, or None.
        width: width of the layers.
        blocks: number of blocks.
    Returns:
        ``keras.Model`` of [x, t] or [x, t, label]: float (B, d), float (B,) in [0, 1], int (B,) in [0, num_classes]; to float (B, d).
    """
    x, t = keras.Input((dim,), name="x"), keras.Input((), name="t")
    inputs = [x, t]
    embedding = silu(layers.Dense(width, name="time_dense")(SinusoidalEmbedding(64, name="time")(t)))
    if num_classes is not None:
        label = keras.Input((), dtype="int32", name="label")
        inputs.append(label)
        embedding = embedding + layers.Embedding(num_classes + 1, width, name="label_embedding")(label)
    h = layers.Dense(width, name="dense_in")(x)
    for i in range(blocks):
        out = layers.LayerNormalization(name=f"norm_{i}")(h)
        out = layers.Dense(width, name=f"dense_{i}_1")(out) + layers.Dense(width, name=f"embedding_{i}")(embedding)
        h = h + layers.Dense(width, name=f"dense_{i}_2")(silu(out))
    h = layers.LayerNormalization(name="norm_out")(h)
    return keras.Model(inputs, layers.Dense(dim, name="dense_out")(h), name="denoiser")
