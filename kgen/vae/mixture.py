"""The mixture of Gaussians with full covariances, fitted by expectation maximisation.

p(x) = sum_k w_k N(x; m_k, L_k L_k^T). Above all a prior of an autoencoder's codes (``kgen.hybrid.PriorRefit``): it is fitted in seconds.

Reference:
    Dempster, Laird & Rubin, Maximum likelihood from incomplete data via the EM algorithm, 1977; as the sampler of autoencoders:
    Ghosh et al., From variational to deterministic autoencoders, 2020, section 4, arXiv 1903.12436.
"""

import math

import keras
import numpy as np
from keras import ops

from kgen.core import Endpoint, GenerativeModel, TensorSpec, checks, random
from kgen.core.endpoints import SEED


@keras.saving.register_keras_serializable(package="kgen")
class GaussianMixture(GenerativeModel):
    """A mixture of Gaussians over rows of numbers: ``fit(x)``, without ``compile`` and without gradients, ``sample(n)``, ``log_prob(x)``.

    Its parameters are variables, saved and served as those of any model. Before ``fit`` it is the standard normal.

    Args:
        shape: shape of one row, such as (D,).
        components: number K of Gaussians.
        regularization: what is added to the variances, which keeps a Gaussian from closing in on one row.
    """

    likelihood = "exact"

    def __init__(self, shape, components=10, *, regularization=1e-4, name="gaussian_mixture", dtype=None):
        super().__init__(conditions=[], name=name, dtype=dtype)
        self.shape = checks.shape("shape", shape)
        self.components = checks.positive_int("components", components)
        self.regularization = checks.in_range("regularization", regularization, 0.0, 1e6)
        k, d = self.components, math.prod(self.shape)
        self.size = d
        options = {"trainable": False, "dtype": "float32"}
        self.logits = self.add_weight(shape=(k,), initializer="zeros", name="logits", **options)
        self.loc = self.add_weight(shape=(k, d), initializer="zeros", name="loc", **options)
        self.scale_tril = self.add_weight(shape=(k, d, d), initializer="zeros", name="scale_tril", **options)
        self.whitening = self.add_weight(shape=(k, d, d), initializer="zeros", name="whitening", **options)  # L^-1
        for matrix in (self.scale_tril, self.whitening):
            matrix.assign(np.broadcast_to(np.eye(d, dtype="float32"), (k, d, d)))

    def check_examples(self, x):
        checks.rows("x", x, self.shape)
        return len(x)

    def fit(self, x, y=None, *, iterations=200, seed=0, verbose=0):
        """Fits the mixture to rows by expectation maximisation, which starts from the clusters of k-means.

        Args:
            x: float array (N, *shape), N at least the number of components.
            y: None; the mixture has no classes.
            iterations: of expectation and maximisation, at most; it stops where the likelihood no longer rises.
            seed: int; the start's randomness.
            verbose: whether to print how far it is, 0 or 1.
        Returns:
            ``keras.callbacks.History``, whose "loss" is the negative log-likelihood of a row at the end, nats.
        Raises:
            ValueError: there are fewer rows than components, or a part of ``x`` is not as it should be.
        """
        from sklearn.mixture import GaussianMixture as Fitted

        if y is not None:
            raise ValueError("y: a mixture has no classes. Fit it by fit(x), one for each class where there are some.")
        x = self.examples(x)
        if len(x) < self.components:
            raise ValueError(f"x: expected at least components={self.components} rows, received {len(x)}.")
        rows = x.reshape(len(x), -1).astype("float64")  # in float32 a covariance loses what is small in it
        steps = checks.positive_int("iterations", iterations)
        options = {"reg_covar": self.regularization, "max_iter": steps, "verbose": int(verbose)}
        found = Fitted(self.components, random_state=seed, **options).fit(rows)
        self.logits.assign(np.log(found.weights_))
        self.loc.assign(found.means_)
        scale = np.linalg.cholesky(found.covariances_)
        self.scale_tril.assign(scale)
        self.whitening.assign(np.linalg.inv(scale))
        history = keras.callbacks.History()
        history.set_model(self)
        history.history, history.epoch = {"loss": [-float(found.score(rows))]}, [0]
        return history

    # What takes row seeds and tensors, and is compiled and served.

    def sample_rows(self, seeds):
        """Draws (B, *shape) of row seeds (B, 2)."""
        logits = ops.broadcast_to(ops.convert_to_tensor(self.logits), (ops.shape(seeds)[0], self.components))
        chosen = random.categorical(seeds, logits, 0)
        loc = ops.take(ops.convert_to_tensor(self.loc), chosen, axis=0)
        scale = ops.take(ops.convert_to_tensor(self.scale_tril), chosen, axis=0)
        x = loc + ops.einsum("bij,bj->bi", scale, random.normal(seeds, (self.size,), 1))
        return ops.reshape(x, (-1, *self.shape))

    def log_prob_rows(self, x):
        """ln p(x): float32 tensor (B,), of x (B, *shape)."""
        x = ops.reshape(ops.cast(x, "float32"), (-1, 1, self.size))
        whitening = ops.convert_to_tensor(self.whitening)
        white = ops.einsum("kij,bkj->bki", whitening, x - ops.convert_to_tensor(self.loc))
        log_det = -ops.sum(ops.log(ops.diagonal(whitening, axis1=-2, axis2=-1)), axis=-1)
        each = -0.5 * ops.sum(ops.square(white), axis=-1) - 0.5 * self.size * math.log(2 * math.pi) - log_det
        return ops.logsumexp(each + ops.log_softmax(ops.convert_to_tensor(self.logits)), axis=-1)

    # The protocol.

    def call(self, x):
        """ln p(x)."""
        return self.log_prob_rows(x)

    def sample(self, n, *, seed=None, batch_size=None):
        """Draws rows.

        Args:
            n: how many.
            seed: int, or None for another result each time. Row i depends on (seed, i) alone.
            batch_size: rows per compiled call; at most 256 by default.
        Returns:
            numpy float32 array (n, *shape).
        """
        return self.run_rows("sample", self.sample_rows, [self.row_seeds(n, seed)], batch_size=batch_size)

    def log_prob(self, x, *, batch_size=None):
        """ln p(x), exact: numpy float32 array (B,), nats, for x (B, *shape)."""
        return self.run_rows("log_prob", self.log_prob_rows, [self.examples(x)], batch_size=batch_size)

    def endpoints(self):
        x = {"x": TensorSpec(self.shape, "float32", "example")}
        return [
            Endpoint("sample", lambda seed: {"x": self.sample_rows(seed)}, {"seed": SEED}, {"x": "samples"}),
            Endpoint("log_prob", lambda x: {"log_prob": self.log_prob_rows(x)}, x, {"log_prob": "nats, exact"}),
        ]

    def get_config(self):
        config = super().get_config()
        del config["ema"]
        own = {"components": self.components, "regularization": self.regularization}
        return {**config, "shape": list(self.shape), **own}
