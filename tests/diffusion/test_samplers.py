"""Samplers with the optimal denoiser of Gaussian data, where every answer is known."""

import functools

import keras
import numpy as np
import pytest
from diffusion.analytic import MEAN, PROCESSES, SCALE, check_trajectory, draw, exact_flow, noise, optimal, order_within
from keras import ops

from kgen import backend, diffusion
from kgen.core import random
from kgen.diffusion import (
    AncestralSampler,
    CosineSchedule,
    DDIMSampler,
    KarrasGrid,
    LinearSchedule,
    LogSNRGrid,
    UniformGrid,
    VPSchedule,
    grids,
    samplers,
)
from kgen.networks import MLP


def order_of(sampler_of, schedule, steps):
    """The order of convergence towards the flow, in float64, schedules included (on JAX, which has none unless asked, in float32)."""
    dtype = "float32" if keras.config.backend() == "jax" else "float64"
    x = (schedule.prior_scale * noise(32)).astype(dtype)
    seeds = ops.convert_to_tensor(random.row_seeds(0, 32))
    errors = []
    for sampler in map(sampler_of, steps):
        run = backend.jit(
            functools.partial(lambda k, x: k.sample(optimal(schedule), schedule, seeds, (3,), x=x), sampler)
        )
        found = ops.convert_to_numpy(run(ops.convert_to_tensor(x)))
        assert found.dtype == dtype
        errors.append(np.abs(found - exact_flow(schedule, x.astype("float64"))).mean())
    return -np.polyfit(np.log(steps), np.log(errors), 1)[0], errors


@pytest.mark.once("test_same_everywhere holds the solvers of every backend to the same numbers")
def test_ddim_converges_with_order_one():
    order, errors = order_of(DDIMSampler, CosineSchedule(), np.array([40, 80, 160, 320]))
    assert 0.85 < order < 1.15 and errors[-1] < 5e-3, (order, errors)


@pytest.mark.once("test_same_everywhere holds the solvers of every backend to the same numbers")
@pytest.mark.parametrize("name", ["ddim", "euler"])
@pytest.mark.parametrize("mixed", [False, True])
def test_order_one(name, mixed):
    orders, errors = order_within(NAMES[name](), mixed)
    assert (np.abs(orders - 1.0) < 0.1).all() and errors[-1] < 0.03, (orders, errors)


