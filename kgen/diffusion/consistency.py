"""Consistency models: data from noise in one step, or a few."""

import math

import keras
from keras import ops

from kgen.core import checks, random
from kgen.core.config import Configured
from kgen.diffusion.ddpm import DDPM
from kgen.diffusion.denoiser import Denoiser
from kgen.diffusion.predictions import Estimate, Prediction, noise_of, row_mean
from kgen.diffusion.processes import EDMSchedule
from kgen.diffusion.samplers import Sampler, levels, noise_like
from kgen.diffusion.schedules import like
from kgen.diffusion.teachers import process_of, trained_network


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
    stochastic = True
    follows_paths = False

    def __init__(self, steps=1, grid="uniform"):
        super().__init__(steps, grid)

    def step(self, denoise, schedule, carry, t, s, seeds, i):
        (x,) = carry
        alpha, sigma = levels(schedule, s, x)
        return (alpha * denoise(x, t).data + sigma * noise_like(x, seeds),)


@keras.saving.register_keras_serializable(package="kgen")
class GrowingLevels(Configured):
    """A number of noise levels that doubles while training goes on: N(k) = min(first 2^floor(k/K'), last) + 1 at step k.

    K' = floor(steps / (log2(last/first) + 1)): few levels, which teach fast, and in the end many, which teach exactly.

    Args:
        steps: K, the steps that training takes.
        first, last: s_0 and s_1, the distances between levels at the start and at the end.
    Reference:
        Song & Dhariwal 2023, section 3.4, arXiv 2310.14189.
    """

    def __init__(self, steps, first=10, last=1280):
        self.steps = checks.positive_int("steps", steps)
        self.first, self.last = checks.positive_int("first", first), checks.positive_int("last", last)
        if last < first:
            raise ValueError(f"last: expected at least first={first}, received {last}.")

    def at(self, step):
        """How many levels there are at a step: float scalar tensor."""
        each = max(1, int(self.steps / (math.floor(math.log2(self.last / self.first)) + 1)))
        return ops.minimum(self.first * 2.0 ** ops.minimum(ops.floor(step / each), 30.0), float(self.last)) + 1.0

    def neighbours(self, t, schedule, step):
        """The levels that times ``t`` (B,) lie between: float tensors (B,), the earlier and the later."""
        return _around(t, self.at(step) - 1)


@keras.saving.register_keras_serializable(package="kgen")
class ShrinkingGaps(Configured):
    """Neighbours without levels, which come nearer to each other while training goes on: easy consistency tuning's.

    Of a noise sigma the neighbour's is sigma (1 - n(sigma) / q^(a + 1)) in stage a = 0, 1 .. stages - 1, n(sigma) = 1 + k / (1 + exp(b sigma)),
    and the least there is where that is less. In the first stages many a noise is compared with the data themselves, as a diffusion
    model's is; so this is for a network that is one, ``ConsistencyModel.from_diffusion``.

    Args:
        steps: the steps that training takes, the same number in each stage.
        q: how much nearer they come from stage to stage.
        stages: number of stages.
        k, b: how much farther apart small noises are kept.
    Reference:
        Geng et al., Consistency models made easy, 2024, section 3, arXiv 2406.14548.
    """

    def __init__(self, steps, q=2.0, stages=8, k=8.0, b=1.0):
        self.steps, self.stages = checks.positive_int("steps", steps), checks.positive_int("stages", stages)
        self.q = checks.in_range("q", q, 1.001, 1e6)
        self.k, self.b = checks.in_range("k", k, 0.0, 1e6), checks.in_range("b", b, 0.0, 1e6)

    def neighbours(self, t, schedule, step):
        """Times ``t`` (B,) and those before them: float tensors (B,), the earlier and the later."""
        stage = ops.minimum(ops.floor(step * self.stages / self.steps), self.stages - 1.0)
        log_sigma = -0.5 * schedule.log_snr(t)
        n = 1.0 + self.k * ops.sigmoid(-self.b * ops.exp(log_sigma))
        kept = 1.0 - n * self.q ** -(stage + 1.0)
        earlier = schedule.time(-2.0 * (log_sigma + ops.log(ops.maximum(kept, 1e-20))))
        return ops.where(kept > 0, ops.minimum(ops.maximum(earlier, 0.0), t), 0.0), t


