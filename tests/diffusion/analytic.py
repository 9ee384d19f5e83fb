"""What tests of samplers share: data whose optimal denoiser and probability flow are known, and one run of a sampler over all of them.

For data N(mu, S), x_t is N(alpha mu, alpha^2 S + sigma^2 I), the optimal estimate of x_0 is linear in x_t, and the
probability-flow ODE scales each eigen-direction by the ratio of standard deviations. Of a mixture of two such with one S, the estimate is
the mean of theirs by the probability of each: not linear, so that no term of a sampler can go missing unseen.
"""

import functools
import pathlib

import keras
import numpy as np
from keras import ops

from kgen import backend
from kgen.core import random
from kgen.diffusion import (
    CosineSchedule,
    EDMSchedule,
    Estimate,
    LinearSchedule,
    RectifiedFlowSchedule,
    Schedule,
    SubVPSchedule,
    VESchedule,
    VPSchedule,
    ZeroTerminalSNR,
)
from kgen.diffusion.predictions import noise_of
from kgen.diffusion.samplers import noise_like
from kgen.diffusion.schedules import like

MEAN, SCALE = np.array([0.5, -1.0, 0.0]), np.array([0.3, 1.0, 0.05])
PROCESSES = [
    CosineSchedule(),
    LinearSchedule(),
    ZeroTerminalSNR(),
    VPSchedule(),
    SubVPSchedule(),
    VESchedule(),
    EDMSchedule(),
    RectifiedFlowSchedule(),
]
# The mixture: two means, and the standard deviation of both.
MEANS, WIDTH = np.array([[0.8, -0.3, 0.1], [-0.6, 0.5, 0.4]]), np.array([0.3, 0.4, 0.25])


def optimal(schedule, mean=MEAN, scale=SCALE):
    """The optimal denoiser, of data N(mean, diag(scale^2)); numbers (3,) or (B, 3)."""

    def denoise(x_t, t):
        mu, variance = (ops.cast(ops.convert_to_tensor(v), x_t.dtype) for v in (mean, scale**2))
        alpha, sigma = like(schedule.alpha(t), x_t), like(schedule.sigma(t), x_t)
        data = mu + alpha * variance / (alpha**2 * variance + sigma**2) * (x_t - alpha * mu)
        return Estimate(data, noise_of(data, x_t, alpha, sigma))

    return denoise


def optimal_of_the_mixture(schedule, means=MEANS, scale=WIDTH):
    """Its optimal denoiser; numbers (2, 3) and (3,), or (B, 2, 3) and (B, 1, 3)."""

    def denoise(x_t, t):
        mu, width = (ops.cast(ops.convert_to_tensor(v), x_t.dtype) for v in (means, scale))
        alpha, sigma = like(schedule.alpha(t), x_t), like(schedule.sigma(t), x_t)
        data = mixture(x_t, alpha, sigma, mu, width, ops)
        return Estimate(data, noise_of(data, x_t, alpha, sigma))

    return denoise


def draw(sampler, schedule, n=64, seed=0, denoiser=optimal, **options):
    run = backend.jit(lambda seeds: sampler.sample(denoiser(schedule), schedule, seeds, (3,), **options))
    return ops.convert_to_numpy(run(ops.convert_to_tensor(random.row_seeds(seed, n))))


def noise(n=64, seed=0, shape=(3,)):
    return ops.convert_to_numpy(random.normal(random.row_seeds(seed, n), shape, draw=0))


def level(schedule, t):
    """alpha and sigma of a schedule, by numpy."""
    return (ops.convert_to_numpy(f(np.asarray(t))).astype("float64") for f in (schedule.alpha, schedule.sigma))


def exact_flow(schedule, x, start=1.0, end=None):
    """Where the probability-flow ODE from x at t = ``start`` ends: in data, or at the time ``end``."""
    alpha, sigma = (v[0] for v in level(schedule, [start]))
    beta, tau = (1.0, 0.0) if end is None else (v[0] for v in level(schedule, [end]))
    scale, last = (np.sqrt(a**2 * SCALE**2 + s**2) for a, s in ((alpha, sigma), (beta, tau)))
    return beta * MEAN + (x - alpha * MEAN) * last / scale


def mixture(x, alpha, sigma, means=MEANS, scale=WIDTH, xp=np):
    """The optimal estimate of x_0 for the mixture, by ``xp``, numpy or ``keras.ops``.

    Args:
        x: (B, 3).
        alpha, sigma: (B, 1).
        means: (2, 3) or (B, 2, 3).
        scale: (3,) or (B, 1, 3).
    """
    alpha, sigma = alpha[:, None], sigma[:, None]
    variance = alpha**2 * scale**2 + sigma**2
    away = x[:, None] - alpha * means
    distance = xp.sum(away**2 / variance, axis=-1, keepdims=True)
    weights = xp.exp(-0.5 * (distance - xp.min(distance, axis=1, keepdims=True)))
    weights = weights / xp.sum(weights, axis=1, keepdims=True)
    return xp.sum(weights * (means + alpha * scale**2 / variance * away), axis=1)


