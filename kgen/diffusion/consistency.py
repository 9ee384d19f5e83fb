"""Consistency models: data from noise in one step, or a few."""

import math

import keras
from keras import ops

from kgen.core import checks, random
from kgen.diffusion.ddpm import DDPM
from kgen.diffusion.denoiser import Denoiser
from kgen.diffusion.predictions import Estimate, Prediction, noise_of, row_mean
from kgen.diffusion.processes import EDMSchedule
from kgen.diffusion.samplers import Sampler, levels, noise_like


@keras.saving.register_keras_serializable(package="kgen")
class ConsistencyPrediction(Prediction):
    """f(x, sigma) = c_skip x + c_out F(c_in x, t), which is x itself at sigma_min.

    c_skip = d^2 / ((sigma - sigma_min)^2 + d^2), c_out = d (sigma - sigma_min) / sqrt(sigma^2 + d^2), c_in = 1 / sqrt(sigma^2 + d^2).

    Args:
        sigma_data: d, the data's standard deviation.
        sigma_min: the noise at t = 0.
    Reference:
        Song et al., Consistency models, 2023, appendix C, arXiv 2303.01469.
    """

    def __init__(self, sigma_data=0.5, sigma_min=0.002):
        self.sigma_data = checks.in_range("sigma_data", sigma_data, 1e-6, 1e6)
        self.sigma_min = checks.in_range("sigma_min", sigma_min, 0.0, 1e6)

    def inputs(self, x_t, t, alpha, sigma):
        return x_t / ops.sqrt(ops.square(sigma) + self.sigma_data**2), t

    def estimate(self, output, x_t, alpha, sigma):
        away = sigma - self.sigma_min
        skip = self.sigma_data**2 / (ops.square(away) + self.sigma_data**2)
        out = self.sigma_data * away / ops.sqrt(ops.square(sigma) + self.sigma_data**2)
        data = skip * x_t + out * output
        return Estimate(data, noise_of(data, x_t, alpha, sigma))


@keras.saving.register_keras_serializable(package="kgen")
class ConsistencySampler(Sampler):
    """Each step takes the estimate of the data, and adds fresh noise of the next time to it; the last step adds none.

    Args:
        steps: 1, or a few.
        grid: as in ``Sampler``.
    Reference:
        Song et al. 2023, Algorithm 1, arXiv 2303.01469.
    """

    alias = "consistency"

    def __init__(self, steps=1, grid="uniform"):
        super().__init__(steps, grid)

    def step(self, denoise, schedule, carry, t, s, seeds, i):
        (x,) = carry
        alpha, sigma = levels(schedule, s, x)
        return (alpha * denoise(x, t).data + sigma * noise_like(x, seeds),)


@keras.saving.register_keras_serializable(package="kgen")
class ConsistencyModel(DDPM):
    """A network whose estimate of the data is the same all along a path from noise to data, trained without a teacher model.

    The loss is (sqrt(|f(x + sigma_{n+1} z) - f_teacher(x + sigma_n z)|^2 + c^2) - c) / (sigma_{n+1} - sigma_n) at neighbouring noise
    levels with the same noise z; the teacher is an average of the network's own weights, named "teacher". c = 0.00054 sqrt(D).

    Args:
        image_shape, network, num_classes, label_dropout, conditions, clip, ema: as in ``DDPM``.
        noise_levels: how many levels there are between sigma_min and sigma_max.
        teacher: decay of the teacher; 0 is the network of the step before.
        sigma_data, sigma_min, sigma_max: of the data and of the noise.
        sampler: "consistency" (one step) or a ``Sampler``.
    Reference:
        Song et al. 2023, Algorithm 3, arXiv 2303.01469; Song & Dhariwal, Improved techniques for training consistency models, 2023 (the
        loss and its weight), arXiv 2310.14189.
    """

    likelihood = "implicit"

    def __init__(
        self,
        image_shape,
        *,
        noise_levels=18,
        teacher=0.9,
        sigma_data=0.5,
        sigma_min=0.002,
        sigma_max=80.0,
        sampler=None,
        name="consistency_model",
        **kwargs,
    ):
        super().__init__(
            image_shape,
            schedule=EDMSchedule(sigma_min, sigma_max),
            prediction=ConsistencyPrediction(sigma_data, sigma_min),
            sampler=ConsistencySampler() if sampler is None else sampler,
            name=name,
            **kwargs,
        )
        if checks.positive_int("noise_levels", noise_levels) < 2:
            raise ValueError(f"noise_levels: expected at least 2, received {noise_levels}.")
        self.noise_levels = noise_levels
        self.teacher = teacher
        self.sigma_data, self.sigma_min, self.sigma_max = sigma_data, sigma_min, sigma_max
        self.averages.keep("teacher", teacher, ["network"])

    def objective(self, batch, training):
        x = ops.cast(batch.x, "float32")
        n = ops.minimum(ops.floor(batch.strata * (self.noise_levels - 1)), self.noise_levels - 2.0)
        t, later = n / (self.noise_levels - 1), (n + 1.0) / (self.noise_levels - 1)
        noise = random.normal(batch.seeds, self.image_shape)
        values = (
            self.conditions.dropped(batch.conditions, random.fold_in(batch.seeds, 1)) if training else batch.conditions
        )
        teacher = Denoiser(self.averaged("network", "teacher"), self.schedule, self.prediction)
        target = ops.stop_gradient(teacher(self.schedule.add_noise(x, t, noise), t, values).data)
        student, x_later = self.denoiser(training), self.schedule.add_noise(x, later, noise)
        found = student.prediction.estimate(
            student.output(x_later, later, values, training), x_later, *student.levels(later, x_later)
        ).data
        size = math.prod(self.image_shape)
        c = 0.00054 * math.sqrt(size)
        distance = ops.sqrt(size * row_mean(ops.square(found - target)) + c**2) - c
        return distance / (self.schedule.sigma(later) - self.schedule.sigma(t)), {}

    def log_prob(self, x, **kwargs):
        """A consistency model has no likelihood."""
        raise NotImplementedError(
            f"{type(self).__name__} has no likelihood; VAEs, diffusion models, flows and autoregressive models do."
        )

    def get_config(self):
        config = super().get_config()
        for fixed in ("schedule", "prediction", "times", "weight"):
            del config[fixed]
        own = ("noise_levels", "teacher", "sigma_data", "sigma_min", "sigma_max")
        return {**config, **{name: getattr(self, name) for name in own}}
