"""The distribution of one pixel: a mixture of discretised logistics whose channels depend on each other linearly."""

import keras
from keras import ops

from kgen.core import checks, random
from kgen.core.config import Configured
from kgen.distributions import discretized_logistic_log_prob


@keras.saving.register_keras_serializable(package="kgen")
class LogisticMixture(Configured):
    """A pixel's channels take ``levels`` equally spaced values in [-1, 1]; the pixel chooses one of K components.

        P(x) = sum_k pi_k prod_c P(x_c | mu_ck + sum_{d < c} tanh(a_cdk) x_d, s_ck)

    with P the logistic of that mean and log scale, rounded to the levels. For RGB these are the paper's means of green and blue.

    Args:
        channels: C.
        components: K.
        levels: number of equally spaced values, at least 2.
    Raises:
        ValueError: an argument is not an integer of at least 1, or 2 for ``levels``.
    Reference:
        Salimans et al., PixelCNN++, 2017, Eq. 1 to 3, arXiv 1701.05517.
    """

    def __init__(self, channels, components=10, levels=256):
        self.channels = checks.positive_int("channels", channels)
        self.components = checks.positive_int("components", components)
        self.levels = checks.positive_int("levels", levels)
        if self.levels < 2:
            raise ValueError(f"levels: expected an integer of at least 2, received {levels!r}.")

    @property
    def size(self):
        """Numbers per pixel: K logits, C K means, C K log scales and K C (C - 1)/2 coefficients."""
        return self.components * (1 + 2 * self.channels + self.channels * (self.channels - 1) // 2)

    def nearest(self, x):
        """The level nearest to each value, in [-1, 1]."""
        half = (self.levels - 1) / 2.0
        return ops.round((ops.clip(x, -1.0, 1.0) + 1.0) * half) / half - 1.0

    def _parts(self, parameters):
        """Logits (..., K), then a list over channels of (mean (..., K), log scale (..., K), coefficients of earlier channels)."""
        parts = ops.split(ops.cast(parameters, "float32"), self.size // self.components, axis=-1)
        logits, parts = parts[0], parts[1:]
        channels = []
        for c in range(self.channels):
            # Never narrower than exp(-7), as in the paper's code: an eighth of the distance between 256 levels.
            mean, log_scale, coefficients, parts = (
                parts[0],
                ops.maximum(parts[1], -7.0),
                parts[2 : 2 + c],
                parts[2 + c :],
            )
            channels.append((mean, log_scale, [ops.tanh(a) for a in coefficients]))
        return logits, channels

    def log_prob(self, parameters, x):
        """ln P(x).

        Args:
            parameters: float tensor (..., size).
            x: float tensor (..., C), at the levels.
        Returns:
            float32 tensor (...), nats.
        """
        logits, channels = self._parts(parameters)
        x = ops.cast(x, "float32")
        total = ops.log_softmax(logits, axis=-1)
        for c, (mean, log_scale, coefficients) in enumerate(channels):
            for d, a in enumerate(coefficients):
                mean = mean + a * x[..., d : d + 1]
            total = total + discretized_logistic_log_prob(x[..., c : c + 1], mean, log_scale, self.levels)
        return ops.logsumexp(total, axis=-1)

    def noise(self, seeds, shape):
        """What chance decides in ``sample``: K Gumbel numbers choose the component, C logistic ones are its channels' deviations.

        Args:
            seeds: int32 tensor (B, 2), row seeds.
            shape: tuple, such as (H, W).
        Returns:
            float32 tensor (B, *shape, K + C).
        """
        u = random.uniform(seeds, (*shape, self.components + self.channels))
        choice, value = u[..., : self.components], u[..., self.components :]
        return ops.concatenate([-ops.log(-ops.log(choice)), ops.log(value) - ops.log1p(-value)], axis=-1)

    def sample(self, parameters, noise):
        """A pixel.

        Args:
            parameters: float tensor (..., size).
            noise: float tensor (..., K + C), of ``noise``.
        Returns:
            float32 tensor (..., C), at the levels.
        """
        logits, channels = self._parts(parameters)
        chosen = ops.one_hot(random.argmax(logits + noise[..., : self.components]), self.components)
        x = []
        for c, (mean, log_scale, coefficients) in enumerate(channels):
            for d, a in enumerate(coefficients):
                mean = mean + a * x[d]
            deviation = ops.exp(log_scale) * noise[..., self.components + c : self.components + c + 1]
            x.append(self.nearest(ops.sum(chosen * (mean + deviation), axis=-1, keepdims=True)))
        return ops.concatenate(x, axis=-1)