@pytest.mark.once("test_same_everywhere holds the solvers of every backend to the same numbers")
@pytest.mark.parametrize("schedule", PROCESSES, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("grid", [UniformGrid(), KarrasGrid(), LogSNRGrid()], ids=lambda g: type(g).__name__)
def test_each_process_and_grid_ends_in_data(schedule, grid):
    """Ends of all kinds: alpha(1) = 0, sigma(0) = 0, sigma(0) > 0. None divides by zero, and all end at the data's moments."""
    x = draw(DDIMSampler(80, grid=grid), schedule, 512)
    sums = (
        noise(512).mean(0),
        noise(512).std(0),
    )  # of these very draws, so that the tolerance is the discretisation's alone
    np.testing.assert_allclose(x.mean(0), MEAN + SCALE * sums[0], atol=0.03)
    np.testing.assert_allclose(x.std(0), SCALE * sums[1], rtol=0.25, atol=0.01)
    times = ops.convert_to_numpy(DDIMSampler(6, grid=grid).times(schedule, 1))[0]
    assert times[0] == 1.0 and times[-2] > 0 and times[-1] == 0.0 and (np.diff(times) < 0).all()


def test_a_power_puts_the_uniform_grids_steps_where_there_is_noise():
    """Of rows with other starts and numbers of steps too; without it the times are the equal ones to the last bit."""
    schedule, start, steps = CosineSchedule(), np.float32([1.0, 0.6]), np.int32([4, 2])
    found = DDIMSampler(4, grid=UniformGrid(power=0.5)).times(schedule, 2, steps=steps, start=start)
    expected = np.zeros((2, 5))
    expected[0] = np.sqrt([1, 0.75, 0.5, 0.25, 0])
    expected[1, :2] = 0.6, 0.6 * np.sqrt(0.5)
    np.testing.assert_allclose(ops.convert_to_numpy(found), expected, atol=1e-6)
    equal = DDIMSampler(7, grid=UniformGrid(power=1)).times(schedule, 1)
    np.testing.assert_array_equal(equal, DDIMSampler(7, grid="uniform").times(schedule, 1))
    with pytest.raises(ValueError, match="power"):
        UniformGrid(power=0.0)


def exact_moments(sampler, schedule, eta):
    """Mean and standard deviation per direction after all steps: each step is linear in x and adds known noise."""
    t = np.arange(sampler.steps, -1, -1) / sampler.steps
    alpha, sigma = (ops.convert_to_numpy(f(t)).astype("float64") for f in (schedule.alpha, schedule.sigma))
    mean, variance = np.zeros(3), np.ones(3)
    for i in range(sampler.steps):
        a, b, s, r = alpha[i], alpha[i + 1], sigma[i], sigma[i + 1]
        gain = a * SCALE**2 / (a**2 * SCALE**2 + s**2)
        added = eta**2 * (r / s) ** 2 * (1 - (a / b) ** 2)
        kept = np.sqrt(max(r**2 - added, 0.0))
        # x_s = b data + kept (x - a data)/s + noise, data = MEAN + gain (x - a MEAN)
        slope = (b - kept * a / s) * gain + kept / s
        mean = (b - kept * a / s) * (MEAN - gain * a * MEAN) + slope * mean
        variance = slope**2 * variance + added
    return mean, np.sqrt(variance)


@pytest.mark.once("test_same_everywhere holds the solvers of every backend to the same numbers")
@pytest.mark.parametrize(
    ("sampler", "schedule", "eta"),
    [
        (DDIMSampler(60), CosineSchedule(), 0.0),
        (DDIMSampler(60, eta=0.5), LinearSchedule(), 0.5),
        (AncestralSampler(60), CosineSchedule(), 1.0),
    ],
    ids=["ddim", "ddim eta 0.5", "ancestral"],
)
def test_mean_and_covariance_of_the_samples(sampler, schedule, eta):
    n = 4000
    x = draw(sampler, schedule, n)
    mean, scale = exact_moments(sampler, schedule, eta)
    np.testing.assert_array_less(np.abs(x.mean(0) - mean), 5 * scale / n**0.5)
    np.testing.assert_allclose(x.std(0), scale, rtol=5 / (2 * n) ** 0.5)
    correlation = np.corrcoef(x.T) - np.eye(3)
    assert np.abs(correlation).max() < 5 / n**0.5


def test_many_steps_give_the_moments_of_the_data():
    for sampler, eta in ((DDIMSampler(2000), 0.0), (AncestralSampler(2000), 1.0)):
        mean, scale = exact_moments(sampler, CosineSchedule(), eta)
        np.testing.assert_allclose(mean, MEAN, atol=5e-3)
        np.testing.assert_allclose(scale, SCALE, rtol=0.03)


def test_eta_one_is_the_ancestral_sampler():
    schedule = CosineSchedule()
    a, b = draw(DDIMSampler(20, eta=1.0), schedule), draw(AncestralSampler(20), schedule)
    np.testing.assert_allclose(a, b, atol=2e-5)


def test_a_learned_variance_is_between_its_bounds():
    schedule, n = LinearSchedule(), 3000
    plain = optimal(schedule)
    seeds, x = ops.convert_to_tensor(random.row_seeds(1, n)), ops.zeros((n, 3))
    t, s = ops.full((n,), 0.5), ops.full((n,), 0.4)
    _, _, variance, widest = (ops.convert_to_numpy(v)[0, 0] for v in samplers.transition(schedule, t, s, x))
    for share, expected in ((0.0, variance), (1.0, widest), (0.5, np.sqrt(variance * widest))):

        def denoise(x, t, share=share):
            return plain(x, t)._replace(variance=share * ops.ones_like(x))

        (end,) = AncestralSampler(10).step(denoise, schedule, (x,), t, s, seeds, 0)
        np.testing.assert_allclose(ops.convert_to_numpy(end).var(0), expected, rtol=0.15)
    for sampler, expected in ((AncestralSampler(10), variance), (AncestralSampler(10, variance="large"), widest)):
        (end,) = sampler.step(plain, schedule, (x,), t, s, seeds, 0)
        np.testing.assert_allclose(ops.convert_to_numpy(end).var(0), expected, rtol=0.15)
        (end,) = sampler.step(plain, schedule, (x,), s, ops.zeros((n,)), seeds, 0)
        assert np.ptp(ops.convert_to_numpy(end), axis=0).max() == 0  # the last step adds no noise


@pytest.mark.parametrize("grid", ["uniform", "karras", "log_snr"])
def test_times_of_a_row_are_those_of_a_sampler_of_so_many_steps_from_there(grid):
    counts, starts = np.array([1, 2, 7, 10], "int32"), np.array([0.3, 1.0, 0.6, 1.0], "float32")
    given = (ops.convert_to_tensor(v) for v in (counts, starts))
    times = ops.convert_to_numpy(DDIMSampler(10, grid=grid).times(CosineSchedule(), 4, *given))
    for row, (count, start) in enumerate(zip(counts, starts, strict=True)):
        alone = DDIMSampler(int(count), grid=grid).times(CosineSchedule(), 1, None, ops.full((1,), start))
        np.testing.assert_allclose(times[row], np.pad(ops.convert_to_numpy(alone)[0], (0, 10 - count)), atol=1e-6)


@pytest.mark.skipif(keras.config.backend() == "jax", reason="JAX traces a loop once, however long it is")
def test_the_loop_ends_with_the_row_of_the_most_steps():
    calls, schedule = [], CosineSchedule()

    def denoise(x_t, t):
        calls.append(t)
        return optimal(schedule)(x_t, t)

    seeds = ops.convert_to_tensor(random.row_seeds(0, 2))
    DDIMSampler(10).sample(denoise, schedule, seeds, (3,), steps=ops.convert_to_tensor(np.array([2, 3], "int32")))
    assert len(calls) == 3


@pytest.mark.once("test_same_everywhere holds the solvers of every backend to the same numbers")
def test_backwards_and_forwards_again():
    """``run`` takes rising times too: from data to noise and back is where it began, up to the order of the steps."""
    schedule = CosineSchedule()
    x = ops.convert_to_tensor((MEAN + SCALE * noise(8)).astype("float32"))
    up = ops.convert_to_tensor(np.tile(np.linspace(0.0, 0.9, 201, dtype="float32"), (8, 1)))
    seeds = ops.convert_to_tensor(random.row_seeds(0, 8))
    run = backend.jit(lambda x, times: DDIMSampler(200).run(optimal(schedule), schedule, seeds, x, times))
    again = run(run(x, up), ops.flip(up, axis=1))
    np.testing.assert_allclose(ops.convert_to_numpy(again), ops.convert_to_numpy(x), atol=0.05)


def test_one_step_returns_the_estimate_at_the_start():
    schedule = LinearSchedule()
    estimate = optimal(schedule)(ops.convert_to_tensor(noise(8)), ops.ones((8,)))
    np.testing.assert_allclose(draw(DDIMSampler(1), schedule, 8), ops.convert_to_numpy(estimate.data), atol=1e-6)


def test_arguments():
    assert samplers.get("ddim", steps=7) == DDIMSampler(7)
    assert samplers.get(DDIMSampler(9, eta=0.5, grid="karras"), steps=7) == DDIMSampler(7, eta=0.5, grid=KarrasGrid())
    assert DDIMSampler(9).calls() == 9 and DDIMSampler(9).calls(4) == 4
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(DDIMSampler(3, grid=KarrasGrid(5)))
    )
    assert again.grid == KarrasGrid(5) and again.grid != grids.get("karras")
    with pytest.raises(ValueError, match="steps: expected an integer of at least 1, received 0"):
        DDIMSampler(0)
    with pytest.raises(ValueError, match=r"eta: expected a number in \[0, 1\], received 2"):
        DDIMSampler(eta=2)
    with pytest.raises(
        ValueError, match="sampler: expected one of 'ancestral', 'consistency', 'ddim', .*received 'eular'"
    ):
        samplers.get("eular")


