"""The normalising flow.

Invertible steps map x to z = f(x), z standard normal:   ln p(x) = ln N(f(x); 0, I) + ln |det df/dx|, in nats per example.

Reference:
    Rezende & Mohamed, Variational inference with normalizing flows, 2015, arXiv 1505.05770;
    Papamakarios et al., Normalizing flows for probabilistic modeling and inference, 2021, arXiv 1912.02762.
"""

import math

import keras
import numpy as np
from keras import ops

from kgen.backend import probability
from kgen.core import Endpoint, GenerativeModel, TensorSpec, checks, random
from kgen.core.conditions import of_classes
from kgen.core.endpoints import SEED
from kgen.core.inputs import first_rows, in_memory
from kgen.core.units import bits_per_dim
from kgen.flow.chain import Chain, rows_sum
from kgen.flow.dequantization import Dequantization
from kgen.flow.steps import as_step, check_varies

INITIAL_ROWS = (
    4096  # from so many rows at most, activation normalisation starts, and of large ones from so many values:
)
INITIAL_VALUES = 2**20


@keras.saving.register_keras_serializable(package="kgen")
class Flow(GenerativeModel):
    """A chain of invertible steps from data to noise, trained by maximum likelihood.

    Runs on TensorFlow and JAX, where TFP's bijectors do. z has the shape of the data; where steps take values out or change the shape
    it is one vector (D,) of as many values (see ``Chain``). ``z_shape`` says which.

    Args:
        shape: shape of one example: (D,), or (H, W, C) for images.
        steps: list of ``Step``, the first nearest to the data; also functions of no arguments that make a TFP bijector, whose
            ``forward`` maps z to x: ``lambda: tfb.Exp()``.
        num_classes: number of classes, or None. With classes, train by ``fit(x, labels)``; each step's network sees the label.
        dequantize: for data of levels in [-1, 1], such as images: their number, 256 for bytes. None for data that has a density.
        logit: with ``dequantize``, how far the logit keeps from 0 and 1 (see ``Dequantization``), or None to leave it out.
        ema: decay of averaged weights that everything but training uses, or None.
    Raises:
        NotImplementedError: the backend is torch.
    """

    def __init__(
        self, shape, steps, *, num_classes=None, dequantize=None, logit=0.05, ema=None, name="flow", dtype=None
    ):
        probability.bijectors()  # raises where there are none
        own = of_classes(num_classes)
        super().__init__(ema=ema, conditions=own, name=name, dtype=dtype)
        self.shape = checks.shape("shape", shape)
        self.num_classes = own[0].count if own else None
        self.dequantization = None if dequantize is None else Dequantization(dequantize, logit)
        self.likelihood = "exact" if dequantize is None else "bound"
        self.logit = logit
        self.chain = Chain([as_step(i, s) for i, s in enumerate(steps)], name="chain")
        self.chain.build(self.shape, self.num_classes or 0)
        self.chain.check(self._condition(np.zeros(1, "int32")))
        self.initialized = self.add_weight(
            shape=(), initializer="zeros", trainable=False, dtype="int32", name="initialized"
        )
        self.keep_average_of("chain")

    @property
    def steps(self):
        """The steps, the first nearest to the data."""
        return self.chain.steps

    @property
    def dequantize(self):
        """The number of levels, or None."""
        return None if self.dequantization is None else self.dequantization.levels

    @property
    def z_shape(self):
        """Shape of one row's z: ``shape``, or (D,)."""
        return self.chain.z_shape

    @property
    def latent_shape(self):
        """Shape of one row's z, as ``encode`` gives it."""
        return self.z_shape

    @property
    def has_levels(self):
        """Whether ``bits_per_dim`` is of probabilities of levels, such as those of a pixel."""
        return self.dequantization is not None

    def default_optimizer(self):
        return keras.optimizers.Adam(1e-3, clipnorm=50.0)

    # Training.

    @property
    def data_name(self):
        """What the data is called in ``fit({"image": ..., "label": ...})``."""
        return "image" if len(self.shape) == 3 else "x"

    def check_examples(self, x):
        if self.dequantization is None:
            checks.rows("x", x, self.shape)
        else:
            checks.images("x", x, self.shape)
            self.dequantization.check(x)
        return len(x)

    def prepare(self, x, y):
        if int(ops.convert_to_numpy(self.initialized)) == 0:
            first_x, first_y = in_memory(x), None if y is None else in_memory(y)
            if first_x is None:
                first_x, first_y = first_rows(x, INITIAL_ROWS)
            if first_x is None:
                raise ValueError(
                    "x: the flow starts from the mean and scale of the data, which a generator does not show. Call "
                    "flow.initialize(rows) with some of it before fit."
                )
            first_x, given = self.conditions.separate(first_x, first_y, self.data_name)
            self.initialize(first_x, given.get("label"))

    def initialize(self, x, labels=None):
        """Starts activation normalisation from data; ``fit`` and ``train_on_batch`` do so by themselves, the first time.

        Args:
            x: float array (N, *shape); at most 4,096 rows, fewer of large ones, spread evenly over it, are used.
            labels: int array (N,), for a model with classes.
        Raises:
            ValueError: a value that has a density is the same in all rows.
        """
        x, values = self.check_data(checks.data_array("x", x), checks.as_array(labels))
        if self.dequantization is None:
            check_varies(x)
        count = min(len(x), INITIAL_ROWS, max(256, INITIAL_VALUES // x[0].size))
        chosen = np.linspace(0, len(x) - 1, count).astype(int)
        label = values["label"][chosen] if values else None
        y, _ = self._continuous(
            ops.convert_to_tensor(x[chosen].astype("float32")), keras.random.uniform((len(chosen), *self.shape), seed=0)
        )
        self.chain.initialize(y, self._condition(label))
        if self.ema is not None:
            self.averages.reset()
        self.initialized.assign(1)

    def objective(self, batch, training):
        """The negative log-likelihood of each example; with one draw of the dequantisation noise, where there is some."""
        x = ops.cast(batch.x, "float32")
        noise = None
        if self.dequantization is not None:
            noise = random.uniform(batch.seeds, self.shape)
        chain = self.network_for(training, "chain")
        return -self._density(chain, x, noise, batch.conditions.get("label"), training), {}

    # What takes row seeds and tensors, and is compiled and served.

    def _condition(self, label):
        """What the steps' networks see: one-hot labels (B, num_classes), or None."""
        return None if self.num_classes is None else ops.one_hot(label, self.num_classes, dtype="float32")

    def _continuous(self, x, noise):
        """Data to numbers with a density, and the logarithm of the change of volume (B,)."""
        if self.dequantization is None:
            return x, ops.zeros((ops.shape(x)[0],), dtype="float32")
        y, log_det = self.dequantization.encode(x, noise)
        return y, rows_sum(log_det)

    def _density(self, chain, x, noise, label=None, training=False):
        y, volume = self._continuous(x, noise)
        z, log_det = chain.encode(y, self._condition(label), training)
        return -0.5 * rows_sum(ops.square(z) + math.log(2 * math.pi)) + log_det + volume

    def log_prob_rows(self, x, seeds, label=None, num_samples=10):
        """ln p(x), float32 (B,); for levels ln 1/K sum_k p(x + u_k), with the noise of row seeds."""
        chain = self.averaged("chain")
        if self.dequantization is None:
            return self._density(chain, x, None, label)

        def body(k, total):
            return ops.logaddexp(total, self._density(chain, x, random.uniform(seeds, self.shape, draw=k), label))

        start = ops.full((ops.shape(x)[0],), -1e30, dtype="float32")
        return ops.fori_loop(0, num_samples, body, start) - math.log(num_samples)

    def encode_rows(self, x, label=None):
        """z (B, *z_shape) of x (B, *shape)."""
        return self.averaged("chain").encode(self._continuous(x, 0.5)[0], self._condition(label))[0]

    def decode_rows(self, z, label=None):
        """x (B, *shape) of z (B, *z_shape)."""
        y = self.averaged("chain").decode(z, self._condition(label))
        return y if self.dequantization is None else self.dequantization.decode(y)

    def sample_rows(self, seeds, temperature, label=None):
        """Samples (B, *shape) of row seeds (B, 2), with the temperature of each (B,)."""
        temperature = ops.reshape(temperature, (-1, *(1 for _ in self.z_shape)))
        return self.decode_rows(temperature * random.normal(seeds, self.z_shape), label)

    def call(self, x, labels=None, training=False):
        """z (B, *z_shape) of x (B, *shape); values of levels are taken at the middle of their cell."""
        return self.chain.encode(self._continuous(x, 0.5)[0], self._condition(labels), training)[0]

    def sample(self, n, *, seed=None, labels=None, temperature=1.0, batch_size=None):
        """Draws samples.

        Args:
            n: how many.
            seed: int, or None for another result each time. Row i depends on (seed, i) alone.
            labels: for a model with classes: one int for all rows, or (n,) ints in [0, num_classes).
            temperature: standard deviation of z, in [0, 2]; below 1 samples are more typical and less diverse.
            batch_size: rows per compiled call; at most 256 by default.
        Returns:
            numpy float32 array (n, *shape).
        Raises:
            ValueError: n, labels or temperature out of range.
        """
        seeds = self.row_seeds(n, seed)
        scale = checks.in_range("temperature", temperature, 0.0, 2.0)
        arrays = {"seeds": seeds, "temperature": np.full((n,), scale, "float32"), **self._given(n, labels)}
        return self.run_rows("sample", self.sample_rows, arrays, batch_size=batch_size, loop=True)

    def encode(self, x, labels=None, *, batch_size=None):
        """The noise z of data: numpy float32 array (B, *z_shape), for x (B, *shape). Values of levels are taken at their cell's middle."""
        x = self.examples(x)
        return self.run_rows("encode", self.encode_rows, {"x": x, **self._given(len(x), labels)}, batch_size=batch_size)

    def decode(self, z, labels=None, *, batch_size=None):
        """The data of noise: numpy float32 array (B, *shape), for z (B, *z_shape); the inverse of ``encode``."""
        z = np.asarray(z)
        checks.rows("z", z, self.z_shape)
        arrays = {"z": z.astype("float32"), **self._given(len(z), labels)}
        return self.run_rows("decode", self.decode_rows, arrays, batch_size=batch_size)

    def interpolate(self, a, b, steps=8, labels=None):
        """Decodes points on the straight line between the noise of two sets of examples.

        Args:
            a, b: float arrays (B, *shape).
            steps: number of points, ends included, at least 2.
            labels: as in ``sample``, the same for both ends.
        Returns:
            numpy float32 array (B, steps, *shape); the first and last columns are a and b.
        """
        checks.pairs(a, b, steps)
        z_a, z_b = self.encode(a, labels), self.encode(b, labels)
        share = np.linspace(0, 1, steps, dtype="float32").reshape(1, steps, *(1 for _ in self.z_shape))
        z = (1 - share) * z_a[:, None] + share * z_b[:, None]
        label = [np.repeat(y, steps) for y in self._given(len(z_a), labels).values()]
        return self.decode(z.reshape(-1, *self.z_shape), *label).reshape(len(z_a), steps, *self.shape)

    def log_prob(self, x, *, labels=None, num_samples=10, seed=0, batch_size=None):
        """Log-likelihood of each example.

        It is exact for data with a density. For data of levels it is ln 1/K sum_k p(x + u_k) over draws u_k of the
        dequantisation noise: on average a lower bound on ln P(x), which it reaches as K grows.

        Args:
            x: float array (B, *shape).
            labels: as in ``sample``.
            num_samples: K, for data of levels.
            seed: int; the noise's randomness.
            batch_size: rows per compiled call; at most 256 by default.
        Returns:
            numpy float32 array (B,), nats: log-densities, or for data of levels log-probabilities.
        """
        x = self.examples(x)
        checks.positive_int("num_samples", num_samples)

        def run(x, seeds, label=None):
            return self.log_prob_rows(x, seeds, label, num_samples)

        arrays = {"x": x, "seeds": random.row_seeds(seed, len(x)), **self._given(len(x), labels)}
        return self.run_rows(("log_prob", num_samples), run, arrays, batch_size=batch_size, progress=True)

    def bits_per_dim(self, x, **kwargs):
        """``-log_prob(x, ...)`` in bits per value: numpy array (B,). Of use with data of levels."""
        return bits_per_dim(self.log_prob(x, **kwargs), self.shape)

    def _given(self, n, labels):
        return self.conditions.rows(n, {"labels": labels})

    def endpoints(self):
        is_image = len(self.shape) == 3 and self.dequantization is not None
        name, images = ("images", ("images",)) if is_image else ("x", ())
        label = self.conditions.specs()
        bounds = (-1.0, 1.0) if self.dequantization is not None else (None, None)
        levels = None if self.dequantization is None else self.dequantization.levels
        x = {"x": TensorSpec(self.shape, "float32", "example", *bounds, levels=levels)}
        z = {"z": TensorSpec(self.z_shape, "float32", "noise")}
        temperature = {
            "temperature": TensorSpec(
                (), "float32", "standard deviation of z; 1 is the model's own", 0.0, 2.0, 1.0, kind="number"
            )
        }

        def sample(seed, temperature, label=None):
            return {name: self.sample_rows(seed, temperature, label)}

        def log_prob(x, seed, label=None):
            return {"log_prob": self.log_prob_rows(x, seed, label)}

        return [
            Endpoint("sample", sample, {"seed": SEED, **temperature, **label}, {name: "samples"}, images),
            Endpoint("log_prob", log_prob, {**x, "seed": SEED, **label}, {"log_prob": f"nats, {self.likelihood}"}),
            Endpoint("encode", lambda x, label=None: {"z": self.encode_rows(x, label)}, {**x, **label}, {"z": "noise"}),
            Endpoint(
                "decode",
                lambda z, label=None: {name: self.decode_rows(z, label)},
                {**z, **label},
                {name: "data"},
                images,
            ),
        ]

    def get_config(self):
        return {
            **super().get_config(),
            "shape": list(self.shape),
            "steps": [keras.saving.serialize_keras_object(s) for s in self.steps],
            "num_classes": self.conditions["label"].num_classes if self.num_classes else None,
            "dequantize": self.dequantize,
            "logit": self.logit,
        }

    @classmethod
    def from_config(cls, config):
        if "steps" in config:
            config = {**config, "steps": [keras.saving.deserialize_keras_object(s) for s in config["steps"]]}
        return super().from_config(config)
