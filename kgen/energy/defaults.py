"""What suits a shape, for those who bring nothing: networks, and what they are trained on."""

import math

import keras
from keras import layers

from kgen.energy.criteria import ContrastiveDivergence
from kgen.layers import silu
from kgen.networks import ConvEncoder

FEW = 4  # coordinates


def is_image(shape):
    """Whether convolutions fit: images of even sides of 8 pixels and more."""
    return len(shape) == 3 and min(shape[:2]) >= 8 and all(side % 4 == 0 for side in shape[:2])


def default_network(shape, dtype=None):
    """Maps (B, *shape) to (B, 1): convolutions for images of even sides of 8 pixels and more, else three dense layers.

    - Of few coordinates (up to 4) the first dense layer starts with weights from N(0, 2^2) and biases from U(-3, 3): features as
      fine as the densities that are drawn in a plane. From Keras's own start a network of so few inputs is smooth and stays so: eight
      Gaussians on a circle are learned as a ring.
    - The dense network has no bias at its output: an energy is defined up to a constant.
    - What is added up to an energy is float32: in half precision numbers of hundreds of nats lie whole nats apart.
    - Of images the output is multiplied by 10: between noise and data lie hundreds of nats, which steps of a usual size would take
      thousands of updates to build.

    Args:
        shape: shape of one example.
        dtype: the policy of its layers.
    Reference:
        Tancik et al., Fourier features let networks learn high frequency functions in low dimensional domains, 2020, arXiv 2006.10739.
    """
    x = keras.Input(shape, name="x")
    if is_image(shape):
        encoder = ConvEncoder(shape, 1, channels=(32, 64), name="encoder", dtype=dtype)
        energy = layers.Rescaling(10.0, name="nats", dtype="float32")(encoder(x))
        return keras.Model(x, energy, name="network")
    h = layers.Flatten(name="flatten")(x) if len(shape) > 1 else x
    for i in range(3):
        start = {}
        if i == 0 and math.prod(shape) <= FEW:
            start["kernel_initializer"] = keras.initializers.RandomNormal(stddev=2.0)
            start["bias_initializer"] = keras.initializers.RandomUniform(-3.0, 3.0)
        h = silu(layers.Dense(128, name=f"dense_{i}", dtype=dtype, **start)(h))
    energy = layers.Dense(1, use_bias=False, name="dense_out", dtype="float32")(h)
    return keras.Model(x, energy, name="network")


def default_criterion(shape):
    """Contrastive divergence; for images with few chains, each of which has gone far after minutes, and noise on the data.

    With 10,000 chains, as in the paper, each has been moved twice after 300 steps of batches of 64: none has arrived anywhere. The noise
    of the data is as large as a chain's step, so that the density has no walls that a step cannot follow.
    """
    if is_image(shape):
        return ContrastiveDivergence(steps=20, buffer_size=500, restart=0.05, alpha=1e-4, data_noise=0.1)
    return ContrastiveDivergence()
