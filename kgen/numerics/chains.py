"""Markov chains with the stationary density p(x) = exp(-E(x)) / Z. A sampler is one step; the base class owns the loop.

The step size eps is a length, in units of x, the same in all three: a Langevin step is x - eps^2/2 grad E(x) + eps z with z from
N(0, I), MALA accepts or rejects it, and HMC with one leapfrog step is MALA. (Where a paper writes x - eta grad E + sqrt(2 eta) z,
eta = eps^2/2.)
"""

import typing
import warnings

import keras
import numpy as np
from keras import ops

from kgen import backend
from kgen.core import checks, random
from kgen.core.config import Configured, resolve
from kgen.numerics.ode import per_row

LIMIT = 1e6  # a chain that gets to |x| > LIMIT has diverged


class State(typing.NamedTuple):
    """Where chains are: ``x`` (B, ...), ``energy`` E(x) (B,), ``gradient`` of E at x (B, ...)."""

    x: typing.Any
    energy: typing.Any
    gradient: typing.Any


def evaluate(energy, x):
    """The ``State`` at ``x``. It is a constant for whatever is differentiated around it: no gradient flows through a chain."""
    x = ops.stop_gradient(x)
    value, pullback = backend.vjp(energy, x)
    gradient = pullback(ops.ones_like(value))
    return State(x, ops.stop_gradient(value), ops.stop_gradient(gradient))


def _where(rows, yes, no):
    """A ``State`` with the rows of ``yes`` where the booleans ``rows`` (B,) are true, else those of ``no``."""
    return State(*[ops.where(per_row(rows, a), a, b) for a, b in zip(yes, no, strict=True)])


def _sum(values):
    """Sums all but the first axis: (B, ...) to (B,)."""
    return ops.sum(ops.reshape(values, (ops.shape(values)[0], -1)), axis=-1)


def _sound(state):
    """Whether each row has a finite energy and gradient and |x| <= LIMIT: bool (B,)."""
    rows = ops.shape(state.x)[0]
    size = ops.max(ops.abs(ops.reshape(state.x, (rows, -1))), axis=-1)
    slope = ops.max(ops.abs(ops.reshape(state.gradient, (rows, -1))), axis=-1)
    # A comparison with NaN is false.
    return ops.logical_and(ops.isfinite(state.energy), ops.logical_and(size <= LIMIT, slope < float("inf")))


class Sampler(Configured):
    """Base class: ``steps`` steps in one compiled loop. Row i depends on the start and the seed of row i alone.

    Args:
        step_size: eps, in units of x.
        steps: number of steps.
    """

    def __init__(self, step_size=0.1, steps=200):
        self.step_size = checks.in_range("step_size", step_size, 1e-8, 1e8)
        self.steps = checks.positive_int("steps", steps)

    def step(self, at, state, seeds, draw):
        """One step of every chain.

        Args:
            at: maps x (B, ...) to its ``State``.
            state: ``State`` of B chains.
            seeds: int32 tensor (B, 2), row seeds.
            draw: int32 scalar tensor: this step's random numbers are the draws ``draw`` and ``draw + 1``.
        Returns:
            the new ``State``, and whether each chain accepted its step: bool (B,).
        """
        raise NotImplementedError

    def run(self, energy, x, seeds, steps=None):
        """Runs the chains: plain tensor code, for use inside of compiled functions.

        A chain that diverges (an energy or gradient that is not finite, or |x| > 1e6) stops at its last sound place.

        Args:
            energy: maps float (B, ...) to energies (B,), nats.
            x: float tensor (B, ...), where the chains start.
            seeds: int32 tensor (B, 2), row seeds.
            steps: number of steps; the sampler's own by default.
        Returns:
            dict of tensors: ``x`` (B, ...), ``acceptance`` (B,), the accepted share of steps in [0, 1], and ``diverged`` bool (B,).
        """
        steps = self.steps if steps is None else steps

        def at(x):
            return evaluate(energy, x)

        def body(i, carry):
            state, accepted, diverged = carry
            proposal, moved = self.step(at, state, seeds, 2 * i)
            diverged = ops.logical_or(diverged, ops.logical_not(_sound(proposal)))
            moved = ops.logical_and(moved, ops.logical_not(diverged))
            return _where(diverged, state, proposal), accepted + ops.cast(moved, "float32"), diverged

        start = at(ops.cast(x, "float32"))
        carry = (start, ops.zeros_like(start.energy), ops.logical_not(_sound(start)))
        state, accepted, diverged = backend.fori_loop(0, steps, body, carry)
        return {"x": state.x, "acceptance": accepted / steps, "diverged": diverged}

    def sample(self, energy, start, *, seed=None):
        """Runs chains in any energy, compiled.

        Args:
            energy: maps a float tensor (B, ...) to energies (B,), nats, by ``keras.ops``.
            start: float array (N, ...), where the chains start.
            seed: int, or None for another result each time. Row i depends on (seed, i) and start[i] alone.
        Returns:
            numpy float32 array (N, ...), where they are after ``steps`` steps.
        Raises:
            ArithmeticError: a chain diverged.
        """
        start = np.asarray(start, "float32")
        if start.ndim < 1 or not len(start):
            raise ValueError(f"start: expected an array (N, ...) of at least one row, received shape {start.shape}.")
        run = backend.jit(lambda x, seeds: self.run(energy, x, seeds), compiler="xla")
        result = run(ops.convert_to_tensor(start), ops.convert_to_tensor(random.row_seeds(seed, len(start))))
        result = {name: ops.convert_to_numpy(value) for name, value in result.items()}
        self.check(result)
        return result["x"]

    def check(self, result):
        """Looks at what ``run`` returned, as numpy arrays.

        Raises:
            ArithmeticError: chains diverged. A warning says so where nearly every step was rejected.
        """
        diverged, acceptance = result["diverged"], float(np.mean(result["acceptance"]))
        if diverged.any():
            raise ArithmeticError(
                f"{int(diverged.sum())} of {len(diverged)} chains diverged (|x| > {LIMIT:g}, or an energy or gradient that is not "
                f"finite) and were stopped: {self!r}. Lower step_size; {self.step_size / 10:g} is a tenth of it. If that does not help, "
                "the energy has no lower bound: train it longer or regularise it."
            )
        if acceptance < 0.01:
            warnings.warn(
                f"{self!r} accepted {100 * acceptance:.1f} % of its steps: the chains hardly moved, and are no sample. Lower step_size; "
                f"{self.step_size / 4:g} is a quarter of it.",
                RuntimeWarning,
                stacklevel=3,
            )