NAMES = {
    "ancestral": AncestralSampler,
    "consistency": diffusion.ConsistencySampler,
    "ddim": DDIMSampler,
    "deis": diffusion.DEISSampler,
    "dpm_solver_multistep": diffusion.DPMSolverMultistepSampler,
    "dpm_solver_singlestep": diffusion.DPMSolverSinglestepSampler,
    "edm": diffusion.EDMSampler,
    "euler": diffusion.EulerSampler,
    "euler_ancestral": diffusion.EulerAncestralSampler,
    "heun": diffusion.HeunSampler,
    "lms": diffusion.LMSSampler,
    "pndm": diffusion.PNDMSampler,
    "predictor_corrector": diffusion.PredictorCorrectorSampler,
    "unipc": diffusion.UniPCSampler,
}


def test_names():
    """Each sampler has one, and is made again from its configuration."""
    assert samplers.names() == NAMES
    for name, cls in NAMES.items():
        sampler = samplers.get(name, steps=5)
        assert type(sampler) is cls and sampler.steps == 5
        assert samplers.get(keras.saving.serialize_keras_object(sampler)) == sampler


@pytest.mark.parametrize("name", NAMES)
def test_what_is_said_of_noise_on_the_way_and_rows_with_their_own_steps_and_start(name):
    """Samples of one x depend on the seeds where a sampler is stochastic, and a row of 3 steps of 6 from 0.6 is as of a sampler of 3 from there."""
    schedule, x = VPSchedule(), ops.convert_to_tensor(noise(4))
    seeds = [ops.convert_to_tensor(random.row_seeds(seed, 4)) for seed in (0, 1)]
    options = {"s_churn": 1.5} if name == "edm" else {}
    six, three = (NAMES[name](steps, **options) for steps in (6, 3))

    def drawn(sampler, seeds, start, steps=None):
        start = ops.convert_to_tensor(np.broadcast_to(start, (4,)).astype("float32"))
        steps = None if steps is None else ops.convert_to_tensor(steps, dtype="int32")
        run = sampler.sample(optimal(schedule), schedule, seeds, (3,), x=x, steps=steps, start=start)
        return ops.convert_to_numpy(run)

    one, other = (drawn(three, s, 0.6) for s in seeds)
    assert (np.abs(one - other).max() > 1e-3) == three.stochastic
    mixed = drawn(six, seeds[0], [0.6, 1.0, 0.6, 1.0], [3, 6, 3, 6])
    np.testing.assert_allclose(mixed[[0, 2]], one[[0, 2]], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(mixed[[1, 3]], drawn(six, seeds[0], 1.0)[[1, 3]], rtol=1e-4, atol=1e-5)


@pytest.mark.once("test_same_everywhere holds the solvers of every backend to the same numbers")
@pytest.mark.parametrize("name", ["ddim", "euler", "ancestral", "euler_ancestral", "dpm_solver_multistep, stochastic"])
def test_the_trajectory_of_the_reference(name):
    """Those that add noise add the same."""
    options = {"stochastic": True} if "," in name else {}
    check_trajectory(NAMES[name.split(",")[0]](grid="uniform", **options), name)


def test_what_does_not_fit_the_process_is_refused_when_a_model_is_made():
    network = MLP((2,), (2,), widths=(4,), time=True)
    for options, told in (
        ({"schedule": "rectified_flow", "sampler": DDIMSampler(4, grid="trailing")}, "grid: TrailingGrid.* has none"),
        ({"schedule": "edm", "sampler": DDIMSampler(4, grid="leading")}, "grid: LeadingGrid.* has none"),
        (
            {"schedule": "rectified_flow", "sampler": diffusion.ReverseSDESampler()},
            r"sampler: ReverseSDESampler needs .*alpha\(1\) > 0",
        ),
    ):
        with pytest.raises(ValueError, match=told):
            diffusion.DDPM((2,), network=network, prediction="flow", **options)
    model = diffusion.FlowMatching((2,), network=network)
    with pytest.raises(ValueError, match="sampler: ReverseSDESampler needs"):
        model.sample(2, sampler=diffusion.ReverseSDESampler(2))


def times_of(grid, count, steps=None, start=None, schedule=None):
    sampler = DDIMSampler(count, grid=grid)
    schedule = LinearSchedule() if schedule is None else schedule
    return ops.convert_to_numpy(sampler.times(schedule, 1 if steps is None else len(steps), steps, start))


@pytest.mark.once("test_same_everywhere holds the solvers of every backend to the same numbers")
def test_grids_in_steps_of_the_schedule():
    """Against Table 2 of Lin et al. 2024, whose step k is t = k/1000 here."""
    np.testing.assert_allclose(1000 * times_of("trailing", 10)[0], [*range(1000, 0, -100), 0], rtol=1e-6)
    np.testing.assert_allclose(1000 * times_of("leading", 10)[0], [*range(901, 0, -100), 0], rtol=1e-6)
    for count in (3, 7, 30, 999):
        trailing = np.round(np.flip(np.arange(1000, 0, -1000 / count)))
        leading = 1 + np.arange(count) * (1000 // count)
        np.testing.assert_allclose(1000 * times_of("trailing", count)[0], [*trailing[::-1], 0], rtol=1e-6)
        np.testing.assert_allclose(1000 * times_of("leading", count)[0], [*leading[::-1], 0], rtol=1e-6)
    # Rows of their own; what starts on the way starts there; more steps than there are change nothing.
    steps, start = ops.convert_to_tensor([2, 4]), ops.convert_to_tensor([1.0, 0.5])
    np.testing.assert_allclose(times_of("trailing", 4, steps, start), [[1, 0.5, 0, 0, 0], [0.5, 0.375, 0.25, 0.125, 0]])
    np.testing.assert_allclose(
        times_of("leading", 4, steps, start), [[0.501, 0.001, 0, 0, 0], [0.5, 0.251, 0.126, 0.001, 0]], rtol=1e-5
    )
    few = LinearSchedule(num_steps=4, beta_start=0.1, beta_end=0.5)
    for grid in ("trailing", "leading"):
        assert set(times_of(grid, 9, schedule=few)[0]) == {0.0, 0.25, 0.5, 0.75, 1.0}
    assert grids.get("exponential") == LogSNRGrid()
    with pytest.raises(
        ValueError, match=r"grid: TrailingGrid\(\) counts the steps of a schedule, and VPSchedule has none"
    ):
        times_of("trailing", 3, schedule=VPSchedule())