class Tabled(Schedule):
    """A process for each row, of which the levels at some times are known: those of the nearest are given.

    Args:
        times, alphas, sigmas, log_snrs: arrays (B, M).
    """

    def __init__(self, times, alphas, sigmas, log_snrs):
        self.times, self.alphas, self.sigmas, self.log_snrs = times, alphas, sigmas, log_snrs

    def _nearest(self, key, keys, values):
        keys, values = ops.convert_to_tensor(keys), ops.convert_to_tensor(values)
        place = ops.argmin(ops.abs(key[:, None] - keys), axis=1)
        return ops.take_along_axis(values, place[:, None], axis=1)[:, 0]

    def alpha(self, t):
        return self._nearest(t, self.times, self.alphas)

    def sigma(self, t):
        return self._nearest(t, self.times, self.sigmas)

    def log_snr(self, t):
        return self._nearest(t, self.times, self.log_snrs)

    def time(self, log_snr):
        return self._nearest(log_snr, self.log_snrs, self.times)


TYPE = "float32" if keras.config.backend() == "jax" else "float64"  # JAX has no other unless asked
COUNTS = (12, 24, 48)  # of the steps by which orders are measured
END = 0.02
STEPS = 40  # of the runs over each process
REFERENCE = pathlib.Path(__file__).with_name("trajectories.npz")
OF_A_NETWORK = pathlib.Path(__file__).parents[1] / "interop/older/trajectories.npz"
RUNS = (10, 20, 50)  # numbers of steps of the reference


def trailing(count, last=0.0):
    """Equal steps of time, as diffusers' "trailing"; the last of them ends at ``last``."""
    return np.append(np.linspace(1.0, 0.0, count + 1)[:-1], last)


@functools.cache
def _dense(schedule):
    """Many times and their log-SNR, by which the latter is inverted: fast, and near enough, since levels are those of the times found."""
    t = np.unique(np.concatenate([np.geomspace(1e-7, 1e-2, 5000), np.linspace(0.0, 1.0, 10001)])).astype(TYPE)
    return t, ops.convert_to_numpy(schedule.log_snr(ops.convert_to_tensor(t)))


def time_of(schedule, log_snr):
    t, known = _dense(schedule)
    return np.interp(-log_snr, -known, t)


def by_log_snr(schedule, count, end):
    """Equal steps of the log-SNR from t = 1 to ``end``."""
    ends = np.array([1.0 - 1e-3 * schedule.ends_in_noise, end], TYPE)
    high, low = ops.convert_to_numpy(schedule.log_snr(ops.convert_to_tensor(ends)))
    return np.concatenate([[1.0], time_of(schedule, np.linspace(high, low, count + 1))[1:-1], [end]])


@functools.cache
def cases():
    """What one run goes through, 8 rows each: a dict from a name to (schedule, times, scale of x_1, whether the data is the mixture)."""
    linear, cosine = LinearSchedule(), CosineSchedule()
    found = {
        ("order", n, mixed): (cosine, by_log_snr(cosine, n, END), 1.0, mixed) for n in COUNTS for mixed in (False, True)
    }
    for s in PROCESSES:
        found[type(s).__name__] = (s, np.append(by_log_snr(s, STEPS - 1, s.last_time), 0.0), s.prior_scale, False)
    for n in RUNS:
        found["trailing", n] = (linear, trailing(n), 1.0, True)
        found["trailing to 1/1000", n] = (linear, trailing(n, 1e-3), 1.0, True)
        found["exponential", n] = (linear, np.append(by_log_snr(linear, n - 1, 1e-3), 0.0), 1.0, True)
    return found


