"""The likelihood of a diffusion model by its probability flow, an ordinary differential equation."""

import math

import keras
from keras import ops

from kgen import backend
from kgen.core import checks, random
from kgen.core.config import Configured, resolve
from kgen.diffusion.schedules import like
from kgen.numerics import ode

FEW = 16  # values of an example up to which the trace is exact, unless asked for otherwise
UNROLLED = 4  # passes backwards that share one forwards; more of them would take long to compile
LARGEST = 14.0  # of ln sigma/alpha: the data's share in u is 1e-6 there


@keras.saving.register_keras_serializable(package="kgen")
class ODELikelihood(Configured):
    """The density of data by the change of variables along the probability flow, with any schedule and prediction.

    With c^2 = alpha^2 + sigma^2, u = x_t/c and l = ln sigma/alpha, the flow dx/dt = f x - g^2/2 grad ln p of every schedule is

        du/dl = (alpha sigma/c^2) (alpha eps - sigma x_0)/c,    ln p(x) = ln p(u_1) + int div(du/dl) dl - D/2 ln(1 + r^2),

    where x_0 and eps are the denoiser's estimates, and r = sigma/alpha at ``first_time``. All of it is finite where alpha(1) = 0, and
    needs no derivative of a schedule. It is the density of the model's x_0 + r eps, from which that of x_0 differs the less the smaller
    r is; a distribution on points or lines has none, and its figure grows without end as r falls.

    Estimates that are clipped have another flow, one that loses volume: these are never clipped.

    Args:
        trace: "exact" takes the divergence by one pass backwards for each value of an example; "hutchinson" estimates it without bias by
            e . (J e) with random signs e, which stay the same along the way. By default exact for at most 16 values.
        num_samples: signs e for each row, which are averaged.
        solver: "dopri5" (to 1e-5), or a ``kgen.numerics.Solver``. Each row takes its own steps.
        first_time: where the flow starts; by default 1e-5, or the first time above 0 of schedules on a grid.
    Reference:
        Song et al., Score-based generative modeling through stochastic differential equations, 2021, section 4.3, Eq. 39 and 40,
        arXiv 2011.13456; Hutchinson, A stochastic estimator of the trace, 1989; Grathwohl et al. 2019, arXiv 1810.01367.
    """

    def __init__(self, trace=None, num_samples=1, solver=None, first_time=None):
        self.trace = None if trace is None else checks.one_of("trace", trace, ["exact", "hutchinson"])
        self.num_samples = checks.positive_int("num_samples", num_samples)
        self.solver = ode.DormandPrinceSolver(1e-5, 1e-5) if solver is None else ode.get(solver)
        self.first_time = None if first_time is None else checks.in_range("first_time", first_time, 1e-7, 0.5)

    def log_prob(self, denoise, schedule, x, seeds):
        """ln p(x), nats: float32 tensor (B,), NaN where the solver did not arrive within its steps.

        Args:
            denoise: maps (x_t, t), with one time per row, to an ``Estimate`` that can be differentiated.
            schedule: a ``Schedule``.
            x: float tensor (B, ...).
            seeds: int32 tensor (B, 2), row seeds.
        """
        start, end = self._ends(schedule, x)
        size = math.prod(x.shape[1:])
        divergence_of = self._divergence_of(x, seeds)

        def flow(u, log_ratio):
            t = schedule.time(-2.0 * log_ratio)
            alpha, sigma = like(schedule.alpha(t), x), like(schedule.sigma(t), x)
            scale = ops.sqrt(ops.square(alpha) + ops.square(sigma))
            alpha, sigma = alpha / scale, sigma / scale
            estimate = denoise(scale * u, t)
            return alpha * sigma * (alpha * estimate.noise - sigma * estimate.data)

        def slope(log_ratio, state):
            return divergence_of(lambda u: flow(u, log_ratio), state[0])

        shrunk = 0.5 * ops.log1p(ops.exp(2.0 * start))
        u = x * like(ops.exp(-shrunk), x)
        # The divergence of each value by itself, so that the solver's tolerance is one for each value.
        (u, divergence), _, arrived = self.solver.solve(slope, (u, ops.zeros_like(u)), start, end)
        one = ops.ones_like(start)
        scale = schedule.prior_scale / ops.sqrt(ops.square(schedule.alpha(one)) + ops.square(schedule.sigma(one)))
        prior = -0.5 * ops.square(u / like(scale, x)) - like(ops.log(scale) + 0.5 * math.log(2.0 * math.pi), x)
        total = ops.sum(ops.reshape(prior + divergence, (-1, size)), axis=-1) - size * ops.cast(shrunk, x.dtype)
        return ops.cast(ops.where(arrived, total, float("nan")), "float32")

    def _ends(self, schedule, x):
        """ln sigma/alpha of every row at both ends of the way: tensors (B,)."""
        first = self.first_time
        if first is None:
            first = schedule.last_time if schedule.num_steps else max(schedule.first_time, 1e-5)
        ones = ops.cast(ops.ones_like(ops.reshape(x, (ops.shape(x)[0], -1))[:, 0]), x.dtype)
        end = -0.5 * schedule.log_snr(ones)
        return -0.5 * schedule.log_snr(first * ones), ops.where(end < LARGEST, end, LARGEST * ones)

    def _divergence_of(self, x, seeds):
        """Maps (function, u) to ``function(u)`` and its divergence, two tensors like u; the values of the second add up to it."""
        shape, size = tuple(x.shape[1:]), math.prod(x.shape[1:])
        exact = size <= FEW if self.trace is None else self.trace == "exact"
        count = size if exact else self.num_samples

        def probe(k):
            if exact:
                unit = ops.cast(ops.equal(ops.arange(size, dtype="int32"), ops.cast(k, "int32")), x.dtype)
                return ops.reshape(unit, (1, *shape)) + ops.zeros_like(x)
            return ops.cast(ops.where(random.uniform(seeds, shape, draw=k) < 0.5, -1.0, 1.0), x.dtype)

        probes = [probe(k) for k in range(count)] if count <= UNROLLED else None

        def divergence(function, u):
            value, pullback = backend.vjp(function, u)
            if probes is not None:
                return value, sum(e * pullback(e) for e in probes) / (1 if exact else count)

            def body(k, total):
                e = probe(k)
                return total + e * backend.vjp(function, u)[1](e)

            return value, ops.fori_loop(0, count, body, ops.zeros_like(u)) / (1 if exact else count)

        return divergence


def get(method):
    """ "bound", or an ``ODELikelihood`` from itself, "ode" or its configuration."""
    return (
        "bound"
        if method == "bound"
        else resolve("method", method, ODELikelihood, {"bound": None, "ode": ODELikelihood})
    )
