"""EDM: the design choices of Karras et al., as a parameterisation for any schedule and as a model."""

import keras
from keras import ops

from kgen.core import checks
from kgen.diffusion import schedules
from kgen.diffusion.ddpm import DDPM
from kgen.diffusion.laws import LogNormalTimes
from kgen.diffusion.predictions import LEAST, Estimate, Prediction
from kgen.diffusion.schedules import at_least


@keras.saving.register_keras_serializable(package="kgen")
class EDMPrediction(Prediction):
    """Inputs and outputs of the network have variance 1 at every noise level: D = c_skip y + c_out F(c_in y, c_noise), y = x_t/alpha.

    With r = sigma/alpha and d = sigma_data: c_skip = d^2/(r^2 + d^2), c_out = r d/sqrt(r^2 + d^2), c_in = 1/sqrt(r^2 + d^2) and
    c_noise = ln(r)/4. They are multiplied out here, so that nothing is divided by alpha or sigma, which may be 0. The network returns F,
    and its squared error weighs 1, which is the paper's weight of the data's error, 1/c_out^2.

    Networks take times in [0, 1], embedded by sinusoids. This one is given 1/2 + c_noise/4, which is in there for r from 3.4e-4 to
    2981, and is kept in there beyond: the paper's number, but for phase and unit of the sinusoids, and the same whatever the schedule.

    Args:
        sigma_data: standard deviation of the data; 0.5 is the paper's, for images in [-1, 1].
    Reference:
        Karras et al., Elucidating the design space of diffusion-based generative models, 2022, Table 1, arXiv 2206.00364.
    """

    def __init__(self, sigma_data=0.5):
        self.sigma_data = checks.in_range("sigma_data", sigma_data, 1e-6, 1e6)

    def _scale(self, alpha, sigma):
        """The standard deviation of x_t."""
        return ops.sqrt(ops.square(sigma) + ops.square(alpha * self.sigma_data))

    def inputs(self, x_t, t, alpha, sigma):
        log_ratio = ops.log(at_least(sigma, schedules.LEAST)) - ops.log(at_least(alpha, schedules.LEAST))
        time = ops.clip(0.5 + log_ratio / 16.0, 0.0, 1.0)
        return x_t / self._scale(alpha, sigma), ops.cast(ops.reshape(time, (-1,)), t.dtype)

    def target(self, x, noise, alpha, sigma):
        return (sigma * x / self.sigma_data - alpha * self.sigma_data * noise) / self._scale(alpha, sigma)

    def estimate(self, output, x_t, alpha, sigma):
        scale = self._scale(alpha, sigma)
        unit, output = x_t / scale, self.sigma_data * output
        data = (alpha * self.sigma_data**2 * unit + sigma * output) / scale
        return Estimate(data, (sigma * unit - alpha * output) / scale)

    def data_weight(self, alpha, sigma):
        return ops.square(self._scale(alpha, sigma) / (self.sigma_data * at_least(sigma, LEAST)))


@keras.saving.register_keras_serializable(package="kgen")
class EDM(DDPM):
    """A diffusion model with the schedule, preconditioning and training law of Karras et al.

    Noise of sigma from 0.002 to 80 is added to the data as it is; ln sigma is normal in training. The paper samples by
    ``HeunSampler(18)``, 35 calls, or with noise on the way by ``EDMSampler``.

    Args:
        shape: as in ``DDPM``.
        sigma_data: standard deviation of the data; 0.5 is the paper's, for images in [-1, 1].
        times: which noise training draws; by default the paper's ``LogNormalTimes(-1.2, 1.2)``. More noise teaches layout, less texture.
        weight: as in ``DDPM``; by default the paper's, 1 for the network's own output.
        sampler: as in ``DDPM``; by default ``HeunSampler(18)``, for images SDE-DPM-Solver++ in 30 calls, which drew better.
        **kwargs: ``network``, ``num_classes``, ``conditions``, ``clip``, ``ema``, ``dtype`` ... as in ``DDPM``.
    Reference:
        Karras et al., Elucidating the design space of diffusion-based generative models, 2022, arXiv 2206.00364.
    """

    def __init__(self, shape, *, sigma_data=0.5, times=None, weight=None, name="edm", **kwargs):
        super().__init__(
            shape,
            schedule="edm",
            prediction=EDMPrediction(sigma_data),
            times=LogNormalTimes() if times is None else times,
            weight=weight,
            name=name,
            **kwargs,
        )
        self.sigma_data = self.prediction.sigma_data

    def get_config(self):
        config = super().get_config()
        for fixed in ("schedule", "prediction"):
            del config[fixed]
        return {**config, "sigma_data": self.sigma_data}