@functools.cache
def _batch():
    """Rows of all cases: the tabled schedule, times, x_1, means and scales of their data."""
    length = max(len(times) for _, times, _, _ in cases().values())
    tables, rows = [], []
    for schedule, times, _, _ in cases().values():
        times = np.pad(np.asarray(times, TYPE), (0, length - len(times)), mode="edge")
        log_snr = ops.convert_to_numpy(schedule.log_snr(ops.convert_to_tensor(times)))
        middles = time_of(schedule, 0.5 * (log_snr[1:] + log_snr[:-1])).astype(TYPE)
        known = ops.convert_to_tensor(np.concatenate([times, middles]))
        tables.append(
            [
                ops.convert_to_numpy(v)
                for v in (known, *(f(known) for f in (schedule.alpha, schedule.sigma, schedule.log_snr)))
            ]
        )
        rows.append(times)
    x = np.concatenate([scale * noise(8) for _, _, scale, _ in cases().values()]).astype(TYPE)
    mixed = np.repeat([m for _, _, _, m in cases().values()], 8)[:, None, None]
    means, scale = np.where(mixed, MEANS, MEAN), np.where(mixed, WIDTH, SCALE)
    tabled = Tabled(*np.repeat(np.array(tables, TYPE), 8, axis=0).transpose(1, 0, 2))
    return tabled, np.repeat(rows, 8, axis=0), x, means.astype(TYPE), scale.astype(TYPE)


@functools.cache
def ends(sampler):
    """Where a sampler ends in each of the ``cases``, in one compiled run of rows with times of their own: a dict to arrays (8, 3)."""
    tabled, times, x, means, scale = _batch()
    seeds = ops.convert_to_tensor(np.tile(random.row_seeds(0, 8), (len(cases()), 1)))
    denoise = optimal_of_the_mixture(tabled, means, scale)
    run = backend.jit(lambda x, times: sampler.run(denoise, tabled, seeds, x, times))
    found = ops.convert_to_numpy(run(ops.convert_to_tensor(x), ops.convert_to_tensor(times)))
    assert found.dtype == TYPE
    return dict(zip(cases(), np.split(found, len(cases())), strict=True))


def added_noise(index, shape=(8, 3)):
    """What kgen's stochastic samplers draw for rows in step ``index``; by default those of a case."""
    seeds = random.fold_in(ops.convert_to_tensor(random.row_seeds(0, shape[0])), index + 1)
    drawn = noise_like(ops.zeros(shape, dtype=TYPE), seeds)
    return ops.convert_to_numpy(drawn).astype("float64")


@functools.cache
def flow_of_the_mixture():
    """Where the flow takes the noise of 8 rows until ``END``: dy/d ln r = y - D(y, r), y = x/alpha, r = sigma/alpha, in 2,000 steps of RK4."""
    ends = ops.convert_to_tensor(np.array([1.0, END], TYPE))
    alpha, sigma = (
        ops.convert_to_numpy(f(ends)).astype("float64") for f in (CosineSchedule().alpha, CosineSchedule().sigma)
    )

    def slope(y, place):
        scale = np.full((8, 1), (1.0 + np.exp(2.0 * place)) ** -0.5)
        return y - mixture(scale * y, scale, np.exp(place) * scale)

    y, (place, last) = noise(8).astype("float64") / alpha[0], np.log(sigma / alpha)
    h = (last - place) / 2000
    for _ in range(2000):
        a = slope(y, place)
        b = slope(y + 0.5 * h * a, place + 0.5 * h)
        c = slope(y + 0.5 * h * b, place + 0.5 * h)
        d = slope(y + h * c, place + h)
        y, place = y + h * (a + 2 * b + 2 * c + d) / 6, place + h
    return alpha[1] * y


def order_within(sampler, mixed=False):
    """The order of convergence towards the flow from t = 1 to ``END`` in equal steps of the log-SNR, where no step is the last.

    In float64; float32 on JAX. Of the Gaussian, or of the mixture, whose estimate bends. Returns the order between each number of steps and
    twice that, and the errors.
    """
    x = noise(8).astype("float64")
    expected = flow_of_the_mixture() if mixed else exact_flow(CosineSchedule(), x, end=END)
    errors = np.array([np.abs(ends(sampler)["order", n, mixed] - expected).mean() for n in COUNTS])
    return np.log2(errors[:-1] / errors[1:]), errors


def check_that_each_process_ends_in_data(sampler, atol=0.02):
    """alpha(1) = 0, sigma(0) = 0, sigma(0) > 0: none divides by zero, and each row ends where the flow does."""
    for schedule in PROCESSES:
        expected = exact_flow(schedule, schedule.prior_scale * noise(8).astype("float64"))
        np.testing.assert_allclose(ends(sampler)[type(schedule).__name__], expected, atol=atol, err_msg=repr(schedule))


def check_trajectory(sampler, name, times="trailing"):
    """The ends of diffusers' scheduler after as many steps at the same times, within 1e-4 of their range."""
    for n, expected in zip(RUNS, np.load(REFERENCE)[name], strict=True):
        np.testing.assert_allclose(
            ends(sampler)[times, n], expected, atol=1e-4 * np.ptp(expected), err_msg=f"{n} steps"
        )
