"""Denoising diffusion probabilistic models.

The data is noised, x_t = alpha(t) x_0 + sigma(t) eps, and a network learns to undo it: it minimises |output - target|^2 over t, x_0 and
eps. Sampling goes from x_1 ~ N(0, I) back to t = 0. t = 0 is clean data, t = 1 is noise.

Reference:
    Ho et al., Denoising diffusion probabilistic models, 2020, arXiv 2006.11239;
    Ho & Salimans, Classifier-free diffusion guidance, 2022, arXiv 2207.12598.
"""

import keras
import numpy as np
from keras import ops

from kgen.core import Endpoint, GenerativeModel, TensorSpec, checks, random
from kgen.core.endpoints import SEED
from kgen.core.units import bits_per_dim
from kgen.diffusion import predictions, samplers, schedules
from kgen.diffusion.bound import variational_bound
from kgen.diffusion.denoiser import Denoiser
from kgen.diffusion.presets import default_unet
from kgen.diffusion.schedules import like


@keras.saving.register_keras_serializable(package="kgen")
class DDPM(GenerativeModel):
    """A denoising diffusion model of images, with or without classes.

    Args:
        image_shape: shape of one example: (H, W, C) for images in [-1, 1], or any shape together with ``network``.
        network: maps [x_t, t], or [x_t, t, label] where there are classes, to a tensor like x_t; label ``num_classes`` means "no
            class". A U-Net by default.
        schedule: "cosine", "linear", "sigmoid", or a ``Schedule``.
        prediction: what the network returns: "velocity", "noise", "data", or a ``Prediction``.
        num_classes: number of classes, or None. With classes, train by ``fit(x, labels)``.
        label_dropout: share of training examples whose label is hidden, in [0, 1): what guidance and sampling without a class need.
        sampler: the sampler of ``sample`` and of the exported endpoint: "ddim" (50 steps), "ancestral" (1000), or a ``Sampler``.
        clip: whether estimates of x_0 are clipped to [-1, 1]; by default for images only.
        ema: decay of the averaged weights that sampling uses, or None.
    """

    likelihood = "bound"

    def __init__(
        self,
        image_shape,
        *,
        network=None,
        schedule="cosine",
        prediction="velocity",
        num_classes=None,
        label_dropout=0.1,
        sampler="ddim",
        clip=None,
        ema=0.999,
        name="ddpm",
        dtype=None,
    ):
        super().__init__(ema=ema, name=name, dtype=dtype)
        self.image_shape = checks.shape("image_shape", image_shape)
        self.num_classes = None if num_classes is None else checks.positive_int("num_classes", num_classes)
        if network is None and len(self.image_shape) != 3:
            raise ValueError(
                f"image_shape: expected (H, W, C), received {self.image_shape}. Other shapes need network=."
            )
        self.network = default_unet(self.image_shape, self.num_classes) if network is None else network
        self.schedule = schedules.get(schedule)
        self.prediction = predictions.get(prediction)
        self.label_dropout = checks.in_range("label_dropout", label_dropout, 0.0, 1.0)
        self.sampler = samplers.get(sampler)
        self.clip = len(self.image_shape) == 3 if clip is None else bool(clip)
        self._build_network()
        self.keep_average_of("network")

    def _build_network(self):
        """Calls the network on shapes: it must take these inputs and return what is to be predicted."""
        inputs = [keras.KerasTensor((None, *self.image_shape)), keras.KerasTensor((None,))]
        if self.num_classes is not None:
            inputs.append(keras.KerasTensor((None,), "int32"))
        try:
            output = self.network(inputs)
        except Exception as error:
            names = "[x_t, t, label]" if self.num_classes is not None else "[x_t, t]"
            raise ValueError(
                f"network: expected a network that takes {names} with x_t of shape (B, {', '.join(map(str, self.image_shape))}); "
                f"it failed on such inputs: {error}"
            ) from error
        if tuple(output.shape[1:]) != self.image_shape:
            raise ValueError(
                f"network: expected outputs shaped like x_t, {self.image_shape}, received {tuple(output.shape[1:])}."
            )

    def denoiser(self):
        """The denoiser that sampling and likelihood use: averaged weights where they are kept."""
        return Denoiser(self.averaged("network"), self.schedule, self.prediction, self.clip, self.num_classes)

    def call(self, inputs, training=False):
        """The network's output for [x_t, t] or [x_t, t, label]."""
        return self.network(inputs, training=training)

    # Training.

    def check_data(self, x, y=None):
        check = checks.images if len(self.image_shape) == 3 else checks.rows
        check("x", x, self.image_shape)
        if self.num_classes is None and y is not None:
            raise ValueError("y: this model has no classes. Train by fit(x), or make it with num_classes=.")
        if self.num_classes is not None:
            if y is None:
                raise ValueError(f"y: this model has {self.num_classes} classes and needs labels: fit(x, labels).")
            checks.labels("y", y, self.num_classes, len(x))

    def objective(self, batch, training):
        """|output - target|^2, averaged over an example's values, at a random time each (Ho et al. 2020, Eq. 14)."""
        x = ops.cast(batch.x, "float32")
        size = ops.shape(x)[0]
        # Evaluation uses the same times and noise each time, so that its figures can be compared.
        seed = self.seed_generator if training else 0
        # Times in equal strata over the batch vary less than independent ones (Kingma et al. 2021, appendix I.1).
        shift = keras.random.uniform((), seed=seed)
        strata = (ops.cast(ops.arange(size), "float32") + shift) / ops.cast(size, "float32")
        t = (ops.floor(strata * self.schedule.num_steps) + 1.0) / self.schedule.num_steps
        t = ops.minimum(t, 1.0)
        noise = keras.random.normal(ops.shape(x), seed=seed)
        inputs = [self.schedule.add_noise(x, t, noise), t]
        if self.num_classes is not None:
            label = ops.cast(ops.reshape(batch.y, (-1,)), "int32")
            if training:
                hidden = keras.random.uniform((size,), seed=seed) < self.label_dropout
                label = ops.where(hidden, ops.full_like(label, self.num_classes), label)
            inputs.append(label)
        output = self.network(inputs, training=training)
        alpha, sigma = like(self.schedule.alpha(t), x), like(self.schedule.sigma(t), x)
        error = ops.square(ops.cast(output, "float32") - self.prediction.target(x, noise, alpha, sigma))
        return ops.mean(ops.reshape(error, (size, -1)), axis=-1), {}

    # Sampling.

    def sample(self, n, *, seed=None, labels=None, guidance=None, steps=None, sampler=None, batch_size=None):
        """Draws samples.

        Args:
            n: how many.
            seed: int, or None for another result each time. Row i depends on (seed, i) alone.
            labels: for a model with classes: one int for all rows, or (n,) ints in [0, num_classes); None samples without a class.
            guidance: how strongly samples are drawn towards their class: None or 1 is the model's own conditional, 2 to 5 are usual.
            steps: number of steps; the sampler's own by default.
            sampler: "ddim", "ancestral" or a ``Sampler``; the model's by default.
            batch_size: rows per compiled call; at most 256 by default.
        Returns:
            numpy float32 array (n, *image_shape); images are in [-1, 1].
        Raises:
            ValueError: n, labels, guidance, steps or sampler out of range.
        """
        seeds = self.row_seeds(n, seed)
        sampler = samplers.get(self.sampler if sampler is None else sampler, steps)
        arrays = [seeds, *self._conditions(n, labels, guidance)]

        def run(seeds, label=None, strength=None):
            return {"x": self._sample(sampler, seeds, label, strength)}

        return self.run_rows(("sample", sampler, len(arrays)), run, arrays, batch_size=batch_size, loop=True)["x"]

    def trajectory(
        self, n, *, frames=8, seed=None, labels=None, guidance=None, steps=None, sampler=None, batch_size=None
    ):
        """The way from noise to samples, for a look at it: ``samples`` of the same seed are its last frames.

        Args:
            n: how many.
            frames: states after the noise, evenly spaced over the steps; at most as many as steps.
            seed, labels, guidance, steps, sampler, batch_size: as in ``sample``.
        Returns:
            numpy float32 array (n, frames + 1, *image_shape): the first frame is noise, the last the sample.
        Raises:
            ValueError: as ``sample``; more frames than steps.
        """
        seeds = self.row_seeds(n, seed)
        sampler = samplers.get(self.sampler if sampler is None else sampler, steps)
        if checks.positive_int("frames", frames) > sampler.steps:
            raise ValueError(f"frames: expected at most the {sampler.steps} steps of the sampler, received {frames}.")
        arrays = [seeds, *self._conditions(n, labels, guidance)]

        def run(seeds, label=None, strength=None):
            denoise = self._denoise(label, strength)
            states = sampler.path(denoise, self.schedule, seeds, self.image_shape, frames)
            return {"x": ops.concatenate([ops.swapaxes(states[:-1], 0, 1), self._clipped(states[-1])[:, None]], axis=1)}

        key = ("trajectory", sampler, frames, len(arrays))
        return self.run_rows(key, run, arrays, batch_size=batch_size, loop=True)["x"]

    def _sample(self, sampler, seeds, label=None, guidance=None):
        return self._clipped(sampler.sample(self._denoise(label, guidance), self.schedule, seeds, self.image_shape))

    def _denoise(self, label, guidance):
        denoiser = self.denoiser()
        return lambda x_t, t: denoiser(x_t, t, label, guidance)

    def _clipped(self, x):
        return ops.clip(x, -1.0, 1.0) if self.clip else x

    def _conditions(self, n, labels, guidance):
        """The checked condition arrays of n rows: none, [labels], or [labels, guidance]."""
        if self.num_classes is None:
            for name, value in (("labels", labels), ("guidance", guidance)):
                if value is not None:
                    raise ValueError(
                        f"{name}: this model has no classes; make it with num_classes= to condition on them."
                    )
            return []
        if labels is None:
            if guidance is not None:
                raise ValueError("guidance: it draws samples towards a class; pass labels too.")
            if self.label_dropout == 0:
                raise ValueError("labels: this model was trained with label_dropout=0 and samples only with labels.")
            return [np.full((n,), self.num_classes, "int32")]
        labels = np.asarray(labels)
        labels = checks.labels("labels", np.full((n,), labels) if labels.ndim == 0 else labels, self.num_classes, n)
        if guidance is None or guidance == 1:
            return [labels]
        if self.label_dropout == 0:
            raise ValueError(
                "guidance: this model was trained with label_dropout=0 and knows no unconditional estimate."
            )
        return [labels, np.full((n,), checks.in_range("guidance", guidance, 0.0, 100.0), "float32")]

    # Likelihood.

    def log_prob(self, x, *, labels=None, levels=256, num_samples=100, seed=0, batch_size=None):
        """A lower bound on the log-likelihood of quantised images (see ``variational_bound``).

        Args:
            x: float array (B, *image_shape), in [-1, 1], at ``levels`` equally spaced values.
            labels: as in ``sample``.
            levels: number of values that a pixel can have: 256 for bytes, 17 for the digits.
            num_samples: terms of the bound that are evaluated per example; the schedule's ``num_steps`` gives all of them.
            seed: int; the estimate's randomness.
            batch_size: rows per compiled call.
        Returns:
            numpy float32 array (B,), nats: an unbiased estimate of the bound.
        """
        x = np.asarray(x)
        self.check_data(x, None if self.num_classes is None else np.zeros(len(x), "int32"))
        checks.positive_int("num_samples", num_samples)
        arrays = [x.astype("float32"), random.row_seeds(seed, len(x)), *self._conditions(len(x), labels, None)]

        def run(x, seeds, label=None):
            denoiser = self.denoiser()
            return variational_bound(
                lambda x_t, t: denoiser(x_t, t, label), self.schedule, x, seeds, levels, num_samples
            )

        return self.run_rows(("log_prob", levels, num_samples), run, arrays, batch_size=batch_size, loop=True)

    def bits_per_dim(self, x, **kwargs):
        """``-log_prob(x, ...)`` in bits per value: numpy array (B,)."""
        return bits_per_dim(self.log_prob(x, **kwargs), self.image_shape)

    def endpoints(self):
        inputs = {"seed": SEED}
        if self.num_classes is not None:
            none, hidden = self.num_classes, self.label_dropout > 0
            inputs["label"] = TensorSpec(
                (), "int32", f"class; {none} means no class", 0, none, none if hidden else None
            )
            inputs["guidance"] = TensorSpec(
                (), "float32", "strength of the class; 1 is the model's own conditional", 0.0, 100.0, 1.0
            )

        def sample(seed, label=None, guidance=None):
            return {"images": self._sample(self.sampler, seed, label, guidance)}

        def denoise(x, t, label=None, guidance=None):
            return {"output": ops.cast(self.denoiser().output(x, t, label, guidance), "float32")}

        outputs = {"images": f"samples in [-1, 1], {self.sampler!r}"}
        noisy = {
            "x": TensorSpec(self.image_shape, "float32", "x_t, noised data"),
            "t": TensorSpec((), "float32", "time: 0 is clean data, 1 is noise", 0.0, 1.0),
            **{name: spec for name, spec in inputs.items() if name != "seed"},
        }
        output = {"output": f"the network's output at time t, {self.prediction!r}"}
        return [
            Endpoint("sample", sample, inputs, outputs, images=("images",) if len(self.image_shape) == 3 else ()),
            Endpoint("denoise", denoise, noisy, output),
        ]

    def get_config(self):
        return {
            **super().get_config(),
            "image_shape": list(self.image_shape),
            "network": keras.saving.serialize_keras_object(self.network),
            "schedule": keras.saving.serialize_keras_object(self.schedule),
            "prediction": keras.saving.serialize_keras_object(self.prediction),
            "num_classes": self.num_classes,
            "label_dropout": self.label_dropout,
            "sampler": keras.saving.serialize_keras_object(self.sampler),
            "clip": self.clip,
        }
