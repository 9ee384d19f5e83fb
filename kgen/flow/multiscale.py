"""Several scales: images of fewer and deeper pixels, and values that leave the flow early."""

import keras
from keras import layers, ops

from kgen.flow.chain import Step, rows_sum
from kgen.flow.transforms import AffineTransform


@keras.saving.register_keras_serializable(package="kgen")
class Squeeze(Step):
    """Each square of 2 x 2 pixels becomes one pixel of four times as many channels: (H, W, C) to (H/2, W/2, 4C).

    The upper two pixels come first, so that halves of the channels are other sets than a checkerboard's.

    Reference:
        Dinh et al., Density estimation using Real NVP, 2017, section 3.6, arXiv 1605.08803.
    """

    def build(self, shape, condition_size=0):
        if len(shape) != 3 or shape[0] % 2 or shape[1] % 2:
            raise ValueError(f"shape: a Squeeze takes images (H, W, C) of even sides, received {tuple(shape)}.")

    def output_shape(self, shape):
        h, w, c = shape
        return h // 2, w // 2, 4 * c

    def encode(self, x, condition=None, training=False):
        _, h, w, c = x.shape
        z = ops.transpose(ops.reshape(x, (-1, h // 2, 2, w // 2, 2, c)), (0, 1, 3, 2, 4, 5))
        return ops.reshape(z, (-1, h // 2, w // 2, 4 * c)), ops.zeros((ops.shape(x)[0],), dtype="float32")

    def decode(self, z, condition=None):
        _, h, w, c = z.shape
        x = ops.transpose(ops.reshape(z, (-1, h, w, 2, 2, c // 4)), (0, 1, 3, 2, 4, 5))
        return ops.reshape(x, (-1, 2 * h, 2 * w, c // 4))


@keras.saving.register_keras_serializable(package="kgen")
class Split(Step):
    """Takes half of the last axis out as Gaussian latents; the first half, the larger of an odd number, goes on.

    With ``conditional`` the latents' mean and log-scale depend on what goes on and on the condition, by one layer that starts at zero
    (of 3x3 convolutions for images): z = (x_2 - mean(x_1)) exp(-log_scale(x_1)). Else z = x_2.

    Args:
        conditional: bool.
    Reference:
        Dinh et al., Density estimation using Real NVP, 2017, section 3.6, arXiv 1605.08803; the learnt prior is that of
        Kingma & Dhariwal, Glow: Generative flow with invertible 1x1 convolutions, 2018, as its code has it, arXiv 1807.03039.
    """

    def __init__(self, conditional=True, **kwargs):
        super().__init__(**kwargs)
        self.conditional, self.transform = bool(conditional), AffineTransform()

    def build(self, shape, condition_size=0):
        if shape[-1] < 2:
            raise ValueError(f"shape: a Split halves the last axis, which needs at least 2, received {tuple(shape)}.")
        if self.conditional:
            size = self.transform.size * self.latent_shape(shape)[-1]
            zeros = {"kernel_initializer": "zeros", "name": "prior"}
            self.prior = (
                layers.Conv2D(size, 3, padding="same", **zeros) if len(shape) == 3 else layers.Dense(size, **zeros)
            )
            self.prior.build((None, *self.output_shape(shape)))
            if condition_size:
                self.condition = layers.Dense(size, use_bias=False, kernel_initializer="zeros", name="condition")
                self.condition.build((None, condition_size))

    def output_shape(self, shape):
        return (*shape[:-1], shape[-1] - shape[-1] // 2)

    def latent_shape(self, shape):
        return (*shape[:-1], shape[-1] // 2)

    def _bijector(self, kept, condition):
        h = self.prior(kept)
        if condition is not None:
            h = h + ops.reshape(self.condition(condition), (-1, *(1 for _ in kept.shape[2:]), h.shape[-1]))
        h = ops.cast(ops.reshape(h, (-1, *h.shape[1:-1], h.shape[-1] // 2, 2)), "float32")
        return self.transform.bijector(h)

    def encode(self, x, condition=None, training=False):
        kept, latent = ops.split(x, [x.shape[-1] - x.shape[-1] // 2], axis=-1)
        if not self.conditional:
            return (kept, latent), ops.zeros((ops.shape(x)[0],), dtype="float32")
        bijector = self._bijector(kept, condition)
        return (kept, bijector.inverse(latent)), rows_sum(bijector.inverse_log_det_jacobian(latent, event_ndims=0))

    def decode(self, z, condition=None):
        kept, latent = z
        latent = self._bijector(kept, condition).forward(latent) if self.conditional else latent
        return ops.concatenate([kept, latent], axis=-1)

    def get_config(self):
        return {**super().get_config(), "conditional": self.conditional}
