"""diffusers' `DDPMScheduler` and `DDIMScheduler`: schedule, prediction, clipping and sampler of a ``DDPM``, and back."""

import warnings

import numpy as np
from keras import ops

from kgen.interop import configurations

CLASSES = ("DDPMScheduler", "DDIMScheduler")
DEFAULTS = {
    "num_train_timesteps": 1000,
    "beta_start": 0.0001,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "trained_betas": None,
    "variance_type": "fixed_small",
    "clip_sample": True,
    "prediction_type": "epsilon",
    "thresholding": False,
    "dynamic_thresholding_ratio": 0.995,
    "clip_sample_range": 1.0,
    "sample_max_value": 1.0,
    "timestep_spacing": "leading",
    "steps_offset": 0,
    "rescale_betas_zero_snr": False,
    "set_alpha_to_one": True,
}
FIXED = {
    "beta_schedule": ("linear", "scaled_linear", "squaredcos_cap_v2"),
    "prediction_type": ("epsilon", "sample", "v_prediction"),
    "thresholding": (False,),
    "timestep_spacing": ("leading", "trailing"),
    "steps_offset": (0,),
    "rescale_betas_zero_snr": (False,),
}
PREDICTIONS = {"epsilon": "NoisePrediction", "sample": "DataPrediction", "v_prediction": "VelocityPrediction"}
SMALLEST = 1e-6  # of alpha_bar, where kgen's linear schedules stop


def arguments(config, where, of=None):
    """The arguments of ``DDPM`` that a `scheduler_config.json` stands for.

    Args:
        config: dict, as it stands in the file.
        where: the file, for the errors.
        of: the scheduler's class, where the pipeline says it; by default the file's own `_class_name`.
    Raises:
        ValueError: a key is unknown or has a value that kgen has not.
    """
    from kgen import diffusion

    of = configurations.one_of({"_class_name": of or config.get("_class_name")}, where, "_class_name", CLASSES)
    ddim = of == "DDIMScheduler"
    config = configurations.known(config, where, DEFAULTS, FIXED)
    c = (config, where)
    # What is another scheduler's alone is not read.
    configurations.one_of(
        *c, *(("set_alpha_to_one", (True,)) if ddim else ("variance_type", ("fixed_small", "fixed_large")))
    )
    clip = configurations.boolean(*c, "clip_sample")
    if clip:
        configurations.one_of(*c, "clip_sample_range", (1.0,))
    grid = config["timestep_spacing"]
    schedule = _schedule(*c)
    if ddim:
        sampler = diffusion.DDIMSampler(min(50, schedule.num_steps), grid=grid)
    else:
        sampler = diffusion.AncestralSampler(schedule.num_steps, grid, config["variance_type"].removeprefix("fixed_"))
    return {
        "schedule": schedule,
        "prediction": getattr(diffusion, PREDICTIONS[config["prediction_type"]])(),
        "sampler": sampler,
        "clip": "data" if clip and ddim else clip,  # its DDIM keeps the network's noise; the other takes the data alone
    }


def _schedule(config, where):
    from kgen import diffusion

    count = configurations.integer(config, where, "num_train_timesteps", most=100_000)
    if config["trained_betas"] is not None:
        betas = config["trained_betas"]
        if not isinstance(betas, list) or len(betas) != count or not all(type(b) is float and 0 < b < 1 for b in betas):
            raise ValueError(
                f"{where}: trained_betas: expected {count} numbers above 0 and below 1, received {configurations.json_word(betas)}."
            )
        return diffusion.BetaSchedule(betas)
    if config["beta_schedule"] == "squaredcos_cap_v2":
        return diffusion.CappedCosineSchedule(count)
    first, last = (configurations.number(config, where, f"beta_{end}", 1e-12, 0.9999) for end in ("start", "end"))
    if first > last:
        raise ValueError(f"{where}: beta_end: expected at least beta_start, {first}, received {last}.")
    if config["beta_schedule"] == "linear":
        betas, made = np.linspace(first, last, count), diffusion.LinearSchedule
    else:
        betas, made = np.linspace(first**0.5, last**0.5, count) ** 2, diffusion.ScaledLinearSchedule
    if np.prod(1.0 - betas) < SMALLEST:
        return diffusion.BetaSchedule(betas)
    return made(first, last, count)