def _around(t, last):
    """The levels 0, 1/last .. 1 that times lie between."""
    n = ops.minimum(ops.floor(t * last), last - 1.0)
    return n / last, (n + 1.0) / last


class PathEnds(DDPM):
    """Base class of models whose estimate of the data is the same all along a path: the loss between neighbouring times of one.

    Args:
        shape: as in ``DDPM``.
        noise_levels, times, teacher: as in ``ConsistencyModel``.
        **kwargs: as in ``DDPM``.
    """

    likelihood = "implicit"
    ends_paths = True

    def __init__(self, shape, *, noise_levels=18, teacher=0.9, sampler=None, **kwargs):
        super().__init__(shape, sampler=ConsistencySampler() if sampler is None else sampler, **kwargs)
        self.grows = isinstance(noise_levels, GrowingLevels | ShrinkingGaps)
        if not self.grows and checks.positive_int("noise_levels", noise_levels) < 2:
            raise ValueError(f"noise_levels: expected at least 2, received {noise_levels}.")
        self.noise_levels = noise_levels
        self.teacher = teacher
        self.averages.keep("teacher", teacher, ["network"])

    def neighbours(self, u):
        """Neighbouring times t < later, as near as they are now, where the law ``times`` puts uniform numbers ``u`` (B,)."""
        t = self.times.times(u, self.schedule)
        if not self.grows:
            return _around(t, self.noise_levels - 1)
        step = ops.cast(ops.convert_to_tensor(self.teacher_step), "float32")
        return self.noise_levels.neighbours(t, self.schedule, step)

    def earlier(self, x, noise, x_later, t, later, values, seeds):
        """x_t of the path that ``x_later`` is on: float tensor (B, ...).

        Args:
            x, noise, x_later: data, noise, and what they make at the time ``later``; float tensors (B, ...).
            t, later: float tensors (B,), neighbouring times.
            values: dict from the name of each condition's tensors to a tensor (B, ...).
            seeds: int32 tensor (B, 2), row seeds.
        """
        raise NotImplementedError

    def gap(self, t, later):
        """What the distance of two estimates is divided by: float tensor (B,)."""
        return ops.ones_like(t)

    def objective(self, batch, training):
        x = ops.cast(batch.x, "float32")
        t, later = self.neighbours(batch.strata)
        noise = random.normal(batch.seeds, self.shape)
        values = (
            self.conditions.dropped(batch.conditions, random.fold_in(batch.seeds, 1)) if training else batch.conditions
        )
        x_later = self.schedule.add_noise(x, later, noise)
        x_t = self.earlier(x, noise, x_later, t, later, values, random.fold_in(batch.seeds, 2))
        teacher = Denoiser(self.averaged("network", "teacher"), self.schedule, self.prediction)
        target = ops.where(like(t, x) > 0, teacher(x_t, t, values).data, x_t)
        student = self.denoiser(training)
        found = student.prediction.estimate(
            student.output(x_later, later, values, training), x_later, *student.levels(later, x_later)
        ).data
        size = math.prod(self.shape)
        c = 0.00054 * math.sqrt(size)
        distance = ops.sqrt(size * row_mean(ops.square(found - ops.stop_gradient(target))) + c**2) - c
        return distance / self.gap(t, later), {}

    def log_prob(self, x, **kwargs):
        """A consistency model has no likelihood."""
        raise NotImplementedError(
            f"{type(self).__name__} has no likelihood; VAEs, diffusion models, flows and autoregressive models do."
        )

    def get_config(self):
        config = super().get_config()
        del config["weight"]
        levels = keras.saving.serialize_keras_object(self.noise_levels) if self.grows else self.noise_levels
        return {**config, "noise_levels": levels, "teacher": self.teacher}


