"""Densities on the plane whose log-density is known exactly, with samplers that follow the same definition.

All but the checkerboard are equal mixtures of points or curves convolved with an isotropic Gaussian of standard
deviation `scale`. The shapes and sizes are those of FFJORD's toy data (Grathwohl et al., 2019, arXiv 1810.01367, and
its code), freed of what has no tractable density, and of PacGAN's grid.
"""

import functools
import math
import operator

import numpy as np

CHUNK = 2**17  # largest number of pairs (point, component) held at a time


def check_integer(name, value, low, high=None):
    """Returns `value` as an int in [low, high], or raises a ValueError that names it."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or number < low or (high is not None and number > high):
        bounds = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise ValueError(f"{name} must be an integer {bounds}, received {value!r}.")
    return number


class Density:
    """Base of the toy densities: checks, chunks and the entropy by quadrature.

    A subclass gives `_transform` (four uniforms to a point) and `_log_density`, and either its `entropy` or what the
    quadrature needs: `scale`, the standard deviation of its noise, and `extent`, the half-sides of a rectangle around
    the origin that holds all modes or curves.
    """

    def sample(self, n, seed=0):
        """Draws points. Row i depends on (seed, i) alone, so `sample(8)[:4]` equals `sample(4)`.

        Args:
            n: int, at least 1.
            seed: int from 0 to 2**32 - 1.
        Returns:
            float32 (n, 2).
        Raises:
            ValueError: `n` or `seed` is out of range.
        """
        n = check_integer("n", n, 1)
        seed = check_integer("seed", seed, 0, 2**32 - 1)
        # Four uniforms a row whatever the density: component, place on its curve, and two for the noise.
        return self._transform(*np.random.RandomState(seed).random_sample((n, 4)).T).astype("float32")

    def log_prob(self, x):
        """Computes the log-density.

        Args:
            x: array (n, 2), finite.
        Returns:
            float64 (n,), nats; -inf outside the support.
        Raises:
            ValueError: `x` has another shape, or NaN or infinite values.
        """
        x = np.asarray(x, "float64")
        if x.ndim != 2 or x.shape[1] != 2:
            raise ValueError(f"log_prob: x must have shape (n, 2), received shape {x.shape}.")
        bad = len(x) - np.count_nonzero(np.isfinite(x).all(-1))
        if bad:
            raise ValueError(f"log_prob: x must be finite, received {bad} rows of {len(x)} with NaN or infinity.")
        return self._log_density(x)

    @functools.cached_property
    def entropy(self):
        """Differential entropy -E[log p] in nats, by the trapezoid rule on a grid; its error is below 1e-8."""
        step = self.scale / 3
        axes = [np.arange(-half - 8 * self.scale, half + 8 * self.scale, step) for half in self.extent]
        total = 0.0
        for column in axes[0]:
            log_p = self._log_density(np.stack([np.full_like(axes[1], column), axes[1]], -1))
            total -= np.sum(np.exp(log_p) * log_p)
        return float(total * step**2)


def _normal(u1, u2):
    """Turns uniforms in [0, 1) into independent standard normals (n, 2) (Box & Muller, 1958)."""
    radius = np.sqrt(-2 * np.log1p(-u1))
    return np.stack([radius * np.cos(2 * np.pi * u2), radius * np.sin(2 * np.pi * u2)], -1)


def _log_mixture(x, centres, log_weights, scale):
    """log sum_k w_k N(x; c_k, scale^2 I): x (n, 2), centres (K, 2), log_weights (K,) -> (n,)."""
    out = np.empty(len(x))
    rows = max(1, CHUNK // len(centres))
    for start in range(0, len(x), rows):
        part = x[start : start + rows, None]
        logits = (part[..., 0] - centres[:, 0]) ** 2
        logits += (part[..., 1] - centres[:, 1]) ** 2
        logits *= -0.5 / scale**2
        logits += log_weights
        top = logits.max(-1)
        out[start : start + rows] = top + np.log(np.exp(logits - top[:, None]).sum(-1))
    return out - math.log(2 * math.pi * scale**2)


class GaussianMixture(Density):
    """Equal mixture of isotropic Gaussians: p(x) = 1/K sum_k N(x; m_k, scale^2 I).

    Args:
        modes: array (K, 2), the means m_k.
        scale: float, positive standard deviation.
    Raises:
        ValueError: `modes` has another shape, or `scale` is not positive.
    """

    def __init__(self, modes, scale):
        modes = np.array(modes, "float64")
        if modes.ndim != 2 or modes.shape[1] != 2 or not len(modes) or not np.isfinite(modes).all():
            raise ValueError(f"modes must be finite and have shape (K, 2), K at least 1, received shape {modes.shape}.")
        if not 0 < scale < math.inf:
            raise ValueError(f"scale must be a positive number, received {scale!r}.")
        self.modes, self.scale = modes, float(scale)
        self.extent = tuple(np.abs(modes).max(0))

    def _transform(self, component, place, u1, u2):
        return self.modes[(component * len(self.modes)).astype(int)] + self.scale * _normal(u1, u2)

    def _log_density(self, x):
        log_weights = np.full(len(self.modes), -math.log(len(self.modes)))
        return _log_mixture(x, self.modes, log_weights, self.scale)


class EightGaussians(GaussianMixture):
    """Eight Gaussians on a circle. The defaults are FFJORD's, 4 / sqrt(2) and 0.5 / sqrt(2).

    `EightGaussians(radius=2, scale=0.02)` is the sharper ring on which GANs lose modes (Metz et al., Unrolled
    Generative Adversarial Networks, 2017, arXiv 1611.02163).

    Args:
        radius: float, of the circle of means.
        scale: float, standard deviation.
    """

    def __init__(self, radius=8**0.5, scale=0.125**0.5):
        angles = 2 * np.pi * np.arange(8) / 8
        super().__init__(radius * np.stack([np.cos(angles), np.sin(angles)], -1), scale)


class GaussianGrid(GaussianMixture):
    """25 Gaussians with means in {-4, -2, 0, 2, 4}^2 and standard deviation 0.05.

    Reference:
        Lin et al., PacGAN: The power of two samples in generative adversarial networks, 2018, arXiv 1712.04086.
    """

    def __init__(self):
        ticks = np.arange(-4, 5, 2)
        super().__init__(np.stack(np.meshgrid(ticks, ticks, indexing="ij"), -1).reshape(-1, 2), scale=0.05)


class Checkerboard(Density):
    """Uniform on 8 of the 16 squares of side 2 on [-4, 4)^2: p = 1/32 where floor(x_1 / 2) + floor(x_2 / 2) is even."""

    entropy = math.log(32)

    def _transform(self, component, place, u1, u2):
        cell = (component * 8).astype(int)
        column, half = cell // 2 - 2, cell % 2
        row = 2 * half - 2 + column % 2
        low = 2.0 * np.stack([column, row], -1).astype("float32")
        points = (low + 2 * np.stack([u1, u2], -1)).astype("float32")
        # Rounding to float32 may reach the far edge, which belongs to an empty square.
        return np.minimum(points, np.nextafter(low + np.float32(2), np.float32(-np.inf)))

    def _log_density(self, x):
        inside = ((x >= -4) & (x < 4)).all(-1) & (np.floor(x / 2).sum(-1) % 2 == 0)
        return np.where(inside, -math.log(32), -math.inf)


class _Curves(Density):
    """Equal mixture of two curves c_1, c_2 with Gaussian noise:

    p(x) = 1/2 sum_j int q(t) N(x; c_j(t), scale^2 I) dt, t in [0, `end`], q the density of the place on the curve.

    The integral is taken by Gauss-Legendre quadrature in float64 with `nodes` points, which leaves an error below 1e-8
    nats up to 20 scales from the data. A subclass gives `_curves(t)`, (2, n, 2), and `_place`, the inverse of q's
    distribution function, with q as `_place_density`.
    """

    def _transform(self, component, place, u1, u2):
        curves = self._curves(self._place(place))
        chosen = np.where(component[:, None] < 0.5, curves[0], curves[1])
        return chosen + self.scale * _normal(u1, u2)

    @functools.cached_property
    def _quadrature(self):
        nodes, weights = np.polynomial.legendre.leggauss(self.nodes)
        t = self.end * (nodes + 1) / 2
        log_weights = np.log(self.end / 2 * weights * self._place_density(t) / 2)
        return self._curves(t).reshape(-1, 2), np.tile(log_weights, 2)

    def _log_density(self, x):
        return _log_mixture(x, *self._quadrature, self.scale)


class TwoMoons(_Curves):
    """Two interleaved half circles of radius 2 with noise 0.2.

    c_1 = (2 cos t - 1, 2 sin t - 0.2), c_2 = (1 - 2 cos t, 0.8 - 2 sin t), t uniform in [0, pi]: scikit-learn's
    `make_moons(noise=0.1)` times 2, less (1, 0.2), as in FFJORD. The density is a 1-D integral, taken by quadrature.
    """

    scale, extent, end, nodes = 0.2, (3.0, 1.8), math.pi, 96

    def _curves(self, t):
        x, y = 2 * np.cos(t), 2 * np.sin(t)
        return np.stack([np.stack([x - 1, y - 0.2], -1), np.stack([1 - x, 0.8 - y], -1)])

    def _place(self, u):
        return np.pi * u

    def _place_density(self, t):
        return np.full_like(t, 1 / np.pi)


class Spirals(_Curves):
    """Two spirals of one and a half turns with noise 0.1.

    c_1 = t / 3 (-cos t, sin t), c_2 = -c_1, t = 3 pi sqrt(u), u uniform in [0, 1], which spreads the points nearly
    evenly along the curve: FFJORD's `2spirals` without its additional uniform jitter. The density is a 1-D integral,
    taken by quadrature.
    """

    scale, extent, end, nodes = 0.1, (math.pi, math.pi), 3 * math.pi, 448

    def _curves(self, t):
        curve = t[:, None] / 3 * np.stack([-np.cos(t), np.sin(t)], -1)
        return np.stack([curve, -curve])

    def _place(self, u):
        return 3 * np.pi * np.sqrt(u)

    def _place_density(self, t):
        return 2 * t / (3 * np.pi) ** 2


class Rings(Density):
    """Equal mixture of four circles of radius 0.75, 1.5, 2.25 and 3 with noise s = 0.08, as in FFJORD.

    p(x) = 1/4 sum_R exp(-(|x|^2 + R^2) / 2 s^2) I_0(|x| R / s^2) / (2 pi s^2), I_0 the modified Bessel function: the
    radius follows Rice's distribution.
    """

    scale, extent, radii = 0.08, (3.0, 3.0), np.array([0.75, 1.5, 2.25, 3.0])

    def _transform(self, component, place, u1, u2):
        radius, angle = self.radii[(component * 4).astype(int)], 2 * np.pi * place
        circle = np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1)
        return circle + self.scale * _normal(u1, u2)

    def _log_density(self, x):
        from scipy.special import i0e, logsumexp

        r, variance = np.linalg.norm(x, axis=-1)[:, None], self.scale**2
        # i0e(z) = exp(-z) I_0(z), whose exponent completes the square.
        log_p = -((r - self.radii) ** 2) / (2 * variance) + np.log(i0e(r * self.radii / variance))
        return logsumexp(log_p, axis=-1) - math.log(4 * 2 * math.pi * variance)
