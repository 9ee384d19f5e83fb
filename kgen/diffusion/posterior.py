"""Posterior sampling: what was measured of a picture is known, and a model that was trained on whole pictures draws the rest.

With y = A x_0 + noise N(0, s^2 I) and a linear A, samples of p(x_0 | y) come from the score of p(x_t | y), which is the model's own and
grad ln p(y | x_t). Diffusion posterior sampling (DPS) takes x_0 in it to be the model's estimate f(x_t), so that the second is along
grad |y - A f(x_t)|^2, backwards through the network; how far to go is a number that is tuned for each task and number of steps. But the
Jacobian J of f says what x_0 may be beside the estimate, too: its covariance given x_t is C = (sigma^2/alpha) J (Tweedie's formula). With
x_0 given x_t taken for a Gaussian, p(y | x_t) = N(A f, s^2 I + A C A^T), and the estimate becomes

    f + C A^T v,  (s^2 I + A C A^T) v = y - A f,

by a few iterations of conjugate gradients, each one pass backwards. After one it is DPS's direction, as far as is best along it. Where the
data is Gaussian and there are as many iterations as measurements, it is exact.
"""

import numpy as np
from keras import ops

from kgen import backend
from kgen.core import checks
from kgen.diffusion.ddpm import check_estimates, check_model
from kgen.diffusion.guidance import FurtherGuidance, GuidedDenoiser
from kgen.diffusion.predictions import LEAST, Estimate
from kgen.diffusion.schedules import at_least


class PosteriorGuidance(FurtherGuidance):
    """Guidance towards what was measured; see above.

    ``y`` is a tensor, so that it is no configuration, as other guidance is: it is made where a model samples, by ``posterior_sample``.

    Args:
        y: float tensor (B, ...), what was measured.
        operator: A, a linear function of tensors (B, *shape), written in ``keras.ops``.
        noise: s, float tensor (B,).
        iterations: of conjugate gradients.
        guidance: as in ``FurtherGuidance``.
    Reference:
        Chung et al., Diffusion posterior sampling for general noisy inverse problems, 2023, Eq. 15 and 16, arXiv 2209.14687; Rozet et al.,
        Learning diffusion priors from observations by expectation maximization, 2024, section 4.2, arXiv 2405.13712.
    """

    def __init__(self, y, operator, noise, iterations=1, guidance=None):
        super().__init__(guidance)
        self.y, self.operator, self.noise, self.iterations = y, operator, noise, iterations

    def around(self, denoiser, conditions, strength):
        return _Measured(self.guidance.around(denoiser, conditions, strength), self)


class _Measured(GuidedDenoiser):
    def __init__(self, around, asked):
        super().__init__(around)
        self.asked = asked

    def __call__(self, x_t, t, conditions):
        t, (alpha, sigma) = ops.broadcast_to(t, (ops.shape(x_t)[0],)), self.levels(t, x_t)
        around, y = self.around.unclipped(), ops.cast(self.asked.y, x_t.dtype)  # a clipped estimate has no slope
        data, back = backend.vjp(lambda x: around(x, t, conditions).data, x_t)
        measured, adjoint = backend.vjp(self.asked.operator, data)
        # All of it over sigma^2/alpha, so that nothing vanishes with sigma.
        variance = ops.square(_like(self.asked.noise, y)) * _like_row(alpha, y)
        variance = variance / _like_row(at_least(ops.square(sigma), LEAST), y)
        rest, moved = y - measured, ops.zeros_like(data)
        direction, size = rest, _inner(rest, rest)
        for _ in range(self.asked.iterations):
            toward = back(adjoint(direction))  # J A^T p
            image = variance * direction + self.asked.operator(toward)
            length = _share(size, _inner(direction, image))
            moved = moved + _like(length, data) * toward
            rest = rest - _like(length, y) * image
            before, size = size, _inner(rest, rest)
            direction = rest + _like(_share(size, before), y) * direction
        data = ops.stop_gradient(data + moved)
        return self.clipped(self.of_data(data, Estimate(data, data), x_t, t), x_t, t)


