"""PixelCNN over maps of codes, such as those of a VQ-VAE of one level or several.

ln p(c) = sum over levels i, from the top, and codes j in raster order of ln p(c_ij | c_i1 .. c_i,j-1, c_<i): exact.

Reference:
    van den Oord et al., Neural discrete representation learning, 2017, section 3.3, arXiv 1711.00937;
    Razavi et al., Generating diverse high-fidelity images with VQ-VAE-2, 2019, Algorithm 2 and section 3.2, arXiv 1906.00446.
"""

import itertools
import math

import keras
import numpy as np
from keras import ops

from kgen.core import Endpoint, GenerativeModel, TensorSpec, checks
from kgen.core.conditions import of_classes
from kgen.core.endpoints import SEED
from kgen.networks import CodeNet
from kgen.networks.codenet import as_map


@keras.saving.register_keras_serializable(package="kgen")
class CodePixelCNN(GenerativeModel):
    """An autoregressive model of maps of integer codes, level by level from the top and within a level code by code.

    Where ``PixelCNN`` takes pixels, whose levels have an order, here every code has a vector and a probability of its own. The prior of a
    ``VQVAE``, and of all levels of a ``VQVAE2`` at once: ``PriorRefit(vqvae2, CodePixelCNN(vqvae2.code_shapes, vqvae2.num_codes))``.

    Args:
        code_shapes: shapes of the maps from the top, such as ((7, 7), (14, 14)); sides of one divide those of the next.
        num_codes: number of codes K, of every level.
        channels, blocks: as in ``PixelCNN``, of every level's network, or a sequence with one for each level from the top: the codes of
            the top are few, so that a wide network costs little there, and what is wrong in them is wrong in all below.
        num_classes, dropout, ema: as in ``PixelCNN``.
        width: length of the vectors that stand for codes.
    Raises:
        ValueError: an argument out of range.
    """

    likelihood = "exact"

    def __init__(
        self,
        code_shapes,
        num_codes,
        *,
        channels=64,
        blocks=5,
        num_classes=None,
        dropout=0.0,
        width=16,
        ema=0.999,
        name="code_pixelcnn",
        dtype=None,
    ):
        own = of_classes(num_classes)
        self.code_shapes = tuple(checks.shape("code_shapes", shape) for shape in code_shapes)
        self.log_names = ("loss", "bits", *(f"bits_{i}" for i in range(len(self.code_shapes))))
        super().__init__(ema=ema, conditions=own, name=name, dtype=dtype)
        self.num_codes = checks.positive_int("num_codes", num_codes)
        maps = [as_map(shape) for shape in self.code_shapes]
        pairs = [(a, b) for up, down in itertools.pairwise(maps) for a, b in zip(up, down, strict=True)]
        if not maps or any(len(shape) > 2 for shape in maps) or any(b % a for a, b in pairs):
            raise ValueError(
                "code_shapes: expected maps from the top, whose sides divide those of the next, such as ((7, 7), (14, 14)), received "
                f"{self.code_shapes}."
            )
        self.num_classes = own[0].count if own else None
        self.network = CodeNet(
            self.code_shapes,
            self.num_codes,
            self._of_levels("channels", channels),
            self._of_levels("blocks", blocks),
            self.num_classes,
            checks.in_range("dropout", dropout, 0.0, 0.9),
            checks.positive_int("width", width),
            dtype=self.dtype_policy,
        )
        own = self.network.get_config()
        self.channels, self.blocks, self.dropout, self.width = own["channels"], own["blocks"], dropout, width
        self.keep_average_of("network")

    def _of_levels(self, name, value):
        """``value`` once it is a positive int, or a list of one for each level."""
        if np.ndim(value) == 0:
            return checks.positive_int(name, value)
        if len(value) != len(self.code_shapes):
            raise ValueError(
                f"{name}: expected an int, or one for each of the {len(self.code_shapes)} levels from the top, received {value}."
            )
        return [checks.positive_int(name, n) for n in value]

    @property
    def size(self):
        """How many codes an example has, on all levels."""
        return sum(math.prod(shape) for shape in self.code_shapes)

    def call(self, inputs, training=False):
        """The logits of each code, (B, n, K), for codes (B, n), or for [codes, label] where there are classes."""
        return self.network(inputs, training=training)

    def default_optimizer(self):
        return keras.optimizers.Adam(1e-3, clipnorm=1.0)

    # Training.

    def check_examples(self, x):
        if x.ndim != 2 or x.shape[1] != self.size or not len(x) or not np.issubdtype(x.dtype, np.integer):
            raise ValueError(
                f"x: expected integer codes of shape (N, {self.size}), all levels from the top, row by row; received {x.dtype} of "
                f"shape {x.shape}."
            )
        if x.min() < 0 or x.max() >= self.num_codes:
            raise ValueError(
                f"x: expected codes in [0, {self.num_codes}), received values from {x.min()} to {x.max()}."
            )
        return len(x)

    def _level_log_probs(self, network, codes, label, training=False):
        """ln p of each level given those above it: a list of (B,), nats."""
        logits = network(codes if label is None else [codes, label], training=training)
        chosen = ops.one_hot(codes, self.num_codes, dtype="float32")
        each = ops.sum(ops.log_softmax(ops.cast(logits, "float32"), axis=-1) * chosen, axis=-1)
        found, start = [], 0
        for shape in self.code_shapes:
            end = start + math.prod(shape)
            found.append(ops.sum(each[:, start:end], axis=-1))
            start = end
        return found

    def objective(self, batch, training):
        """-ln p(c) of each example."""
        codes, label = ops.cast(batch.x, "int32"), batch.conditions.get("label")
        found = self._level_log_probs(self.network_for(training), codes, label, training)
        bits = [-nats / math.log(2.0) for nats in found]
        return -sum(found), {"bits": sum(bits), **{f"bits_{i}": b for i, b in enumerate(bits)}}

    # Likelihood.

    def log_prob(self, x, *, labels=None, batch_size=None):
        """ln p(x), or ln p(x | label) where there are classes: exact.

        Args:
            x: int array (B, n), codes of all levels from the top.
            labels: for a model with classes: one int for all rows, or (B,) ints in [0, num_classes).
            batch_size: rows per compiled call; at most 256 by default.
        Returns:
            numpy float32 array (B,), nats.
        """
        x = checks.data_array("x", x)
        self.check_examples(x)
        arrays = {"x": x.astype("int32"), **self.conditions.rows(len(x), {"labels": labels})}
        return self.run_rows("log_prob", self.log_prob_rows, arrays, batch_size=batch_size, progress=True)

    def log_prob_rows(self, x, label=None):
        """ln p(x) (B,), for codes x (B, n)."""
        return sum(self._level_log_probs(self.averaged("network"), x, label))

    # Sampling.

    def sample(self, n, *, seed=None, labels=None, above=None, batch_size=None):
        """Draws codes.

        Args:
            n: how many.
            above: int array (n, m), all codes of the first level or levels, which stay as they are: those below are drawn given them.
            seed: int, or None for another result each time. Row i depends on (seed, i) alone.
            labels: for a model with classes: one int for all rows, or (n,) ints in [0, num_classes).
            batch_size: rows per compiled call; at most 256 by default.
        Returns:
            numpy int32 array (n, size), all levels from the top, each map row by row.
        """
        arrays = {"seeds": self.row_seeds(n, seed), **self.conditions.rows(n, {"labels": labels})}
        key = "sample"
        if above is not None:
            arrays["above"] = self._checked_above(n, above)
            key = ("sample", arrays["above"].shape[1])
        return self.run_rows(key, self.sample_rows, arrays, batch_size=batch_size, loop=True)

    def _checked_above(self, n, above):
        above = checks.data_array("above", above)
        lengths = list(itertools.accumulate(math.prod(shape) for shape in self.code_shapes))[:-1]
        if above.ndim != 2 or len(above) != n or above.shape[1] not in lengths or above.dtype.kind not in "iu":
            raise ValueError(
                f"above: expected integer codes ({n}, m) of the first levels, m among {lengths}; received {above.dtype} of shape {above.shape}."
            )
        if above.min() < 0 or above.max() >= self.num_codes:
            raise ValueError(
                f"above: expected codes in [0, {self.num_codes}), received values from {above.min()} to {above.max()}."
            )
        return above.astype("int32")

    def sample_rows(self, seeds, label=None, above=None):
        """Codes (B, n) of row seeds (B, 2)."""
        return self.averaged("network").generate(seeds, label, above)

    def endpoints(self):
        label = self.conditions.specs()
        x = TensorSpec((self.size,), "int32", "codes of all levels from the top", 0, self.num_codes - 1)

        def sample(seed, **given):
            return {"codes": self.sample_rows(seed, **given)}

        def log_prob(x, **given):
            return {"log_prob": self.log_prob_rows(x, **given)}

        return [
            Endpoint("sample", sample, {"seed": SEED, **label}, {"codes": "int32 codes"}),
            Endpoint("log_prob", log_prob, {"x": x, **label}, {"log_prob": "nats, exact"}),
        ]

    def get_config(self):
        return {
            **super().get_config(),
            "code_shapes": [list(shape) for shape in self.code_shapes],
            "num_codes": self.num_codes,
            "channels": self.channels,
            "blocks": self.blocks,
            "num_classes": self.conditions["label"].num_classes if self.num_classes else None,
            "dropout": self.dropout,
            "width": self.width,
        }
