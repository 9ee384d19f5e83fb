"""What an energy model's network is trained on."""

import math

import keras
from keras import ops

from kgen import backend
from kgen.core import checks, random
from kgen.core.config import Configured, resolve
from kgen.numerics.ode import per_row


class Criterion(Configured):
    """Base class. It is data: what it keeps between steps are weights of the model."""

    log_names = ()

    def build(self, model):
        """Adds to ``model`` the weights that hold what is kept between steps."""

    def losses(self, model, x, training, seeds):
        """The loss of each example and what to log beside it.

        Args:
            model: the ``EnergyModel``.
            x: float32 tensor (B, *shape).
            training: bool; where false the result is the same each time and nothing is kept.
            seeds: int32 tensor (B, 2), row seeds of this step.
        Returns:
            ``(losses, logs)``: (B,), and a dict of (B,) or scalars.
        """
        raise NotImplementedError


@keras.saving.register_keras_serializable(package="kgen")
class ContrastiveDivergence(Criterion):
    """Maximum likelihood with chains in place of the model's own samples.

    grad -ln p(x) = grad E(x) - <grad E(x')>_p is the gradient of E(x) - E(x'), where x' comes from chains of ``steps`` steps of the
    model's sampler. They start in a buffer of ``buffer_size`` earlier chains, a share ``restart`` of them from noise, and go back to
    their places in the buffer; without a buffer they start at the data (CD-k). To that is added alpha (f(x)^2 + f(x')^2) of
    the network's part f of the energy, which keeps it near 0 (Du & Mordatch 2019, section 3.3).

    Args:
        steps: k, steps of the chains in each training step.
        buffer_size: number of chains that are kept, or 0 for none.
        restart: share of the chains that start again from noise, in [0, 1]; 0.05 in the paper.
        alpha: weight of the squares.
        data_noise: standard deviation of the noise that is added to the data in training, in units of x. With it data on a thin set, such
            as images with a constant margin, have a density that chains can follow; samples have that noise too.
    Reference:
        Hinton 2002; Du & Mordatch, Implicit generation and modeling with energy-based models, 2019, section 3, arXiv 1903.08689.
    """

    log_names = ("gap", "acceptance", "diverged")

    def __init__(self, steps=20, buffer_size=10_000, restart=0.05, alpha=0.01, data_noise=0.0):
        self.steps = checks.positive_int("steps", steps)
        self.buffer_size = int(checks.in_range("buffer_size", buffer_size, 0, 2**31 - 1))
        self.restart = checks.in_range("restart", restart, 0.0, 1.0)
        self.alpha = checks.in_range("alpha", alpha, 0.0, 1e6)
        self.data_noise = checks.in_range("data_noise", data_noise, 0.0, 1e6)

    def build(self, model):
        if self.buffer_size:
            noise = keras.initializers.RandomNormal(stddev=model.reference_scale)
            shape = (self.buffer_size, *model.shape)
            model.buffer = model.add_weight(
                shape=shape, initializer=noise, trainable=False, dtype="float32", name="buffer"
            )

    def losses(self, model, x, training, seeds):
        if self.data_noise and training:
            x = x + self.data_noise * random.normal(random.fold_in(seeds, 0), model.shape)
        chains, logs = self._chains(model, ops.stop_gradient(x), training, seeds)
        data, model_energy = model.energy_of(x, training=training), model.energy_of(chains, training=training)
        own, models = data - model.reference_energy(x), model_energy - model.reference_energy(chains)  # the network's
        losses = data - self._beside(model_energy)
        logs["gap"] = -losses
        return losses + self.alpha * (ops.square(own) + self._beside(ops.square(models))), logs

    def _beside(self, values):
        """What stands beside each row's data, of the chains' ``values``: so that weights of rows weigh the chains too.

        A chain that started at row i is row i's; chains from the buffer are nobody's, and every row has their mean.
        """
        return ops.mean(values) if self.buffer_size else values

    def _chains(self, model, x, training, seeds):
        """Chains after ``steps`` steps, and their logs. Where the buffer is smaller than the batch, all of it runs."""
        start = x
        if self.buffer_size:
            order = ops.arange(self.buffer_size, dtype="int32")
            if training:  # without replacement: each place is written once
                order = keras.random.shuffle(order, seed=model.seed_generator)
            places = order[: ops.shape(x)[0]]
            start = ops.take(ops.convert_to_tensor(model.buffer), places, axis=0)
        seeds = seeds[: ops.shape(start)[0]]
        noise = model.reference_scale * random.normal(random.fold_in(seeds, 1), model.shape)
        if self.buffer_size:
            fresh = random.uniform(random.fold_in(seeds, 2), ()) < self.restart
            start = ops.where(per_row(fresh, start), noise, start)
        result = model.sampler.run(model.energy_of, start, random.fold_in(seeds, 3), self.steps)
        chains = ops.where(per_row(result["diverged"], noise), noise, result["x"])  # a chain that diverged starts again
        if self.buffer_size and training:
            model.buffer.assign(ops.scatter_update(ops.convert_to_tensor(model.buffer), places[:, None], chains))
        diverged = ops.mean(ops.cast(result["diverged"], "float32"))
        return ops.stop_gradient(chains), {"acceptance": ops.mean(result["acceptance"]), "diverged": diverged}


