"""Denoising diffusion models.

The data is noised, x_t = alpha(t) x_0 + sigma(t) eps, and a network learns to undo it: it minimises w(t) |output - target|^2 over t, x_0 and
eps. Sampling goes from noise at t = 1 back to t = 0. t = 0 is clean data, t = 1 is noise.

Four parts can be exchanged: the schedule (how much noise at what time), the prediction (what the network is given and returns), the
training law (which times, and what errors weigh), and the sampler (how the way back is cut into steps).

Reference:
    Ho et al., Denoising diffusion probabilistic models, 2020, arXiv 2006.11239;
    Ho & Salimans, Classifier-free diffusion guidance, 2022, arXiv 2207.12598.
"""

import dataclasses
import math
import warnings

import keras
import numpy as np
from keras import ops

from kgen.core import Endpoint, GenerativeModel, TensorSpec, checks, random, views
from kgen.core.conditions import Conditions, of_classes
from kgen.core.endpoints import SEED
from kgen.core.units import bits_per_dim
from kgen.diffusion import guidance as guidances
from kgen.diffusion import laws, predictions, samplers, schedules
from kgen.diffusion import likelihood as likelihoods
from kgen.diffusion.bound import variational_bound
from kgen.diffusion.defaults import default_network, default_prediction, default_sampler
from kgen.diffusion.denoiser import Denoiser
from kgen.diffusion.log_variance import LogVariance


@dataclasses.dataclass(frozen=True)
class Asked:
    """What ``sample`` was asked for: arrays by name (``seeds``, ``strength``, conditions), the sampler, the ``Guidance`` or None, the batch."""

    arrays: dict
    sampler: samplers.Sampler
    guide: guidances.Guidance | None
    batch_size: int | None = None

    def run(self, model, key, function, **own):
        """Runs ``function(seeds, values, strength, sampler=, guide=, **own)`` over the rows, compiled by ``model`` under ``key``.

        ``own`` are further arrays of as many rows.
        """
        own = {f"own {name}": value for name, value in own.items()}  # no condition's name has a space

        def rows(seeds, strength=None, **values):
            further = {name.removeprefix("own "): values.pop(name) for name in own}
            return function(seeds, values, strength, sampler=self.sampler, guide=self.guide, **further)

        key = (key, self.sampler, None if self.guide is None else self.guide.key)
        variables = [] if self.guide is None else self.guide.variables
        arrays = {**self.arrays, **own}
        return model.run_rows(key, rows, arrays, batch_size=self.batch_size, loop=True, variables=variables)


