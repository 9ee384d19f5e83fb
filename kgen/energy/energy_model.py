"""The energy-based model of any network: p(x) = exp(-E(x)) / Z.

E(x) = f(x) + |x|^2 / 2 s^2, where f is the network's output and s the scale of a Gaussian reference measure. Where f grows at most
linearly, as that of dense layers does, the second term makes Z finite; without it nothing holds a chain that has left the data.

Reference:
    Du & Mordatch 2019, arXiv 1903.08689; Nijkamp et al., On the anatomy of MCMC-based maximum likelihood learning of energy-based
    models, 2020, arXiv 1903.12370 (the reference measure: Xie et al. 2016, Eq. 2, arXiv 1602.03264).
"""

import warnings

import keras
from keras import ops

from kgen import backend
from kgen.core import Endpoint, GenerativeModel, TensorSpec, checks, random
from kgen.core.endpoints import SEED
from kgen.energy import criteria
from kgen.energy.defaults import default_criterion, default_network, is_image
from kgen.numerics import chains

NOISE = 0x5EED  # the stream of seeds from which chains get their starts; the steps use the rows' own


@keras.saving.register_keras_serializable(package="kgen")
class EnergyModel(GenerativeModel):
    """A density given by an energy, unnormalised.

    Args:
        shape: shape of one example: (H, W, C) for images in [-1, 1], or any shape, such as (D,).
        network: f, maps (B, *shape) to (B, 1). By default convolutions for images, else three dense layers.
        criterion: "contrastive_divergence", "denoising_score_matching", "sliced_score_matching", or a ``Criterion``; by default contrastive
            divergence with settings that suit the shape.
        sampler: "langevin", "mala", "hmc", or a ``Sampler``: what ``sample`` runs, and a step of what contrastive divergence runs.
        reference_scale: s, in units of x. Chains start in N(0, s^2 I). Choose it no smaller than the data's own spread.
        ema: decay of averaged weights that everything but training uses, or None.
    """

    likelihood = "unnormalised"

    def __init__(
        self,
        shape,
        network=None,
        *,
        criterion=None,
        sampler="langevin",
        reference_scale=1.0,
        ema=None,
        name="energy_model",
        dtype=None,
    ):
        shape = checks.shape("shape", shape)
        criterion = default_criterion(shape) if criterion is None else criteria.get(criterion)
        self.log_names = ("loss", *criterion.log_names)
        super().__init__(ema=ema, conditions=[], name=name, dtype=dtype)
        self.shape = shape
        self.reference_scale = checks.in_range("reference_scale", reference_scale, 1e-6, 1e6)
        self.criterion = criterion
        self.sampler = chains.get(sampler)
        self.network = default_network(self.shape, self.dtype_policy) if network is None else network
        _check_network(self.network, self.shape)
        criterion.build(self)
        self.keep_average_of("network")

    def default_optimizer(self):
        if not is_image(self.shape):
            return keras.optimizers.Adam(1e-3)
        # Chains and energy chase each other: momentum carries the energy past them (Du & Mordatch 2019, appendix: beta_1 = 0).
        return keras.optimizers.Adam(3e-4, beta_1=0.0, clipnorm=10.0)

    # Training.

    def check_examples(self, x):
        (checks.images if len(self.shape) == 3 else checks.rows)("x", x, self.shape)
        return len(x)

    def objective(self, batch, training):
        return self.criterion.losses(self, ops.cast(batch.x, "float32"), training, batch.seeds)

    def fit(self, x=None, y=None, batch_size=None, epochs=1, verbose="auto", callbacks=None, **kwargs):
        """As ``GenerativeModel.fit``; training also stops where a chain diverges, and a warning names the step size."""
        if not isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks = [*keras.tree.flatten(callbacks or []), StopOnDivergence()]
        return super().fit(x, y, batch_size, epochs, verbose, callbacks, **kwargs)

    # The protocol.

    def energy_of(self, x, training=False, network=None):
        """E(x) of the network in training, or of ``network``: float32 tensor (B,), for a float tensor (B, *shape)."""
        network = self.network if network is None else network
        return ops.cast(network(x, training=training), "float32")[:, 0] + self.reference_energy(x)

    def reference_energy(self, x):
        """|x|^2 / (2 reference_scale^2): float32 tensor (B,), for a float tensor (B, *shape)."""
        distance = ops.sum(ops.square(ops.cast(x, "float32")), axis=tuple(range(1, len(self.shape) + 1)))
        return 0.5 * distance / self.reference_scale**2

    def energy_rows(self, x):
        """E(x), float32 (B,), of the averaged weights where they are kept."""
        return self.energy_of(x, network=self.averaged("network"))

    def score_rows(self, x):
        """-grad E(x), float32 (B, *shape)."""
        return -backend.grad(self.energy_rows, x)

    def call(self, x, training=False):
        """The energy (B,)."""
        return self.energy_of(x, training)

    def energy(self, x, *, batch_size=None):
        """E(x), known up to a constant: numpy float32 array (B,), nats, for x (B, *shape)."""
        return self.run_rows("energy", self.energy_rows, [self._data(x)], batch_size=batch_size)

    def log_prob(self, x, *, batch_size=None):
        """ln p(x) up to the constant ln Z, which is not known: -E(x), numpy float32 array (B,), nats."""
        return -self.energy(x, batch_size=batch_size)

    def score(self, x, *, batch_size=None):
        """grad ln p(x) = -grad E(x): numpy float32 array (B, *shape)."""
        return self.run_rows("score", self.score_rows, [self._data(x)], batch_size=batch_size)

    def sample(self, n, *, seed=None, steps=None, sampler=None, batch_size=None):
        """Runs chains from N(0, reference_scale^2 I).

        Args:
            n: how many.
            seed: int, or None for another result each time. Row i depends on (seed, i) alone.
            steps: number of the sampler's steps; its own by default.
            sampler: another sampler, such as one with smaller steps, for this call; the model's own by default.
            batch_size: chains per compiled call; at most 256 by default.
        Returns:
            numpy float32 array (n, *shape); images are clipped to [-1, 1].
        Raises:
            ArithmeticError: a chain diverged; the message has the step size.
        """
        sampler = self.sampler if sampler is None else chains.get(sampler)
        steps = sampler.steps if steps is None else checks.positive_int("steps", steps)

        def run(seeds):
            return self.sample_rows(sampler, seeds, steps)

        key = ("sample", sampler, steps)
        result = self.run_rows(key, run, [self.row_seeds(n, seed)], batch_size=batch_size, loop=True)
        sampler.check(result)
        return result["x"]

    def sample_rows(self, sampler, seeds, steps=None):
        """What ``Sampler.run`` gives, of chains that start in noise: see there."""
        start = self.reference_scale * random.normal(random.fold_in(seeds, NOISE), self.shape)
        result = sampler.run(self.energy_rows, start, seeds, steps)
        if len(self.shape) == 3:  # the energy knows of no range
            result["x"] = ops.clip(result["x"], -1.0, 1.0)
        return result

    def _data(self, x):
        return self.examples(x)

    def options(self, call):
        steps = TensorSpec(
            (), "int32", "steps of each chain", 1, max(1000, self.sampler.steps), self.sampler.steps, kind="number"
        )
        return {"steps": steps} if call in ("sample",) else {}

    def endpoints(self):
        images = ("images",) if len(self.shape) == 3 else ()
        output = "images" if images else "samples"
        x = TensorSpec(self.shape, "float32", "example", -1.0 if images else None, 1.0 if images else None)
        return [
            Endpoint(
                "sample",
                lambda seed: {output: self.sample_rows(self.sampler, seed)["x"]},
                {"seed": SEED},
                {output: "samples"},
                images,
            ),
            Endpoint("energy", lambda x: {"energy": self.energy_rows(x)}, {"x": x}, {"energy": "E(x), nats"}),
            Endpoint("score", lambda x: {"score": self.score_rows(x)}, {"x": x}, {"score": "-grad E(x)"}),
        ]

    def get_config(self):
        return {
            **super().get_config(),
            "shape": list(self.shape),
            "network": keras.saving.serialize_keras_object(self.network),
            "criterion": keras.saving.serialize_keras_object(self.criterion),
            "sampler": keras.saving.serialize_keras_object(self.sampler),
            "reference_scale": self.reference_scale,
        }

    @classmethod
    def from_config(cls, config):
        if "objective" in config:  # what kgen 0.1 called it
            config = {**config, "criterion": config["objective"]}
            del config["objective"]
        return super().from_config(config)


class StopOnDivergence(keras.callbacks.Callback):
    """Stops training where a chain diverged, and says which sampler it was."""

    def on_train_batch_end(self, batch, logs=None):
        if (logs or {}).get("diverged", 0.0) > 0:
            self.model.stop_training = True
            warnings.warn(
                f"Training stopped at batch {batch + 1} of this epoch: chains of {self.model.sampler!r} diverged "
                f"(|x| > {chains.LIMIT:g}, or an energy or gradient that is not finite). Those were stopped and started again from "
                "noise. Lower step_size, lower the learning rate, or raise the criterion's alpha.",
                RuntimeWarning,
                stacklevel=2,
            )


def _check_network(network, shape):
    """Calls a network on a shape: it must return one number for each row."""
    wanted = ", ".join(map(str, shape))
    try:
        output = network(keras.KerasTensor((None, *shape)))
    except Exception as error:
        raise ValueError(f"network: expected a network of inputs (B, {wanted}); it failed on them: {error}") from error
    if tuple(output.shape[1:]) != (1,):
        raise ValueError(f"network: expected outputs (B, 1), one energy for each row; received {tuple(output.shape)}.")