@keras.saving.register_keras_serializable(package="kgen")
class DenoisingScoreMatching(Criterion):
    """1/2 |sigma s(x + sigma e) + e|^2 with the score s = -grad E and e from N(0, I).

    Its minimum is the score of the data with noise N(0, sigma^2 I) added: no chain is run, and the energy is learned up to a
    constant. The network should be smooth (silu, tanh, softplus): its gradient is what is fitted.

    Args:
        sigma: standard deviation of the noise, in units of x.
    Reference:
        Vincent, A connection between score matching and denoising autoencoders, 2011, Eq. 13 (here times sigma^2).
    """

    def __init__(self, sigma=0.1):
        self.sigma = checks.in_range("sigma", sigma, 1e-6, 1e6)

    def losses(self, model, x, training, seeds):
        noise = random.normal(seeds, model.shape)
        slope = backend.grad(lambda v: model.energy_of(v, training=training), x + self.sigma * noise)
        error = ops.reshape(noise - self.sigma * slope, (-1, math.prod(model.shape)))
        return 0.5 * ops.sum(ops.square(error), axis=-1), {}


@keras.saving.register_keras_serializable(package="kgen")
class SlicedScoreMatching(Criterion):
    """v^T grad(v^T s(x)) + 1/2 |s(x)|^2 with the score s = -grad E and one random direction v from N(0, I) for each example.

    Its minimum is the score of the data itself, without noise; it takes third derivatives of the network,
    which must be smooth: of a piecewise linear one (relu) the second is 0, and what is learned is a flat energy.

    Reference:
        Song et al., Sliced score matching, 2019, Eq. 8 (with variance reduction), arXiv 1905.07088.
    """

    def losses(self, model, x, training, seeds):
        v = random.normal(seeds, model.shape)
        axes = tuple(range(1, len(x.shape)))

        def slope(x):
            return backend.grad(lambda u: model.energy_of(u, training=training), x)

        along = backend.grad(lambda x: ops.sum(v * slope(x), axis=axes), x)  # the Hessian of E times v
        losses = 0.5 * ops.sum(ops.square(slope(x)), axis=axes) - ops.sum(v * along, axis=axes)
        return losses, {}


def get(criterion):
    """A ``Criterion`` from itself, one of three names, or its configuration."""
    names = {
        "contrastive_divergence": ContrastiveDivergence,
        "denoising_score_matching": DenoisingScoreMatching,
        "sliced_score_matching": SlicedScoreMatching,
    }
    return resolve("criterion", criterion, Criterion, names)