@keras.saving.register_keras_serializable(package="kgen")
class DDPM(GenerativeModel):
    """A denoising diffusion model, with or without conditions.

    Args:
        shape: shape of one example: (H, W, C) for images in [-1, 1], or any other, such as (D,).
        network: maps [x_t, t, *conditions] to a tensor like x_t; label ``num_classes`` means "no class". By default a U-Net for images,
            residual dense layers for vectors.
        schedule: "cosine", "capped_cosine", "linear", "scaled_linear", "sigmoid", "vp", "sub_vp", "ve", "edm", "rectified_flow", or a
            ``Schedule``.
        prediction: what the network returns: "velocity", "noise", "data", "score", "flow", or a ``Prediction``. By default the velocity, or
            for "edm" and "ve", where x_t may be many times as large as the data, ``EDMPrediction()``.
        times: which times training draws: "uniform", "log_normal", "logit_normal", or ``Times``.
        weight: what errors weigh: None (1 for the network's own output), "min_snr", "truncated_snr", or a ``Weight``.
        num_classes: number of classes, or a list of their names, or None. With classes, train by ``fit(x, labels)``.
        label_dropout: share of training examples whose label is hidden, in [0, 1): what guidance and sampling without a class need.
        conditions: further conditions, ``kgen.core.conditions``; train by ``fit({"image": x, name: value, ...})``.
        sampler: the sampler of ``sample`` and of the exported endpoint: "ddim" (50 steps), "ancestral" (1000), or a ``Sampler``. By default
            ``default_sampler(shape, schedule)``: noise on the way for images, none for other data.
        clip: whether estimates of x_0 are clipped to [-1, 1]; by default for images only. The noise is then what clipped data leaves of x_t;
            "data" takes the noise as the network says, as diffusers' DDIM does. Maps of latents, which know no range, need False.
        uncertainty: whether the loss at each time is measured in units of what is typical there, which is learnt: see ``LogVariance``.
        ema: decay of the averaged weights that sampling uses, or None.
    """

    log_prob_method = "bound"  # of images; what has no levels has the density that the probability flow gives
    ends_paths = False  # whether an estimate is the end of the path that x_t is on, not the mean of the data given x_t

    def __init__(
        self,
        shape,
        *,
        network=None,
        schedule="cosine",
        prediction=None,
        times="uniform",
        weight=None,
        num_classes=None,
        label_dropout=0.1,
        conditions=(),
        sampler=None,
        clip=None,
        uncertainty=False,
        ema=0.999,
        name="ddpm",
        dtype=None,
    ):
        own = of_classes(num_classes, label_dropout)
        super().__init__(ema=ema, conditions=[*own, *Conditions(conditions)], name=name, dtype=dtype)
        self.shape = checks.shape("shape", shape)
        self.num_classes = own[0].count if own else None
        self.label_dropout = checks.in_range("label_dropout", label_dropout, 0.0, 1.0)
        self.schedule = schedules.get(schedule)
        self.prediction = default_prediction(self.schedule) if prediction is None else predictions.get(prediction)
        self.times, self.weight = laws.get_times(times), laws.get_weight(weight)
        self.sampler = default_sampler(self.shape, self.schedule) if sampler is None else samplers.get(sampler)
        if isinstance(clip, str):
            checks.one_of("clip", clip, ["data"])
        self.clip = self.is_image if clip is None else clip if clip == "data" else bool(clip)
        if self.schedule.ends_in_noise and self.prediction.needs_data:
            raise ValueError(
                f"prediction: {self.schedule!r} leaves nothing of the data at t = 1, where {self.prediction!r} says nothing of it. Expected "
                "'velocity', 'data' or 'flow'."
            )
        self._check_sampler(self.sampler)
        if network is None:
            network = default_network(self.shape, self.conditions, self.prediction.outputs, self.dtype_policy)
        self.network = network
        self._check_network()
        self.uncertainty = bool(uncertainty)
        if self.uncertainty:
            if type(self).objective is not DDPM.objective:
                raise ValueError(f"uncertainty: {type(self).__name__} has a loss of its own; expected False.")
            self.log_variance = LogVariance()
        self.keep_average_of("network")

    @property
    def is_image(self):
        """Whether examples are images, which lie in [-1, 1]."""
        return len(self.shape) == 3

    @property
    def likelihood(self):
        """What ``log_prob`` gives: a bound on the probability of an image's levels, or the exact density of other data."""
        return "bound" if self.is_image else "exact"

    @property
    def has_levels(self):
        """Whether ``bits_per_dim`` is of probabilities of levels, such as those of a pixel."""
        return self.is_image

    @property
    def data_name(self):
        """What the data is called in ``fit({"image": ..., ...})``."""
        return "image" if self.is_image else "x"

    def _check_network(self):
        """Calls the network on shapes: it must take these inputs and return what is to be predicted."""
        symbols = [keras.KerasTensor((None, *self.shape)), keras.KerasTensor((None,)), *self.conditions.symbols()]
        shape = (*self.shape[:-1], self.prediction.outputs * self.shape[-1])
        try:
            output = self.network(symbols)
        except Exception as error:
            names = ", ".join(["x_t", "t", *self.conditions.specs()])
            raise ValueError(
                f"network: expected a network that takes [{names}] with x_t of shape (B, {', '.join(map(str, self.shape))}); "
                f"it failed on such inputs: {error}"
            ) from error
        if tuple(output.shape[1:]) != shape:
            raise ValueError(
                f"network: expected outputs shaped like {'x_t' if self.prediction.outputs == 1 else 'the prediction wants'}, {shape}, "
                f"received {tuple(output.shape[1:])}."
            )

    def default_optimizer(self):
        return keras.optimizers.AdamW(1e-3, weight_decay=1e-4, clipnorm=1.0)

    def denoiser(self, training=False, clip=True):
        """The denoiser: of the averaged weights where they are kept, unless it is for ``training``.

        Its estimates are clipped where the model clips them, unless ``clip`` is false; in training they never are.
        """
        clip = self.clip if clip and not training else False
        return Denoiser(self.network_for(training), self.schedule, self.prediction, clip)

    def call(self, inputs, training=False):
        """The network's output for [x_t, t, *conditions]."""
        return self.network(inputs, training=training)

    # Training.

    def check_examples(self, x):
        (checks.images if self.is_image and self.clip else checks.rows)("x", x, self.shape)
        return len(x)

    def objective(self, batch, training):
        """w(t) |output - target|^2, averaged over an example's values, at a random time each (Ho et al. 2020, Eq. 14)."""
        x, noise = self.pairs(batch, training)
        t = self.times.times(batch.strata, self.schedule)
        values = (
            self.conditions.dropped(batch.conditions, random.fold_in(batch.seeds, 1)) if training else batch.conditions
        )
        losses = self.loss_at(self.denoiser(training), x, t, noise, values, training)
        return (self.log_variance.weighted(losses, t) if self.uncertainty else losses), {}

    def pairs(self, batch, training):
        """Data and noise of a batch, float32 tensors (B, *shape) of which the rows belong together."""
        return ops.cast(batch.x, "float32"), random.normal(batch.seeds, self.shape)

    def loss_at(self, denoiser, x, t, noise, values, training=False):
        """The loss of each row at given times and noise: float32 tensor (B,)."""
        output = denoiser.output(self.schedule.add_noise(x, t, noise), t, values, training)
        weight = 1.0
        if self.weight is not None:
            own = self.prediction.data_weight(self.schedule.alpha(t), self.schedule.sigma(t))
            weight = self.weight.weight(t, self.schedule) / own
        return self.prediction.loss(output, x, noise, t, self.schedule, weight)

    # Sampling.

    def sample(
        self, n, *, seed=None, labels=None, guidance=None, steps=None, sampler=None, batch_size=None, **conditions
    ):
        """Draws samples.

        Args:
            n: how many.
            seed: int, or None for another result each time. Row i depends on (seed, i) alone.
            labels: for a model with classes: one int or name for all rows, or (n,) ints in [0, num_classes); None samples without a class.
            guidance: how strongly samples are drawn towards what they are conditioned on: None or 1 is the model's own conditional, 2 to 5
                are usual. Or a ``Guidance``, such as ``ClassifierFreeGuidance(3, negative={"labels": 0})`` or ``AutoGuidance(weaker)``.
            steps: number of steps; the sampler's own by default.
            sampler: "ddim", "ancestral" or a ``Sampler``; the model's by default.
            batch_size: rows per compiled call; at most 256 by default.
            **conditions: the model's other conditions, by name: one value for all rows, or n of them.
        Returns:
            numpy float32 array (n, *shape); images are in [-1, 1].
        Raises:
            ValueError: n, labels, conditions, guidance, steps or sampler out of range.
        """
        common = {"seed": seed, "guidance": guidance, "steps": steps, "sampler": sampler, "batch_size": batch_size}
        return self.asked(n, **common, labels=labels, **conditions).run(self, "sample", self.sample_rows)

    def trajectory(self, n, *, frames=8, **sampling):
        """The way from noise to samples, for a look at it: ``samples`` of the same seed are its last frames.

        Args:
            n: how many.
            frames: states after the noise, evenly spaced over the steps; at most as many as steps.
            **sampling: ``seed``, ``labels``, ``guidance``, ``steps``, ``sampler``, ``batch_size`` and conditions, as in ``sample``.
        Returns:
            numpy float32 array (n, frames + 1, *shape): the first frame is noise, the last the sample.
        Raises:
            ValueError: as ``sample``; more frames than steps.
        """
        asked = self.asked(n, **sampling)
        steps = asked.sampler.steps
        if checks.positive_int("frames", frames) > steps:
            raise ValueError(f"frames: expected at most the {steps} steps of the sampler, received {frames}.")

        def rows(seeds, values, strength, *, sampler, guide):
            denoise = self.denoise(self.conditioned(values, seeds), strength, guide)
            states = sampler.path(denoise, self.schedule, seeds, self.shape, frames)
            return ops.concatenate([ops.swapaxes(states[:-1], 0, 1), self.clipped(states[-1])[:, None]], axis=1)

        return asked.run(self, ("trajectory", frames), rows)

    def asked(self, n, *, seed=None, guidance=None, steps=None, sampler=None, batch_size=None, **given):
        """What ``sample`` was asked for, checked: see ``Asked``. ``given`` are labels and other conditions.

        Whatever samples in another way takes these keywords as its ``**sampling`` and hands them on to here.
        """
        sampler = samplers.get(self.sampler if sampler is None else sampler, steps)
        self._check_sampler(sampler)
        arrays = {"seeds": self.row_seeds(n, seed), **self.conditions.rows(n, given)}
        if guidance is None:
            return Asked(arrays, sampler, None, batch_size)
        guide = guidances.get(guidance)
        guide.check(self, {k for k, v in given.items() if v is not None})
        return Asked({**arrays, "strength": np.full((n,), guide.strength, "float32")}, sampler, guide, batch_size)

    def _check_sampler(self, sampler):
        sampler.check(self.schedule)
        if self.ends_paths and sampler.follows_paths:
            raise ValueError(
                f"sampler: {type(self).__name__} estimates the end of the path that an example is on, along which {sampler!r} would go step "
                "by step. Expected a ConsistencySampler."
            )

    # What takes row seeds and tensors, and is compiled and served.

    def conditioned(self, values, seeds):
        """Conditions by name (B, ...) as the network is given them in sampling; noise that a model adds to them is of the rows' ``seeds``."""
        return values

    def denoise(self, values, strength=None, guide=None):
        """A function that maps (x_t, t) to an ``Estimate``.

        Args:
            values: dict from the name of each condition's tensors to a tensor (B, ...).
            strength: float tensor (B,), the guidance of each row, or None.
            guide: a ``Guidance``; without a classifier by default.
        """
        denoiser = self.denoiser()
        if strength is not None:
            guide = guidances.ClassifierFreeGuidance() if guide is None else guide
            denoiser = guide.around(denoiser, self.conditions, strength)
        return lambda x_t, t: denoiser(x_t, t, values)

    def sample_rows(self, seeds, values=None, strength=None, *, sampler=None, guide=None, **start):
        """Samples of row seeds: float32 tensor (B, *shape).

        Args:
            seeds: int32 tensor (B, 2).
            values, strength, guide: as in ``denoise``.
            sampler: a ``Sampler``; the model's by default.
            **start: ``x``, ``start`` and ``steps`` as in ``Sampler.sample``.
        """
        sampler = self.sampler if sampler is None else sampler
        denoise = self.denoise(self.conditioned(values or {}, seeds), strength, guide)
        return self.clipped(sampler.sample(denoise, self.schedule, seeds, self.shape, **start))

    def clipped(self, x):
        """``x`` within the range of images, where the model is of such."""
        return ops.clip(x, -1.0, 1.0) if self.clip else x

    # Likelihood.

    def log_prob(
        self,
        x,
        *,
        method=None,
        labels=None,
        levels=256,
        num_samples=None,
        seed=0,
        batch_size=None,
        **conditions,
    ):
        """The log-likelihood of data, by one of two ways.

        "bound" is the variational bound on the probability of images whose values are at levels (see ``variational_bound``). "ode" is the
        density by the probability flow (see ``ODELikelihood``); of images at levels it is a bound too: uniform noise fills a level's cell,
        and E_u[ln p(x + u)] plus the logarithm of the cell's volume is at most ln P(x) (Theis et al. 2016, section 3.1, arXiv 1511.01844).

        Args:
            x: float array (B, *shape); images are in [-1, 1], at ``levels`` equally spaced values.
            method: "bound", "ode" or an ``ODELikelihood``; by default the bound for images, and the flow for other data.
            labels, conditions: as in ``sample``.
            levels: number of values that a pixel can have: 256 for bytes, 17 for the digits. None for the density of images as they are,
                by "ode". Of other data it says nothing.
            num_samples: of the bound, the terms that are evaluated per example: 100 by default, and the schedule's ``num_steps`` gives all
                of them. Of the flow, the random signs of an estimated trace, those of ``method`` by default.
            seed: int; the estimate's randomness.
            batch_size: rows per compiled call.
        Returns:
            numpy float32 array (B,), nats: an unbiased estimate of the bound, or the density. NaN, with a warning, where the solver did
            not arrive.
        Raises:
            ValueError: x is not as above, or the bound of what has no levels.
        """
        method = likelihoods.get((self.log_prob_method if self.is_image else "ode") if method is None else method)
        if method == "bound" and not (self.is_image and levels is not None):
            raise ValueError(
                f"method: the bound is of images whose values are at levels=; data of shape {self.shape} without has a density: "
                "method='ode'."
            )
        x = self.examples(x)
        if num_samples is not None:
            checks.positive_int("num_samples", num_samples)
        levels = checks.positive_int("levels", levels) if self.is_image and levels is not None else None
        if levels is not None:
            checks.levels("x", x, levels)
        arrays = {"x": x, "seed": random.row_seeds(seed, len(x))}
        arrays.update(self.conditions.rows(len(x), {"labels": labels, **conditions}))
        if method == "bound":
            terms = num_samples or 100

            def run(x, seed, **values):
                return variational_bound(self.denoise(values), self.schedule, x, seed, levels, terms)

            return self.run_rows(("log_prob", levels, terms), run, arrays, batch_size=batch_size, loop=True)
        if num_samples is not None:
            method = likelihoods.ODELikelihood(**{**method.get_config(), "num_samples": num_samples})

        def flow(x, seed, **values):
            denoiser, size = self.denoiser(clip=False), 0.0
            if levels is not None:
                cell = 2.0 / (levels - 1)
                x = x + cell * (random.uniform(random.fold_in(seed, 1), self.shape) - 0.5)
                size = math.prod(self.shape) * math.log(cell)
            return size + method.log_prob(lambda x_t, t: denoiser(x_t, t, values), self.schedule, x, seed)

        found = self.run_rows(("log_prob", levels, method), flow, arrays, batch_size=batch_size, loop=True)
        if np.isnan(found).any():
            warnings.warn(
                f"log_prob: {np.isnan(found).sum()} of {len(found)} rows are NaN: the solver did not arrive. Give it more steps or a larger "
                "tolerance: method=ODELikelihood(solver=DormandPrinceSolver(rtol=1e-4, max_steps=10000)).",
                RuntimeWarning,
                stacklevel=2,
            )
        return found

    def bits_per_dim(self, x, **kwargs):
        """``-log_prob(x, ...)`` in bits per value: numpy array (B,)."""
        return bits_per_dim(self.log_prob(x, **kwargs), self.shape)

    def endpoints(self):
        inputs = dict(self.conditions.specs())
        if self.conditions.droppable:
            doc = "strength of what is given; 1 is the model's own conditional"
            inputs["guidance"] = TensorSpec((), "float32", doc, 0.0, 100.0, 1.0, kind="number")
        counts, most = {}, self.sampler.steps
        if most > 1:
            counts["steps"] = TensorSpec((), "int32", "number of sampling steps", 1, most, most, kind="number")

        def sample(seed, guidance=None, steps=None, **values):
            return {"images": self.sample_rows(seed, values, guidance, steps=steps)}

        def denoise(x, t, guidance=None, **values):
            denoiser = self.denoiser()
            if guidance is not None:
                denoiser = guidances.ClassifierFreeGuidance().around(denoiser, self.conditions, guidance)
            return {"output": ops.cast(denoiser.output(x, t, values), "float32")}

        outputs = {"images": f"samples in [-1, 1], {self.sampler!r}" if self.is_image else f"samples, {self.sampler!r}"}
        noisy = {
            "x": TensorSpec(self.shape, "float32", "x_t, noised data"),
            "t": TensorSpec((), "float32", "time: 0 is clean data, 1 is noise", 0.0, 1.0, kind="number"),
        }
        output = {"output": f"the network's output at time t, {self.prediction!r}"}
        images = ("images",) if self.is_image else ()
        return [
            Endpoint("sample", sample, {"seed": SEED, **inputs, **counts}, outputs, images=images),
            Endpoint("denoise", denoise, {**noisy, **inputs}, output),
        ]

    def further_endpoints(self):
        """``translate`` and ``inpaint``, of images."""
        from kgen.diffusion import served  # when asked, since what it serves imports this file

        return served.further_endpoints(self)

    def views(self):
        found = super().views()
        if self.is_image and any(view.name == "sample" for view in found):
            found.append(views.between("kgen.diffusion.interpolate", "frames", found[0].conditions))
        return found

    def options(self, call):
        """The sampler, and of ``inpaint`` how often a step is taken."""
        named = TensorSpec((), "string", "how the way is cut into steps", choices=tuple(samplers.names()))
        if call == "inpaint":
            often = TensorSpec((), "int32", "how often each step is taken", 1, 20, 10, kind="number")
            return {"resamples": often, "sampler": named}
        return {"sampler": named} if call in ("sample", "translate", "trajectory") else {}

    def get_config(self):
        own = [] if self.num_classes is None else list(self.conditions)[:1]
        return {
            **super().get_config(),
            "shape": list(self.shape),
            "network": keras.saving.serialize_keras_object(self.network),
            "schedule": keras.saving.serialize_keras_object(self.schedule),
            "prediction": keras.saving.serialize_keras_object(self.prediction),
            "times": keras.saving.serialize_keras_object(self.times),
            "weight": self.weight and keras.saving.serialize_keras_object(self.weight),
            "num_classes": own[0].num_classes if own else None,
            "label_dropout": self.label_dropout,
            "conditions": self.conditions.get_config()[len(own) :],
            "sampler": keras.saving.serialize_keras_object(self.sampler),
            "clip": self.clip,
            "uncertainty": self.uncertainty,
        }


def check_estimates(name, model):
    """Raises ValueError where the estimates of a ``DDPM``, the argument ``name``, are not means of the data given x_t."""
    if model.ends_paths:
        raise ValueError(
            f"{name}: expected a diffusion model, whose estimates show the way from noise to data step by step; {type(model).__name__} "
            "estimates its end. Pass the model that it was made from, or another one trained on the same data."
        )


def check_model(model, hint="", name="model"):
    """Raises TypeError unless ``model``, the argument ``name``, is a ``DDPM``: what samples in other ways than ``sample`` asks it first."""
    if not isinstance(model, DDPM):
        raise TypeError(
            f"{name}: expected a DDPM, whose samples are the data itself, received {type(model).__name__}.{hint}"
        )