def _metropolis(state, proposal, log_ratio, seeds, draw):
    """Accepts each row's proposal with probability min(1, exp(log_ratio)); one that is not sound has no probability."""
    accepted = ops.log(random.uniform(seeds, (), draw)) < log_ratio  # false for NaN
    accepted = ops.logical_and(accepted, _sound(proposal))
    return _where(accepted, proposal, state), accepted


@keras.saving.register_keras_serializable(package="kgen")
class LangevinSampler(Sampler):
    """Unadjusted Langevin dynamics: x' = x - eps^2/2 grad E(x) + eps z.

    Its stationary density is p only as eps -> 0: in N(0, 1) its variance is 1 / (1 - eps^2/4).

    Args:
        step_size, steps: as in ``Sampler``.
    Reference:
        Roberts & Tweedie, Exponential convergence of Langevin distributions, 1996, section 1.4.1.
    """

    def step(self, at, state, seeds, draw):
        z = random.normal(seeds, tuple(state.x.shape[1:]), draw)
        proposal = at(state.x - 0.5 * self.step_size**2 * state.gradient + self.step_size * z)
        return proposal, ops.ones_like(state.energy, dtype="bool")


@keras.saving.register_keras_serializable(package="kgen")
class MALASampler(Sampler):
    """The Metropolis-adjusted Langevin algorithm: a Langevin step x -> x', accepted so that p is exactly stationary.

    The probability is min(1, p(x') q(x | x') / p(x) q(x' | x)), with q(x' | x) = N(x'; x - eps^2/2 grad E(x), eps^2 I).

    Args:
        step_size, steps: as in ``Sampler``. An accepted share of 0.57 is best in high dimensions (Roberts & Rosenthal 1998).
    Reference:
        Roberts & Tweedie 1996, section 1.4.2.
    """

    def step(self, at, state, seeds, draw):
        z = random.normal(seeds, tuple(state.x.shape[1:]), draw)
        proposal = at(self._drifted(state) + self.step_size * z)
        back = (state.x - self._drifted(proposal)) / self.step_size  # the z that leads from x' to x
        log_ratio = state.energy - proposal.energy + 0.5 * _sum(ops.square(z)) - 0.5 * _sum(ops.square(back))
        return _metropolis(state, proposal, log_ratio, seeds, draw + 1)

    def _drifted(self, state):
        return state.x - 0.5 * self.step_size**2 * state.gradient


def leapfrog(at, state, p, step_size, steps):
    """Hamilton's equations dx/dt = p, dp/dt = -grad E(x), by the leapfrog rule.

    Each step is p + eps/2 (-grad E), x + eps p, p + eps/2 (-grad E). It is reversible, keeps volume, and its error in the total
    energy E(x) + |p|^2/2 after a fixed time is O(eps^2).

    Args:
        at: maps x to its ``State``.
        state: ``State`` of B chains.
        p: float tensor, momenta, shaped like x.
        step_size: eps.
        steps: number of steps.
    Returns:
        the last ``State`` and p.
    Reference:
        Neal, MCMC using Hamiltonian dynamics, 2011, section 2.3, arXiv 1206.1901.
    """

    def body(_, carry):
        state, p = carry
        p = p - 0.5 * step_size * state.gradient
        state = at(state.x + step_size * p)
        return state, p - 0.5 * step_size * state.gradient

    return backend.fori_loop(0, steps, body, (state, p))


@keras.saving.register_keras_serializable(package="kgen")
class HMCSampler(Sampler):
    """Hamiltonian Monte Carlo: fresh momenta p from N(0, I), a leapfrog trajectory, accepted with min(1, exp(H - H')).

    H = E(x) + |p|^2/2. p(x) is exactly stationary.

    Args:
        step_size: eps of the leapfrog, in units of x.
        leapfrog_steps: their number in one trajectory; each takes one gradient.
        steps: number of trajectories.
    Reference:
        Neal 2011, section 3.1, arXiv 1206.1901; Duane et al. 1987.
    """

    def __init__(self, step_size=0.1, leapfrog_steps=10, steps=50):
        super().__init__(step_size, steps)
        self.leapfrog_steps = checks.positive_int("leapfrog_steps", leapfrog_steps)

    def step(self, at, state, seeds, draw):
        p = random.normal(seeds, tuple(state.x.shape[1:]), draw)
        end, p_end = leapfrog(at, state, p, self.step_size, self.leapfrog_steps)
        log_ratio = state.energy - end.energy + 0.5 * _sum(ops.square(p)) - 0.5 * _sum(ops.square(p_end))
        return _metropolis(state, end, log_ratio, seeds, draw + 1)


def get(sampler):
    """A ``Sampler`` from itself, "langevin", "mala" or "hmc", or its configuration."""
    names = {"langevin": LangevinSampler, "mala": MALASampler, "hmc": HMCSampler}
    return resolve("sampler", sampler, Sampler, names)
