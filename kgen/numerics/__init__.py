"""Mathematics that several families share: Markov chains, and solvers of ordinary and stochastic differential equations."""

from kgen.numerics.chains import HMCSampler, LangevinSampler, MALASampler, Sampler, leapfrog
from kgen.numerics.ode import DormandPrinceSolver, EulerSolver, HeunSolver, RK4Solver, Solution, Solver
from kgen.numerics.sde import EulerMaruyama

__all__ = [
    "DormandPrinceSolver",
    "EulerMaruyama",
    "EulerSolver",
    "HMCSampler",
    "HeunSolver",
    "LangevinSampler",
    "MALASampler",
    "RK4Solver",
    "Sampler",
    "Solution",
    "Solver",
    "leapfrog",
]
