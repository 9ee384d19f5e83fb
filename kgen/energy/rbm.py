"""The restricted Boltzmann machine.

E(v, h) = -g(v) - c . h - u(v) W h over visible units v and hidden units h in {0, 1}; p(v) = exp(-F(v)) / Z with the free energy F.

Reference:
    Smolensky 1986; Hinton, Training products of experts by minimizing contrastive divergence, 2002; Tieleman, Training restricted
    Boltzmann machines using approximations to the likelihood gradient, 2008; Hinton, A practical guide to training restricted
    Boltzmann machines, 2010.
"""

import math

import keras
import numpy as np
from keras import ops

from kgen.core import Endpoint, GenerativeModel, TensorSpec, checks, random
from kgen.core.endpoints import SEED
from kgen.energy import gibbs, partition, visibles

START = 0x5EED  # the stream of seeds from which chains get their starts; the steps use the rows' own
STEPS = 200


@keras.saving.register_keras_serializable(package="kgen")
class RBM(GenerativeModel):
    """A restricted Boltzmann machine with Bernoulli hidden units, trained by contrastive divergence (CD-k) or its persistent form.

    The loss is F(x) - F(x'), where x' has gone through k Gibbs steps: from x itself (CD-k), or from chains that go on from step to
    step (PCD). Its gradient is the estimate of that of -ln p(x); its value is no measure of progress.

    Args:
        visible_shape: shape of one example: (H, W, C) for images in [-1, 1], or any shape, such as (D,).
        hidden: number of hidden units. Up to 20, ln Z and so ``log_prob`` are exact, by enumeration.
        visible: "bernoulli" (data in [-1, 1], v = (x + 1) / 2), "gaussian" (v = x), or a ``Visible``.
        gibbs_steps: k.
        chains: number of persistent chains, or 0 for CD-k.
        ema: decay of averaged weights that everything but training uses, or None.
    """

    log_names = ("loss", "reconstruction")

    def __init__(
        self,
        visible_shape,
        hidden=128,
        *,
        visible="bernoulli",
        gibbs_steps=1,
        chains=0,
        ema=None,
        name="rbm",
        dtype=None,
    ):
        super().__init__(ema=ema, conditions=[], name=name, dtype=dtype)
        self.visible_shape = checks.shape("visible_shape", visible_shape)
        self.hidden = checks.positive_int("hidden", hidden)
        self.visible = visibles.get(visible)
        self.gibbs_steps = checks.positive_int("gibbs_steps", gibbs_steps)
        self.chains = int(checks.in_range("chains", chains, 0, 2**31 - 1))
        self.size = math.prod(self.visible_shape)
        self.couplings = gibbs.Couplings(self.size, self.hidden)
        # The independent units at which annealed importance sampling begins; see ``adapt``.
        self.base_bias = self._kept((self.size,), "base_bias")
        if self.chains:
            self.chain_states = self._kept((self.chains, self.size), "chain_states")
            self.chain_states.assign(self.visible.start((self.chains, self.size)))
        self.keep_average_of("couplings")

    def _kept(self, shape, name):
        return self.add_weight(shape=shape, initializer="zeros", trainable=False, dtype="float32", name=name)

    @property
    def latent_shape(self):
        """Shape of one row's hidden units, as ``encode`` gives them."""
        return (self.hidden,)

    @property
    def likelihood(self):
        """What ``log_prob`` gives: "exact" up to 20 hidden units; beyond, its constant ln Z is estimated."""
        return "exact" if self.hidden <= partition.ENUMERABLE else "unnormalised"

    # Training.

    def check_examples(self, x):
        self._check(x)
        self.visible.check(x)
        return len(x)

    def _check(self, x):
        bounded = len(self.visible_shape) == 3 or isinstance(self.visible, visibles.BernoulliVisible)
        (checks.images if bounded else checks.rows)("x", x, self.visible_shape)

    def adapt(self, x):
        """Sets the visible biases to those of independent units with the data's means: the best start of training and of AIS.

        Args:
            x: float array (N, *visible_shape), the training data. Call it before ``fit``.
        Reference:
            Hinton 2010, section 8; Salakhutdinov & Murray 2008, section 4.1.
        """
        x = checks.data_array("x", x)
        self.check_data(x)
        bias = self.visible.bias_of(self.visible.from_data(x.reshape(len(x), self.size).astype("float64")))
        self.base_bias.assign(bias)
        self.couplings.visible_bias.assign(bias)
        self.averaged("couplings").visible_bias.assign(bias)

    def objective(self, batch, training):
        v = self._states(ops.cast(batch.x, "float32"))
        weights = self.couplings.tensors()
        start = ops.convert_to_tensor(self.chain_states) if self.chains else v
        # Persistent chains are not those of rows, and there are as many as there are.
        seeds = random.row_stream(batch.seeds[:1], 0, self.chains) if self.chains else batch.seeds
        model_v = gibbs.run(self.visible, weights, start, seeds, self.gibbs_steps)
        if self.chains and training:
            self.chain_states.assign(model_v)
        model_energy = gibbs.free_energy(self.visible, weights, model_v)
        if self.chains:  # which are no row's; a chain that started at row i is row i's, and has its weight
            model_energy = ops.mean(model_energy)
        losses = gibbs.free_energy(self.visible, weights, v) - model_energy
        error = ops.mean(ops.square(v - self._reconstructed(v, weights)), axis=-1)
        return losses, {"reconstruction": error}

    # The protocol. What ends in _rows takes and gives tensors, and is what is compiled and served.

    def _weights(self):
        return self.averaged("couplings").tensors()

    def _states(self, x):
        return self.visible.from_data(ops.reshape(x, (-1, self.size)))

    def _data_of(self, v):
        x = ops.reshape(self.visible.to_data(v), (-1, *self.visible_shape))
        return ops.clip(x, -1.0, 1.0) if len(self.visible_shape) == 3 else x

    def encode_rows(self, x):
        """p(h = 1 | x), float32 (B, hidden)."""
        return ops.sigmoid(gibbs.hidden_input(self.visible, self._weights(), self._states(x)))

    def decode_rows(self, h):
        """The mean of p(x | h), float32 (B, *visible_shape)."""
        weights = self._weights()
        return self._data_of(self.visible.mean(weights.visible_bias, gibbs.field(weights, h)))

    def _reconstructed(self, v, weights):
        """One mean-field step: the mean of p(v | h = mean of p(h | v))."""
        h = ops.sigmoid(gibbs.hidden_input(self.visible, weights, v))
        return self.visible.mean(weights.visible_bias, gibbs.field(weights, h))

    def reconstruct_rows(self, x):
        """``decode_rows(encode_rows(x))``."""
        return self.decode_rows(self.encode_rows(x))

    def energy_rows(self, x):
        """The free energy, float32 (B,)."""
        return gibbs.free_energy(self.visible, self._weights(), self._states(x))

    def call(self, x, training=False):
        """The free energy (B,)."""
        return gibbs.free_energy(self.visible, self.couplings.tensors(), self._states(ops.cast(x, "float32")))

    def sample(self, n, *, seed=None, steps=STEPS, noise=True, batch_size=None):
        """Runs Gibbs chains from independent units.

        Args:
            n: how many.
            seed: int, or None for another result each time. Row i depends on (seed, i) alone.
            steps: number of Gibbs steps.
            noise: whether to draw x from p(x | h), as a sample is; else its mean is returned, which is smoother to look at.
            batch_size: chains per compiled call; at most 256 by default.
        Returns:
            numpy float32 array (n, *visible_shape); images are in [-1, 1].
        """
        steps = checks.positive_int("steps", steps)
        key = ("sample", steps, bool(noise))
        seeds = self.row_seeds(n, seed)
        return self.run_rows(
            key, lambda seeds: self.sample_rows(seeds, steps, noise), [seeds], batch_size=batch_size, loop=True
        )

    def sample_rows(self, seeds, steps=STEPS, noise=True):
        """Chains of row seeds (B, 2) from independent units: float32 (B, *visible_shape)."""
        bias = ops.convert_to_tensor(self.base_bias)
        nothing = ops.zeros((ops.shape(seeds)[0], self.size))
        start = self.visible.sample(bias, nothing, random.fold_in(seeds, START), 0)
        return self._data_of(self._chain(start, seeds, steps, noise))

    def _chain(self, v, seeds, steps, noise, known=None):
        """``steps`` Gibbs steps, the last of them to the mean of p(v | h) unless there is to be noise."""
        weights = self._weights()
        if noise:
            return gibbs.run(self.visible, weights, v, seeds, steps, known)
        v = gibbs.run(self.visible, weights, v, seeds, steps - 1, known)
        h = gibbs.draw_hidden(self.visible, weights, v, seeds, 2 * (steps - 1))
        mean = self.visible.mean(weights.visible_bias, gibbs.field(weights, h))
        return mean if known is None else ops.where(known, v, mean)

    def complete(self, x, mask, *, seed=None, steps=STEPS, noise=True, batch_size=None):
        """Draws what is missing given what is known: Gibbs chains whose known units keep their values.

        Args:
            x: float array (B, *visible_shape); what it holds where nothing is known does not matter, as long as it is in range.
            mask: bool array (B, *visible_shape) or (*visible_shape), true where ``x`` is known; for images also (H, W), of pixels.
            seed, steps, noise, batch_size: as in ``sample``.
        Returns:
            numpy float32 array (B, *visible_shape), equal to ``x`` where it is known.
        """
        steps = checks.positive_int("steps", steps)
        x, mask = self._data(x), np.asarray(mask)
        if len(self.visible_shape) == 3 and mask.shape == self.visible_shape[:2]:  # of an image's pixels
            mask = mask[..., None] & np.ones(self.visible_shape, bool)
        if mask.dtype != bool or mask.shape not in (x.shape, self.visible_shape):
            raise ValueError(
                f"mask: expected booleans of shape {x.shape} or {self.visible_shape}, true where x is known; received {mask.dtype} of "
                f"shape {mask.shape}."
            )
        mask = np.broadcast_to(mask, x.shape)

        def run(x, mask, seeds):
            return self.complete_rows(x, mask, seeds, steps, noise)

        arrays = [x, mask.astype("float32"), self.row_seeds(len(x), seed)]
        filled = self.run_rows(("complete", steps, bool(noise)), run, arrays, batch_size=batch_size, loop=True)
        return np.where(mask, x, filled)

    inpaint = complete  # the protocol's name for it

    def complete_rows(self, x, mask, seeds, steps=STEPS, noise=True):
        """Chains whose known units, mask (B, *visible_shape) of 1 and 0, keep their values."""
        known = ops.reshape(mask, (-1, self.size)) >= 0.5
        v = self._states(x)
        bias = ops.convert_to_tensor(self.base_bias)
        start = self.visible.sample(bias, ops.zeros_like(v), random.fold_in(seeds, START), 0)
        return self._data_of(self._chain(ops.where(known, v, start), seeds, steps, noise, known))

    def encode(self, x, *, batch_size=None):
        """p(h_j = 1 | x): numpy float32 array (B, hidden), for x (B, *visible_shape)."""
        return self.run_rows("encode", self.encode_rows, [self._data(x)], batch_size=batch_size)

    def decode(self, z, *, batch_size=None):
        """The mean of p(x | h = z): numpy float32 array (B, *visible_shape), for z (B, hidden) in [0, 1]."""
        z = np.asarray(z)
        checks.rows("z", z, (self.hidden,))
        return self.run_rows("decode", self.decode_rows, [z.astype("float32")], batch_size=batch_size)

    def reconstruct(self, x, *, batch_size=None):
        """``decode(encode(x))``: numpy float32 array (B, *visible_shape)."""
        return self.run_rows("reconstruct", self.reconstruct_rows, [self._data(x)], batch_size=batch_size)

    def energy(self, x, *, batch_size=None):
        """The free energy F(x): numpy float32 array (B,), nats; ln p(x) = -F(x) - ln Z."""
        return self.run_rows("energy", self.energy_rows, [self._data(x)], batch_size=batch_size)

    def log_prob(self, x, *, log_z=None, batch_size=None):
        """ln p(x) = -F(x) - ln Z: exact up to 20 hidden units; beyond, with the estimate of ln Z by ``ais()``.

        The estimate of Z has no bias, so that of ln Z tends to be too small and ``log_prob`` too large; ``ais`` says by how much.

        Args:
            x: float array (B, *visible_shape); for Bernoulli units -1 and 1 alone.
            log_z: ln Z, where it is known already: it depends on the weights alone, and takes far longer than the rest.
            batch_size: rows per compiled call.
        Returns:
            numpy float32 array (B,), nats: log-probabilities for Bernoulli units, log-densities for Gaussian ones.
        """
        x = self._data(x)
        self.visible.check_exact(x)
        if log_z is None:
            log_z = self.log_partition() if self.hidden <= partition.ENUMERABLE else self.ais(seed=0).log_z
        return (-self.energy(x, batch_size=batch_size) - log_z).astype("float32")

    def log_partition(self):
        """ln Z in nats by summing over all states of the hidden units.

        Raises:
            ValueError: more than 20 hidden units.
        """
        if self.hidden > partition.ENUMERABLE:
            raise ValueError(
                f"log_partition: expected at most {partition.ENUMERABLE} hidden units to enumerate, this model has {self.hidden}, which "
                f"is 2^{self.hidden} states. Estimate ln Z by ais()."
            )
        states = np.arange(2**self.hidden, dtype="int32")

        def run(states):
            return partition.log_joint(self.visible, self._weights(), states)

        return partition.log_sum_exp(self.run_rows("log_partition", run, [states], batch_size=4096))

    def ais(self, *, chains=256, temperatures=5000, seed=0, batch_size=None):
        """Estimates ln Z by annealed importance sampling from independent visible units (those of ``adapt``) to the model.

        Args:
            chains: number of independent chains, at least 2; the interval narrows with its square root.
            temperatures: number of steps between the two, equally spaced in inverse temperature.
            seed: int; the estimate's randomness.
            batch_size: chains per compiled call.
        Returns:
            ``Partition``: ``log_z``, and ``low`` and ``high`` 3 standard errors around it, nats.
        Reference:
            Salakhutdinov & Murray 2008, section 4.1.
        """
        if checks.positive_int("chains", chains) < 2:
            raise ValueError(f"chains: expected at least 2, for an interval, received {chains}.")
        temperatures = checks.positive_int("temperatures", temperatures)

        def run(seeds):
            return partition.anneal(
                self.visible, ops.convert_to_tensor(self.base_bias), self._weights(), seeds, temperatures
            )

        log_weights = self.run_rows(
            ("ais", temperatures), run, [self.row_seeds(chains, seed)], batch_size=batch_size, loop=True
        )
        base = partition.log_base_partition(self.visible, ops.convert_to_tensor(self.base_bias), self.hidden)
        return partition.estimate(log_weights, float(ops.convert_to_numpy(base)))

    def _data(self, x):
        x = np.asarray(x)
        self._check(x)
        return x.astype("float32")

    def options(self, call):
        steps = TensorSpec((), "int32", "Gibbs steps of each chain", 1, 5 * STEPS, STEPS, kind="number")
        return {"steps": steps} if call in ("sample", "complete") else {}

    def endpoints(self):
        images = ("images",) if len(self.visible_shape) == 3 else ()
        output = "images" if images else "samples"
        bounded = bool(images) or isinstance(self.visible, visibles.BernoulliVisible)
        x = TensorSpec(self.visible_shape, "float32", "example", -1.0 if bounded else None, 1.0 if bounded else None)
        mask = TensorSpec(self.visible_shape, "float32", "1 where the example is known, 0 where not", 0.0, 1.0)
        return [
            Endpoint(
                "sample", lambda seed: {output: self.sample_rows(seed)}, {"seed": SEED}, {output: "samples"}, images
            ),
            Endpoint(
                "encode", lambda x: {"z": self.encode_rows(x)}, {"x": x}, {"z": "probabilities of the hidden units"}
            ),
            Endpoint(
                "reconstruct",
                lambda x: {output: self.reconstruct_rows(x)},
                {"x": x},
                {output: "means given the hidden units"},
                images,
            ),
            Endpoint(
                "complete",
                lambda x, mask, seed: {output: self.complete_rows(x, mask, seed)},
                {"x": x, "mask": mask, "seed": SEED},
                {output: "examples with what is missing drawn"},
                images,
            ),
            Endpoint(
                "energy", lambda x: {"energy": self.energy_rows(x)}, {"x": x}, {"energy": "free energy F(x), nats"}
            ),
        ]

    def get_config(self):
        return {
            **super().get_config(),
            "visible_shape": list(self.visible_shape),
            "hidden": self.hidden,
            "visible": keras.saving.serialize_keras_object(self.visible),
            "gibbs_steps": self.gibbs_steps,
            "chains": self.chains,
        }
