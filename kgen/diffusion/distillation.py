"""Distillation: students that learn from a trained diffusion model to sample in a few steps."""

import keras
from keras import ops

from kgen.core import checks
from kgen.diffusion import samplers
from kgen.diffusion.consistency import PathEnds
from kgen.diffusion.ddpm import DDPM
from kgen.diffusion.laws import StepTimes
from kgen.diffusion.predictions import noise_of
from kgen.diffusion.samplers import DDIMSampler, levels
from kgen.diffusion.teachers import frozen, process_of, taught, trained_network


@keras.saving.register_keras_serializable(package="kgen")
class ProgressiveDistillation(DDPM):
    """A student that does in one step of DDIM what its teacher does in two.

    With u = x/sigma and a = alpha/sigma a step of DDIM is u_s = u_t + (a_s - a_t) x_0. The teacher steps from t over t' = t - 1/(2N) to
    t'' = t - 1/N, with the estimates x' at t and x'' at t'. One step arrives there with

        target = w x' + (1 - w) x'',  w = (a_t' - a_t) / (a_t'' - a_t),

    and the student's estimate learns it at t = k/N, k = 1 .. N. To halve the steps again, make the next student from this one:
    ``ProgressiveDistillation(student, steps // 2)``. The process, the meaning of the network's output and the conditions are those of the
    teacher. Where little of the data is left at t = 1, a teacher that predicts "velocity", "data" or "flow" has better students than one
    that predicts "noise", whose errors are divided by alpha(1).

    The teacher's network is part of the model and of its files, frozen, so that training goes on from a file; sampling does not use it.

    Args:
        teacher: a trained ``DDPM`` (``EDM``, ``FlowMatching`` ...), or another student. The model keeps a frozen copy of what it samples with.
        steps: N, the student's steps; the teacher's are twice as many, at equal distances of time.
        network: the student's, which takes and returns what the teacher's does; by default a copy of the teacher's averaged one.
        guidance: strength by which the teacher is guided without a classifier, or None: the student learns the guided samples of it.
        weight, ema, uncertainty: as in ``DDPM``.
        sampler: as in ``DDPM``; by default ``DDIMSampler(steps)``.
    Reference:
        Salimans & Ho, Progressive distillation for fast sampling of diffusion models, 2022, Algorithm 2, arXiv 2202.00512 (there the
        target is written as (z_t'' - (sigma''/sigma) z_t) / (alpha'' - (sigma''/sigma) alpha)).
    """

    likelihood = "implicit"

    def __init__(
        self,
        teacher,
        steps,
        *,
        network=None,
        guidance=None,
        weight="truncated_snr",
        sampler=None,
        name="progressive_distillation",
        dtype=None,
        **kwargs,
    ):
        steps = checks.positive_int("steps", steps)
        copy = frozen("teacher", teacher, guidance)
        super().__init__(
            **process_of("teacher", copy),
            network=trained_network(teacher) if network is None else network,
            times=StepTimes(steps),
            weight=weight,
            sampler=DDIMSampler(steps) if sampler is None else sampler,
            name=name,
            dtype=copy.dtype_policy if dtype is None else dtype,
            **kwargs,
        )
        self.teacher, self.steps, self.guidance = copy, steps, guidance

    def loss_at(self, denoiser, x, t, noise, values, training=False):
        x_t = self.schedule.add_noise(x, t, noise)
        data = ops.stop_gradient(self.target(x_t, t, values))
        noise = noise_of(data, x_t, *denoiser.levels(t, x_t))
        return super().loss_at(denoiser, data, t, noise, values, training)  # at x_t again, made of other data and noise

    def target(self, x_t, t, values):
        """The data with which one step arrives where two of the teacher do: float tensor (B, ...).

        Args:
            x_t: float tensor (B, ...).
            t: float tensor (B,), multiples of 1/N.
            values: dict from the name of each condition's tensors to a tensor (B, ...).
        """
        teacher = taught(self.teacher, t, values, self.guidance)
        place = ops.round(t * self.steps)
        half, end = (place - 0.5) / self.steps, (place - 1.0) / self.steps
        (alpha, sigma), (alpha_half, sigma_half), (alpha_end, sigma_end) = (
            levels(self.schedule, s, x_t) for s in (t, half, end)
        )
        first = teacher(x_t, t)
        second = teacher(alpha_half * first.data + sigma_half * first.noise, half)
        # w, multiplied out by sigma_end: the last step ends in data, without noise.
        share = sigma_end * (alpha_half / sigma_half - alpha / sigma) / (alpha_end - sigma_end * alpha / sigma)
        return share * first.data + (1.0 - share) * second.data

    def log_prob(self, x, **kwargs):
        """A student has no likelihood: between its steps it has learnt nothing."""
        raise NotImplementedError(
            f"{type(self).__name__} has no likelihood; its teacher has one, and so have VAEs and flows."
        )

    def get_config(self):
        config = _without_process(super().get_config())
        del config["times"]
        return {**config, **_taught_config(self), "steps": self.steps}


