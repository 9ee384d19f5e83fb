"""Weights of times that are learnt beside the network."""

import keras
from keras import ops

from kgen.layers import SinusoidalEmbedding


@keras.saving.register_keras_serializable(package="kgen")
class LogVariance(keras.layers.Layer):
    """u(t), the logarithm of the loss that is usual at time t: a linear function of features of t, 0 at the start.

    The loss L of a row becomes e^-u L + u, whose minimum over u is at u = ln E[L | t]: every time then pulls at the network alike. It is
    a layer of the model, trained by its optimizer and saved with it; sampling knows nothing of it. Losses near 0 make u, and with it the
    loss, negative.

    Args:
        dim: number of features.
    Call:
        t: float tensor (B,), in [0, 1]. Returns float32 tensor (B,).
    Reference:
        Karras et al., Analyzing and improving the training dynamics of diffusion models, 2024, Eq. 14 and 15, arXiv 2312.02696; Kendall
        & Gal, Multi-task learning using uncertainty, 2018, arXiv 1705.07115.
    """

    def __init__(self, dim=64, **kwargs):
        super().__init__(**{"name": "log_variance", "dtype": "float32", **kwargs})
        self.dim = dim
        self.features = SinusoidalEmbedding(
            dim, scale=100.0, dtype="float32"
        )  # smooth in time: no single time is learnt by heart
        self.linear = keras.layers.Dense(1, kernel_initializer="zeros", dtype="float32")
        self.features.build((None,))
        self.linear.build((None, dim))
        self.built = True

    def call(self, t):
        return self.linear(self.features(t))[:, 0]

    def weighted(self, losses, t):
        """e^-u L + u: float32 tensor (B,) of losses (B,) at times t (B,)."""
        u = self(t)
        return ops.exp(-u) * losses + u

    def get_config(self):
        return {**super().get_config(), "dim": self.dim}
