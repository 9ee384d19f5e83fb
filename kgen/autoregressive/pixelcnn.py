"""PixelCNN, in its form of 2017, PixelCNN++.

ln p(x) = sum_i ln p(x_i | x_1 .. x_{i-1}), pixels in raster order: exact, in one pass of a network in which no pixel sees itself or what
comes after it. Sampling goes pixel by pixel.

Reference:
    Salimans et al., PixelCNN++: improving the PixelCNN with discretized logistic mixture likelihood and other modifications, 2017,
    arXiv 1701.05517; van den Oord et al., Conditional image generation with PixelCNN decoders, 2016, arXiv 1606.05328;
    Ramachandran et al., Fast generation for convolutional autoregressive models, 2017, arXiv 1704.06001.
"""

import math

import keras
import numpy as np
from keras import ops

from kgen.autoregressive import uncached
from kgen.autoregressive.mixture import LogisticMixture
from kgen.core import Endpoint, GenerativeModel, TensorSpec, checks
from kgen.core.conditions import of_classes
from kgen.core.endpoints import SEED
from kgen.core.units import bits_per_dim
from kgen.networks import PixelNet


@keras.saving.register_keras_serializable(package="kgen")
class PixelCNN(GenerativeModel):
    """An autoregressive model of images, pixel by pixel, with or without classes.

    It is PixelCNN++: two streams of shifted convolutions instead of masked ones, gated residual blocks, and a mixture of discretised
    logistics for each pixel. The network keeps the image's resolution throughout.

    Args:
        shape: (H, W, C).
        channels: features per stream of the network; the paper has 160.
        blocks: gated residual blocks per stream; a pixel sees 2 ``blocks`` + 1 pixels to every side.
        components: logistics per pixel.
        levels: number of equally spaced values in [-1, 1] that a pixel can have: 256 for bytes, 17 for the digits.
        num_classes: number of classes, or None. With classes, train by ``fit(x, labels)``.
        dropout: rate inside the blocks, in [0, 0.9]; the paper has 0.5.
        network: a network instead of the one that ``channels``, ``blocks`` and ``dropout`` describe. It maps float images (B, H, W, C) in
            [-1, 1], or [images, int32 labels (B,)] where there are classes, to the numbers of each pixel's mixture, (B, H, W, K), from the
            pixels before it in raster order alone; K is ``LogisticMixture(C, components, levels).size``. With the method ``generate`` of
            ``kgen.networks.PixelNet`` it samples from what it keeps; without it, it is called anew for each pixel.
        ema: decay of the averaged weights that everything but training uses, or None; the paper has 0.9995.
    Raises:
        ValueError: an argument out of range.
    """

    likelihood = "exact"
    log_names = ("loss", "bits_per_dim")

    def __init__(
        self,
        shape,
        *,
        channels=64,
        blocks=5,
        components=10,
        levels=256,
        num_classes=None,
        dropout=0.0,
        network=None,
        ema=0.999,
        name="pixelcnn",
        dtype=None,
    ):
        own = of_classes(num_classes)
        super().__init__(ema=ema, conditions=own, name=name, dtype=dtype)
        self.shape = checks.shape("shape", shape)
        if len(self.shape) != 3:
            raise ValueError(f"shape: expected (H, W, C), received {self.shape}.")
        self.channels = checks.positive_int("channels", channels)
        self.blocks = checks.positive_int("blocks", blocks)
        self.num_classes = own[0].count if own else None
        self.dropout = checks.in_range("dropout", dropout, 0.0, 0.9)
        self.mixture = LogisticMixture(self.shape[-1], components, levels)
        self._given = network is not None
        if network is None:
            sizes = (self.mixture.size, self.channels, self.blocks, self.num_classes, self.dropout)
            network = PixelNet(self.shape, *sizes, dtype=self.dtype_policy)
        elif not isinstance(network, keras.layers.Layer):
            raise TypeError(f"network: expected a keras.Model or layer, received {type(network).__name__}.")
        else:
            uncached.check_pixels(network, self.shape, self.mixture.size, self.num_classes)
        self.network = network
        self.keep_average_of("network")

    @property
    def components(self):
        """Logistics per pixel."""
        return self.mixture.components

    @property
    def levels(self):
        """Number of values that a pixel can have."""
        return self.mixture.levels

    def call(self, inputs, training=False):
        """The parameters of each pixel's mixture, for x, or for [x, label] where there are classes."""
        return self.network(inputs, training=training)

    def default_optimizer(self):
        return keras.optimizers.Adam(1e-3, clipnorm=1.0)

    # Training.

    def check_examples(self, x):
        checks.images("x", x, self.shape)
        checks.levels("x", x, self.mixture.levels)
        return len(x)

    def objective(self, batch, training):
        """-ln p(x) of each example."""
        x = ops.cast(batch.x, "float32")
        label = batch.conditions.get("label")
        network = self.network_for(training)
        parameters = ops.cast(network(x if label is None else [x, label], training=training), "float32")
        losses = -_total(self.mixture.log_prob(parameters, x))
        return losses, {"bits_per_dim": losses / (math.log(2.0) * math.prod(self.shape))}

    # Likelihood.

    def log_prob(self, x, *, labels=None, batch_size=None):
        """ln p(x), or ln p(x | label) where there are classes: exact, of probabilities that sum to 1 over all images.

        Args:
            x: float array (B, *shape), at the levels.
            labels: for a model with classes: one int for all rows, or (B,) ints in [0, num_classes).
            batch_size: rows per compiled call; at most 256 by default.
        Returns:
            numpy float32 array (B,), nats.
        Raises:
            ValueError: x is not images at the levels, or labels out of range.
        """
        x = np.asarray(x)
        checks.images("x", x, self.shape)
        checks.levels("x", x, self.mixture.levels)
        arrays = [x.astype("float32"), *self._labels(len(x), labels)]
        return self.run_rows("log_prob", self.log_prob_rows, arrays, batch_size=batch_size, progress=True)

    def log_prob_rows(self, x, label=None):
        """ln p(x) (B,), of the nearest levels of x (B, *shape)."""
        x = self.mixture.nearest(ops.cast(x, "float32"))
        return _total(self.mixture.log_prob(self._evaluate(x, label), x))

    def bits_per_dim(self, x, **kwargs):
        """``-log_prob(x, ...)`` in bits per value: numpy array (B,)."""
        return bits_per_dim(self.log_prob(x, **kwargs), self.shape)

    def _evaluate(self, x, label):
        return ops.cast(self.averaged("network")(x if label is None else [x, label]), "float32")

    def _labels(self, n, labels):
        return list(self.conditions.rows(n, {"labels": labels}).values())

    @property
    def has_levels(self):
        """``bits_per_dim`` is of probabilities of levels."""
        return True

    @property
    def data_name(self):
        """What the data is called in ``fit({"image": ..., "label": ...})``."""
        return "image"

    # Sampling.

    def sample(self, n, *, seed=None, labels=None, cached=True, batch_size=None):
        """Draws images pixel by pixel.

        Args:
            n: how many.
            seed: int, or None for another result each time. Row i depends on (seed, i) alone.
            labels: for a model with classes: one int for all rows, or (n,) ints in [0, num_classes).
            cached: whether what the network knows of earlier pixels is kept, where it can (see ``PixelNet.generate``). False evaluates
                all of it for every pixel: the same images, far more slowly.
            batch_size: rows per compiled call; at most 256 by default.
        Returns:
            numpy float32 array (n, *shape), at the levels.
        Raises:
            ValueError: n, seed or labels out of range.
        """
        arrays = [self.row_seeds(n, seed), *self._labels(n, labels)]

        def run(seeds, label=None):
            return self.sample_rows(seeds, label, cached)

        return self.run_rows(("sample", bool(cached)), run, arrays, batch_size=batch_size, loop=True)

    def inpaint(self, x, mask, *, seed=None, labels=None, batch_size=None):
        """Completes images: draws the pixels that are not known, given those that are.

        The known pixels are the first ones in raster order, such as the upper half: a pixel can only be drawn given what comes before.

        Args:
            x: float array (B, *shape), at the levels where it is known; what else it holds is ignored.
            mask: bool array (H, W) for all images, or (B, H, W): True where the pixel is known and stays as it is.
            seed, labels, batch_size: as in ``sample``.
        Returns:
            numpy float32 array (B, *shape), at the levels.
        Raises:
            ValueError: x, mask, seed or labels out of range, or a known pixel stands after an unknown one.
        """
        x = np.asarray(x)
        if x.shape[1:] != self.shape:
            raise ValueError(f"x: expected images (N, {', '.join(map(str, self.shape))}), received shape {x.shape}.")
        mask = self._mask(mask, len(x))
        x = np.where(mask, x, -1.0).astype("float32")
        checks.images("x", x, self.shape)
        checks.levels("x", x, self.mixture.levels)
        arrays = [x, mask.astype("float32"), self.row_seeds(len(x), seed), *self._labels(len(x), labels)]
        return self.run_rows("inpaint", self.inpaint_rows, arrays, batch_size=batch_size, loop=True)

    def _mask(self, mask, n):
        """The checked mask: bool (n, H, W, 1)."""
        mask, shape = np.asarray(mask), self.shape[:2]
        if mask.dtype != bool or mask.shape not in (shape, (n, *shape)):
            raise ValueError(
                f"mask: expected bools of shape {shape} or {(n, *shape)}, True where a pixel is known; received {mask.dtype} of "
                f"shape {mask.shape}."
            )
        flat = np.broadcast_to(mask, (n, *shape)).reshape(n, -1)
        if (flat[:, 1:] & ~flat[:, :-1]).any():
            raise ValueError(
                "mask: expected known pixels first, in raster order, such as the upper rows; received a known pixel after an unknown one. "
                "A model that draws pixels in order cannot look ahead; a diffusion model can."
            )
        return flat.reshape(n, *shape, 1)

    def _noise(self, seeds):
        """What chance decides at every pixel: (B, H, W, ...)."""
        return self.mixture.noise(seeds, self.shape[:2])

    def _generate(self, draw, inputs, label, cached=True):
        network = self.averaged("network")
        if cached and hasattr(network, "generate"):
            return network.generate(draw, inputs, label)
        return uncached.generate_pixels(network, self.shape, draw, inputs, label)

    def sample_rows(self, seeds, label=None, cached=True):
        """Images (B, *shape) of row seeds (B, 2)."""

        def draw(parameters, inputs):
            return self.mixture.sample(parameters, inputs[0])

        return self._generate(draw, [self._noise(seeds)], label, cached)

    def inpaint_rows(self, x, mask, seeds, label=None):
        """x (B, *shape) with the pixels drawn that are not known, where mask (B, H, W, 1) is 0."""

        def draw(parameters, inputs):
            noise, x, mask = inputs
            return ops.where(mask > 0.5, x, self.mixture.sample(parameters, noise))

        return self._generate(draw, [self._noise(seeds), self.mixture.nearest(x), mask], label)

    def endpoints(self):
        classes = self.num_classes is not None
        label = self.conditions.specs()
        doc, levels = "images; each value counts as its nearest level", self.mixture.levels
        x = TensorSpec(self.shape, "float32", doc, -1.0, 1.0, levels=levels)
        mask = TensorSpec((*self.shape[:2], 1), "float32", "1 where a pixel is known; these come first", 0.0, 1.0)
        given = "given the class" if classes else "of the images"

        def sample(seed, label=None):
            return {"images": self.sample_rows(seed, label)}

        def inpaint(x, mask, seed, label=None):
            return {"images": self.inpaint_rows(x, mask, seed, label)}

        def log_prob(x, label=None):
            return {"log_prob": self.log_prob_rows(x, label)}

        return [
            Endpoint("sample", sample, {"seed": SEED, **label}, {"images": "samples in [-1, 1]"}, ("images",)),
            Endpoint(
                "inpaint",
                inpaint,
                {"x": x, "mask": mask, "seed": SEED, **label},
                {"images": "x, completed, in [-1, 1]"},
                ("images",),
            ),
            Endpoint("log_prob", log_prob, {"x": x, **label}, {"log_prob": f"log-probability {given}, nats"}),
        ]

    def get_config(self):
        return {
            **super().get_config(),
            "shape": list(self.shape),
            "channels": self.channels,
            "blocks": self.blocks,
            "components": self.components,
            "levels": self.levels,
            "num_classes": self.conditions["label"].num_classes if self.num_classes else None,
            "dropout": self.dropout,
            **({"network": keras.saving.serialize_keras_object(self.network)} if self._given else {}),
        }


def _total(values):
    """Sums everything but the batch axis."""
    return ops.sum(ops.reshape(values, (ops.shape(values)[0], -1)), axis=-1)