def configuration(model):
    """The `scheduler_config.json` of a ``DDPM``.

    Raises:
        ValueError: neither scheduler computes what the model does.
    """
    from kgen import diffusion

    names = {made: name for name, made in PREDICTIONS.items()}
    prediction = names.get(type(model.prediction).__name__)
    if prediction is None:
        raise ValueError(f"prediction: diffusers has {', '.join(PREDICTIONS.values())}; received {model.prediction!r}.")
    sampler = model.sampler
    if type(sampler) is diffusion.DPMSolverMultistepSampler and sampler.stochastic:  # what images get by default
        warnings.warn(
            "sampler: the folder names DDIM, as diffusers' pipelines hold no SDE-DPM-Solver++. There, pipeline.scheduler = "
            "DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config, algorithm_type='sde-dpmsolver++') draws by it.",
            stacklevel=3,
        )
        sampler = diffusion.DDIMSampler(model.schedule.num_steps or 50, grid="trailing")
    if type(sampler) is diffusion.DDIMSampler and model.clip is True:
        warnings.warn(
            "clip: diffusers' DDIM computes with the noise that the network says; this model with that of clipped data. For the same samples "
            "call the pipeline with use_clipped_model_output=True, or save a model with clip='data'.",
            stacklevel=3,
        )
    process, steps = _process(model.schedule), model.schedule.num_steps
    grid = type(sampler.grid).__name__.removesuffix("Grid").lower()
    own = {"DDIMScheduler": {"set_alpha_to_one": True}}
    if type(sampler) is diffusion.DDIMSampler and sampler.eta == 0:
        of = "DDIMScheduler"
    elif type(sampler) is diffusion.AncestralSampler:
        of = "DDPMScheduler"
        own[of] = {"variance_type": f"fixed_{sampler.variance}"}
    else:
        raise ValueError(
            f"sampler: diffusers' pipelines have AncestralSampler and DDIMSampler with eta=0; received {sampler!r}. Make the model with one of them."
        )
    if grid == "uniform" and steps % sampler.steps == 0:
        grid = "trailing"
    if grid not in FIXED["timestep_spacing"]:
        raise ValueError(
            f"sampler: expected a grid of {' or '.join(FIXED['timestep_spacing'])} steps, or of equal steps that divide {steps}, "
            f"received {sampler!r}."
        )
    shared = {k: v for k, v in DEFAULTS.items() if k not in ("variance_type", "set_alpha_to_one")}
    found = {
        **shared,
        **own[of],
        **process,
        "prediction_type": prediction,
        "clip_sample": bool(model.clip),
        "timestep_spacing": grid,
    }
    return {"_class_name": of, **found}


def _process(schedule):
    """The keys that stand for a schedule."""
    from kgen import diffusion

    of, count = type(schedule), schedule.num_steps
    kinds = {diffusion.LinearSchedule: "linear", diffusion.ScaledLinearSchedule: "scaled_linear"}
    if of is diffusion.CappedCosineSchedule:
        return {"num_train_timesteps": count, "beta_schedule": "squaredcos_cap_v2"}
    if not hasattr(schedule, "log_alpha_bar") or count is None or schedule.ends_in_noise:
        raise ValueError(
            f"schedule: diffusers has processes of a number of steps, with alpha^2 + sigma^2 = 1 and alpha > 0 at the end; received {schedule!r}."
        )
    logs = ops.convert_to_numpy(schedule.log_alpha_bar(ops.convert_to_tensor(np.arange(count + 1) / count)))
    if of in kinds and np.exp(logs[-1]) > 1.01 * SMALLEST:
        ends = {"beta_start": schedule.beta_start, "beta_end": schedule.beta_end}
        return {"num_train_timesteps": count, "beta_schedule": kinds[of], **ends}
    if of is diffusion.BetaSchedule:
        betas = list(schedule.betas)
    else:
        betas = (-np.expm1(np.diff(logs.astype("float64")))).clip(1e-12, 0.9999999).tolist()
    return {"num_train_timesteps": count, "trained_betas": betas}
