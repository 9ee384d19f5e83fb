"""Vector quantisation."""

import math

import keras
from keras import ops

from kgen import backend
from kgen.core import checks

USAGE_DECAY = 0.99  # of the counts that show which codes are dead, where the codebook itself is trained by gradient


@keras.saving.register_keras_serializable(package="kgen")
class VectorQuantizer(keras.layers.Layer):
    """Replaces each vector by the nearest of K codes: q(z) = e_k, k = argmin_j |z - e_j|^2.

    Gradients pass straight through: dq/dz = 1. The loss of an example is the mean over its numbers of

    - commitment (z - sg[e_k])^2, which keeps z near its code, and
    - (sg[z] - e_k)^2, which draws the code to its vectors, where the codebook is trained by gradient.

    Otherwise each training call moves the codebook by exponential moving averages over batches, with n_j the number of vectors of
    code j:  N_j <- g N_j + (1 - g) n_j,  m_j <- g m_j + (1 - g) sum z,  e_j = m_j / N_j.

    A code is dead where N_j < revive_below T/K, for T vectors in the batch: a training call first puts every dead code on a random
    vector of its batch. All codes are dead at the start, so that the first batch makes the first codebook. Replicas of one step (``tf.distribute``)
    count and draw over the whole batch: each dead code gets one vector of one replica, and the codebook is that of one device.

    Args:
        num_codes: K.
        dim: length of a vector.
        ema: g, in [0, 0.99999]; None trains the codebook by gradient.
        commitment: weight of the first term.
        revive_below: share of fair use T/K below which a code is dead; 0 revives none, and the codebook starts at random.
    Call:
        z: float tensor (B, ..., dim). Returns ``(quantized, codes, losses, perplexity)``: float32 (B, ..., dim), int32 (B, ...),
        float32 (B,), and the scalar exp(-sum_j p_j ln p_j), p_j = n_j / T, which is K where all codes are used alike and 1 where one is.
    Reference:
        van den Oord et al., Neural discrete representation learning, 2017, Eq. 2, 3 and appendix A.1, arXiv 1711.00937;
        Dhariwal et al., Jukebox, 2020, section 3.1 (random restarts of dead codes), arXiv 2005.00341.
    """

    def __init__(
        self, num_codes, dim, ema=0.99, commitment=0.25, revive_below=0.02, name="quantizer", dtype="float32", **kwargs
    ):
        # In float32 whatever the global policy: distances are differences of large numbers, and counts grow past 2048.
        super().__init__(name=name, dtype=dtype, **kwargs)
        self.num_codes = checks.positive_int("num_codes", num_codes)
        self.dim = checks.positive_int("dim", dim)
        self.ema = None if ema is None else checks.in_range("ema", ema, 0.0, 0.99999)
        self.commitment = checks.in_range("commitment", commitment, 0.0, 1e6)
        self.revive_below = checks.in_range("revive_below", revive_below, 0.0, 1.0)
        self.seed_generator = keras.random.SeedGenerator()
        shape = (self.num_codes, self.dim)
        start = keras.initializers.RandomUniform(-1.0 / self.num_codes, 1.0 / self.num_codes)
        # Replicas of one step assign the same numbers, whose mean they are.
        self.codebook = self.add_weight(
            shape=shape, initializer=start, trainable=ema is None, aggregation="mean", name="codebook"
        )
        self.counts = self.add_weight(
            shape=shape[:1], initializer="zeros", trainable=False, aggregation="mean", name="counts"
        )
        if ema is not None:
            self.sums = self.add_weight(
                shape=shape, initializer="zeros", trainable=False, aggregation="mean", name="sums"
            )
        self.built = True

    def _nearest(self, codebook, z):
        # |z - e|^2 = |z|^2 - 2 z e + |e|^2, of which |z|^2 is the same for every code.
        distances = ops.sum(ops.square(codebook), axis=-1) - 2.0 * ops.matmul(z, ops.transpose(codebook))
        return ops.cast(ops.argmin(distances, axis=-1), "int32")

    def nearest(self, z):
        """The nearest code of each vector: int32 tensor (B, ...), for z (B, ..., dim)."""
        flat = ops.reshape(ops.cast(z, "float32"), (-1, self.dim))
        return ops.reshape(self._nearest(ops.convert_to_tensor(self.codebook), flat), (-1, *z.shape[1:-1]))

    def lookup(self, codes):
        """The vectors of codes: float32 tensor (B, ..., dim), for int tensor codes (B, ...) in [0, num_codes)."""
        return ops.take(ops.convert_to_tensor(self.codebook), codes, axis=0)

    def call(self, z, training=False):
        training = training and self.trainable
        shape = tuple(z.shape[1:])
        if shape[-1:] != (self.dim,):
            raise ValueError(
                f"z: expected shape (B, ..., {self.dim}), vectors as long as the codes, received {z.shape}."
            )
        flat = ops.reshape(ops.cast(z, "float32"), (-1, self.dim))
        fixed = ops.stop_gradient(flat)
        codebook, counts = ops.convert_to_tensor(self.codebook), ops.convert_to_tensor(self.counts)
        rows = ops.shape(flat)[0]
        fair = backend.replica_sum(ops.cast(rows, "float32")) / self.num_codes
        dead = None
        if training and self.revive_below:
            drawn = self._random_rows(fixed)
            dead = ops.logical_and(counts < self.revive_below * fair, ops.isfinite(ops.sum(drawn, axis=-1)))
            codebook = ops.where(dead[:, None], drawn, codebook)
            counts = ops.where(dead, fair, counts)
        codes = self._nearest(ops.stop_gradient(codebook), fixed)
        nearest = ops.take(codebook, codes, axis=0)
        chosen = ops.one_hot(codes, self.num_codes, dtype="float32")
        used = ops.sum(chosen, axis=0)
        if training:
            used = backend.replica_sum(used)
            totals = backend.replica_sum(ops.matmul(ops.transpose(chosen), fixed))
            self._learn(codebook, counts, dead, used, totals)
        errors = self.commitment * ops.square(flat - ops.stop_gradient(nearest))
        if self.ema is None:
            errors = errors + ops.square(fixed - nearest)
        losses = ops.mean(ops.reshape(errors, (-1, math.prod(shape))), axis=-1)
        quantized = ops.reshape(flat + ops.stop_gradient(nearest - flat), (-1, *shape))
        return quantized, ops.reshape(codes, (-1, *shape[:-1])), losses, perplexity_of(used)

    def _random_rows(self, rows):
        """A random row of the whole batch for each code, (K, dim), the same ones on each replica, of which this one has ``rows`` (T, dim)."""
        here = ops.shape(rows)[0]
        first, total = backend.first_row(here), backend.replica_sum(ops.cast(here, "float32"))
        share = keras.random.uniform((self.num_codes,), seed=self.seed_generator)
        # One replica's draw counts: that of the first one that has rows.
        share = backend.replica_sum(ops.where(ops.logical_and(first == 0, here > 0), share, 0.0))
        index = ops.cast(ops.minimum(ops.floor(share * total), total - 1.0), "int32") - first
        mine = ops.logical_and(index >= 0, index < here)
        found = ops.take(ops.pad(rows, ((0, 1), (0, 0))), ops.clip(index, 0, here), axis=0)
        return backend.replica_sum(ops.where(mine[:, None], found, 0.0))

    def _learn(self, codebook, counts, dead, used, totals):
        """Takes one step of the averages. ``codebook`` and ``counts`` are those after revival; ``totals`` (K, dim) sums each code's z."""
        decay = USAGE_DECAY if self.ema is None else self.ema
        after = decay * counts + (1.0 - decay) * used
        self.counts.assign(after)
        if self.ema is None:
            if dead is not None:
                self.codebook.assign(ops.stop_gradient(codebook))
            return
        sums = ops.convert_to_tensor(self.sums)
        if dead is not None:
            sums = ops.where(dead[:, None], counts[:, None] * codebook, sums)
        sums = self.ema * sums + (1.0 - self.ema) * totals
        self.sums.assign(sums)
        # A code that no vector has had yet stays where it is.
        mean = sums / ops.maximum(after, 1e-12)[:, None]
        self.codebook.assign(ops.where(after[:, None] > 1e-12, mean, codebook))

    def get_config(self):
        return {
            **super().get_config(),
            "num_codes": self.num_codes,
            "dim": self.dim,
            "ema": self.ema,
            "commitment": self.commitment,
            "revive_below": self.revive_below,
        }


def perplexity_of(used):
    """exp of the entropy of how often each code was used (K,): a scalar."""
    p = used / ops.maximum(ops.sum(used), 1.0)
    return ops.exp(-ops.sum(p * ops.log(ops.maximum(p, 1e-12))))
