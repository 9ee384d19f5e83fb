"""What is measured: sizes and settings that both sides of a comparison read. Plain data, no framework."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class UNetSize:
    """One U-Net: image (H, W, C), feature channels and attention per level, residual blocks per level."""

    shape: tuple
    channels: tuple
    attention: tuple
    blocks: int = 1
    groups: int = 8
    head_dim: int = 32


UNETS = {
    "28x28": UNetSize((28, 28, 1), channels=(32, 64, 64), attention=(False, False, True)),
    "8x8": UNetSize((8, 8, 1), channels=(32, 64), attention=(False, True)),
}

# Diffusion: Ho et al. 2020's schedule, its noise prediction, and DDIM without noise.
TRAIN_STEPS = 1000
BETA_START, BETA_END = 1e-4, 0.02
SAMPLING_STEPS = 20

# The VAE: convolutional networks of two stages.
VAE_IMAGE = (28, 28, 1)
VAE_CHANNELS = (32, 64)
VAE_DENSE = 256
VAE_LATENT = 16
VAE_SCALE = 0.5

LEARNING_RATE = 1e-4


def images(count, shape):
    """Images to train on, the same on both sides: numpy float32 (count, *shape), in [-1, 1]."""
    import numpy as np

    return np.random.default_rng(0).uniform(-1, 1, (count, *shape)).astype("float32")


@dataclasses.dataclass(frozen=True)
class GPTSize:
    """A GPT-2 of this size, which writes ``new_tokens`` after prompts of ``prompt`` tokens."""

    vocabulary: int = 512
    context: int = 320
    layers: int = 6
    heads: int = 6
    width: int = 192
    prompt: int = 15
    new_tokens: int = 256


GPT = GPTSize()


def prompts(batch):
    """Prompts, the same on both sides: numpy int32 (batch, prompt)."""
    import numpy as np

    return np.random.default_rng(0).integers(1, GPT.vocabulary, (batch, GPT.prompt)).astype("int32")


# The GAN: DCGAN's networks for the VAE's image. The VQ-VAE: the VAE's channels, 7x7 codes. The flow: points of the plane.
GAN_LATENT = 64
GAN_WIDTHS = (32, 64)
VQ_CODES, VQ_DIM = 256, 16
# StyleGAN2 of small pictures in colour, without its regularisers; the hierarchical VAE: three layers of latents, from the top.
STYLE_IMAGE, STYLE_LATENT, STYLE_WIDTH, STYLE_DEPTH = (32, 32, 3), 64, 32, 4
LADDER_LATENTS, LADDER_CHANNELS = ((1, 1, 16), (7, 7, 4), (14, 14, 2)), (64, 48, 32, 16)
FLOW = {"layers": 3, "bins": 8, "widths": (64, 64)}