def _inner(a, b):
    """The inner product of each row: (B,)."""
    return ops.sum(ops.reshape(a * b, (ops.shape(a)[0], -1)), axis=-1)


def _share(a, b):
    """a/b, and 0 where b is not above 0: where rest or slope are none, or the network's Jacobian is that of no covariance."""
    return ops.where(b > 0, a / ops.where(b > 0, b, ops.ones_like(b)), ops.zeros_like(a))


def _like(values, x):
    return ops.cast(ops.reshape(values, (-1, *[1] * (len(x.shape) - 1))), x.dtype)


def _like_row(level, x):
    """A level (B, 1 ...) shaped to multiply ``x``."""
    return _like(ops.reshape(level, (-1,)), x)


def posterior_sample(model, y, operator, *, noise=0.0, iterations=1, **sampling):
    """Draws examples of which something was measured: y = A x + noise.

    Args:
        model: a ``DDPM``, trained as always.
        y: float array (N, ...), what was measured.
        operator: A: an ``Operator``, such as ``GaussianBlur(1.0)``, or any linear function of tensors (B, *shape) in ``keras.ops``
            (the same function each time: for each the sampler is compiled).
        noise: the standard deviation of the noise in y, at least 0.
        iterations: passes backwards for each estimate; more follow y more closely where measurements depend on each other.
        **sampling: ``seed``, ``labels``, ``guidance``, ``steps``, ``sampler``, ``batch_size`` and conditions, as in ``DDPM.sample``.
    Returns:
        numpy float32 array (N, *shape). Row i depends on (seed, i) and its ``y`` alone. It is of the posterior approximately: x_0
        given x_t is taken for a Gaussian. A learned variance of the model's is not used.
    Raises:
        TypeError: the model is none.
        ValueError: y, noise, iterations or what ``sample`` takes out of range; the operator is not linear, or gives other shapes than y's;
            the model is a ``ConsistencyModel``.
    """
    check_model(model)
    check_estimates("model", model)
    iterations = checks.positive_int("iterations", iterations)
    noise = checks.in_range("noise", noise, 0.0, 1e3)
    y = checks.data_array("y", y)
    _check_operator(operator, model.shape, y)

    def rows(seeds, values, strength, *, sampler, guide, y, noise):
        measured = (y, operator, noise, iterations)
        return posterior_rows(model, seeds, *measured, values, strength, sampler=sampler, guide=guide)

    own = {"y": y.astype("float32"), "noise": np.full((len(y),), noise, "float32")}
    return model.asked(len(y), **sampling).run(model, ("posterior_sample", operator, iterations), rows, **own)


def posterior_rows(model, seeds, y, operator, noise, iterations, values=None, strength=None, *, guide=None, **options):
    """``posterior_sample`` of row seeds: float32 tensor (B, *shape).

    Args:
        model: a ``DDPM``.
        y, noise: float tensors (B, ...) and (B,).
        operator, iterations: as in ``PosteriorGuidance``.
        seeds, values, strength, guide: as in ``DDPM.sample_rows``, as are its ``sampler`` and ``steps``.
    """
    around = PosteriorGuidance(y, operator, noise, iterations, guide)
    strength = ops.ones_like(noise) if strength is None else strength
    return model.sample_rows(seeds, values, strength, guide=around, **options)


def _check_operator(operator, shape, y):
    """Raises ValueError unless A (a + 2 b) = A a + 2 A b for some a and b, of the shape of y's rows."""
    if hasattr(operator, "shape"):
        operator.shape(shape)
    a, b = np.random.default_rng(0).uniform(-1, 1, (2, 1, *shape)).astype("float32")
    of_a, of_b, both = (ops.convert_to_numpy(operator(ops.convert_to_tensor(x))) for x in (a, b, a + 2 * b))
    checks.rows("y", y, of_a.shape[1:])
    if not np.allclose(both, of_a + 2 * of_b, atol=1e-4 * max(1.0, np.abs(both).max())):
        raise ValueError(f"operator: expected a linear function, received {operator!r}: A(a + 2 b) is not A a + 2 A b.")