@keras.saving.register_keras_serializable(package="kgen")
class ConsistencyModel(PathEnds):
    """A network whose estimate of the data is the same all along a path from noise to data, trained without a teacher model.

    The loss is (sqrt(|f(x + sigma_{n+1} z) - f_teacher(x + sigma_n z)|^2 + c^2) - c) / (sigma_{n+1} - sigma_n) at neighbouring noise
    levels with the same noise z; the teacher is an average of the network's own weights, named "teacher". c = 0.00054 sqrt(D). The
    lowest of the levels counts as no noise there, where the paper has sigma_min: what is compared with it weighs 1 / sigma_2.

    The improved training of Song & Dhariwal is ``noise_levels=GrowingLevels(steps)``, ``times=LogNormalTimes(-1.1, 2.0)``, ``teacher=0.0``.

    Args:
        shape, network, num_classes, label_dropout, conditions, clip, ema: as in ``DDPM``.
        noise_levels: how many levels there are between sigma_min and sigma_max, or ``GrowingLevels``, or ``ShrinkingGaps``.
        times: which levels training draws: "uniform", or ``Times``, of whose times each counts for the two levels that it is between.
        teacher: decay of the teacher; 0 is the network of the step before.
        sigma_data, sigma_min, sigma_max: of the data and of the noise.
        prediction: what the network is given and returns: ``ConsistencyPrediction(sigma_data, sigma_min)`` by default.
        sampler: "consistency" (one step) or a ``Sampler``.
    Reference:
        Song et al. 2023, Algorithm 3, arXiv 2303.01469; Song & Dhariwal, Improved techniques for training consistency models, 2023 (the
        loss and its weight; sections 3.4 and 3.5), arXiv 2310.14189.
    """

    def __init__(
        self,
        shape,
        *,
        sigma_data=0.5,
        sigma_min=0.002,
        sigma_max=80.0,
        prediction=None,
        name="consistency_model",
        **kwargs,
    ):
        if prediction is None:
            prediction = ConsistencyPrediction(sigma_data, sigma_min)
        super().__init__(
            shape,
            schedule=EDMSchedule(sigma_min, sigma_max),
            prediction=prediction,
            name=name,
            **kwargs,
        )
        self.sigma_data, self.sigma_min, self.sigma_max = sigma_data, sigma_min, sigma_max

    @classmethod
    def from_diffusion(cls, model, **kwargs):
        """A consistency model to be trained, whose network is a copy of a diffusion model's: easy consistency tuning.

        Its estimates of the data at neighbouring levels are nearly the same to begin with, and training makes them so over longer and
        longer ways. What a network is given and returns is the same in both.

        Args:
            model: a trained ``EDM``, or a ``DDPM`` of the same process.
            **kwargs: as in ``ConsistencyModel``: ``noise_levels``, ``times``, ``teacher``, ``ema`` ... ``ShrinkingGaps`` are its paper's.
        Raises:
            ValueError: the model is of another process.
        Reference:
            Geng et al., Consistency models made easy, 2024, section 3, arXiv 2406.14548.
        """
        process = process_of("model", model)
        schedule = process.pop("schedule")
        if not isinstance(schedule, EDMSchedule) or schedule.rho != EDMSchedule().rho:
            raise ValueError(
                f"model: expected one of the process EDMSchedule(), such as EDM, received one of {schedule!r}. ConsistencyDistillation "
                "takes any."
            )
        ends = {"sigma_min": schedule.sigma_min, "sigma_max": schedule.sigma_max}
        network = kwargs.pop("network", None) or trained_network(model)
        return cls(**{**process, **ends, "network": network, **kwargs})

    def earlier(self, x, noise, x_later, t, later, values, seeds):
        return self.schedule.add_noise(x, t, noise)

    def gap(self, t, later):
        # A time of 0 counts as no noise: the network may be any diffusion model's, which at sigma_min is the identity but for some sigma_min.
        return self.schedule.sigma(later) - ops.where(t > 0, self.schedule.sigma(t), 0.0)

    def get_config(self):
        config = super().get_config()
        del config["schedule"]
        if self.prediction == ConsistencyPrediction(self.sigma_data, self.sigma_min):
            config["prediction"] = None  # which follows from the numbers below
        own = ("sigma_data", "sigma_min", "sigma_max")
        return {**config, **{name: getattr(self, name) for name in own}}