@keras.saving.register_keras_serializable(package="kgen")
class ConsistencyDistillation(PathEnds):
    """A consistency model that learns from a trained diffusion model: the same estimate of the data all along the paths of its flow.

    The loss is sqrt(|f(x_s) - f_teacher(x_t)|^2 + c^2) - c at neighbouring times t < s of N levels at equal distances of time, where x_s is
    noised data and x_t is where one step of a solver of the diffusion model's probability flow arrives from there. f is the diffusion model's
    estimate of x_0, with its process, parameterisation and weights to begin with; at t = 0 it is x itself. f_teacher is an average of f, as
    in ``ConsistencyModel``.

    The diffusion model's network is part of the model and of its files, frozen, so that training goes on from a file; sampling does not use it.

    Args:
        diffusion: a trained ``DDPM`` of any process (``EDM`` is the paper's). The model keeps a frozen copy of what it samples with.
        noise_levels, times, teacher: as in ``ConsistencyModel``.
        teacher_sampler: what takes that step, "heun" or "euler".
        network, guidance: as in ``ProgressiveDistillation``.
        sampler: "consistency" (one step) or a ``Sampler``.
        ema: as in ``DDPM``.
    Reference:
        Song et al. 2023, Algorithm 2 with lambda = 1, arXiv 2303.01469; Luo et al., Latent consistency models, 2023, section 4.2 (guidance),
        arXiv 2310.04378.
    """

    def __init__(
        self,
        diffusion,
        *,
        teacher_sampler="heun",
        network=None,
        guidance=None,
        name="consistency_distillation",
        dtype=None,
        **kwargs,
    ):
        teacher_sampler = checks.one_of("teacher_sampler", teacher_sampler, ["heun", "euler"])
        copy = frozen("diffusion", diffusion, guidance)
        super().__init__(
            **process_of("diffusion", copy),
            network=trained_network(diffusion) if network is None else network,
            name=name,
            dtype=copy.dtype_policy if dtype is None else dtype,
            **kwargs,
        )
        self.diffusion, self.teacher_sampler, self.guidance = copy, teacher_sampler, guidance

    def earlier(self, x, noise, x_later, t, later, values, seeds):
        denoise = taught(self.diffusion, t, values, self.guidance)
        return samplers.get(self.teacher_sampler).step(denoise, self.schedule, (x_later,), later, t, seeds, 0)[0]

    def get_config(self):
        return {
            **_without_process(super().get_config()),
            **_taught_config(self, "diffusion"),
            "teacher_sampler": self.teacher_sampler,
        }


def _without_process(config):
    """A configuration without what the teacher's says."""
    fixed = {"shape", "schedule", "prediction", "num_classes", "label_dropout", "conditions", "clip"}
    return {name: value for name, value in config.items() if name not in fixed}


def _taught_config(model, name="teacher"):
    return {name: keras.saving.serialize_keras_object(getattr(model, name)), "guidance": model.guidance}
