"""A pool of earlier samples, from which a discriminator sees some again."""

import numpy as np
from keras import ops

from kgen.core import checks, random


class ImagePool:
    """The last samples of a generator, so that its discriminator does not forget what it has learned of the ones before.

    While there is room, samples are put in and returned as they are. After that each of a batch is returned as it is with probability
    1/2; else one of the pool is returned, and the sample takes its place. The samples of one batch take places that differ, so at most
    ``size`` of them are exchanged, and in the batch that fills the pool none is.

    Args:
        size: how many it holds; with 0 samples are returned as they are.
    Reference:
        Shrivastava et al., Learning from simulated and unsupervised images through adversarial training, 2017, section 2.3, arXiv
        1612.07828; Zhu et al. 2017, section 4, arXiv 1703.10593.
    """

    def __init__(self, size=50):
        self.size = size if size == 0 else checks.positive_int("size", size)

    def state(self, shape):
        """Its first state: dict of arrays."""
        return {"examples": np.zeros((self.size, *shape), "float32"), "count": 0.0} if self.size else {}

    def __call__(self, x, seeds, state):
        """Exchanges samples.

        Args:
            x: float tensor (B, *shape), samples.
            seeds: int32 (B, 2), row seeds.
            state: dict of tensors, as ``state`` gave it.
        Returns:
            ``(x, state)``: what the discriminator is to see, and the next state.
        """
        if not self.size:
            return x, state
        rows = ops.cast(ops.arange(ops.shape(x)[0]), "int32")
        count = ops.cast(state["count"], "int32")
        was_full = count >= self.size
        places = ops.argsort(random.uniform(seeds[:1], (self.size,), draw=1)[0])
        drawn = ops.take(places, rows % self.size, axis=0)
        place = ops.where(was_full, ops.cast(drawn, "int32"), count + rows)
        old = ops.logical_and(was_full, ops.logical_and(random.uniform(seeds, ()) < 0.5, rows < self.size))
        put = ops.logical_or(old, ops.logical_and(ops.logical_not(was_full), place < self.size))
        like = (-1, *[1] * (len(x.shape) - 1))
        examples = ops.convert_to_tensor(state["examples"])
        seen = ops.where(ops.reshape(old, like), ops.take(examples, ops.minimum(place, self.size - 1), axis=0), x)
        writes = ops.logical_and(ops.arange(self.size, dtype="int32")[:, None] == place[None], put[None])  # (size, B)
        source = ops.argmax(ops.cast(writes, "int32"), axis=1)
        written = ops.reshape(ops.any(writes, axis=1), like)
        examples = ops.where(written, ops.take(x, source, axis=0), examples)
        filled = ops.minimum(count + ops.shape(x)[0], self.size)
        return seen, {"examples": examples, "count": ops.cast(filled, "float32")}
