"""Flow matching: straight lines, Euler's steps, the coupling of a batch by optimal transport, and reflow."""

import keras
import numpy as np
import pytest
import scipy.optimize
from keras import ops

import kgen
from kgen.core import random
from kgen.core.inputs import Batch
from kgen.diffusion import (
    DDPM,
    DDIMSampler,
    Denoiser,
    EDMSampler,
    FlowMatching,
    FlowPrediction,
    RectifiedFlowSchedule,
    Reflow,
    StepTimes,
    assignment,
    minibatch_coupling,
    reflow_pairs,
)
from kgen.networks import MLP
from kgen.numerics import EulerSolver

COMPILE = {"jit_compile": False} if keras.config.backend() == "tensorflow" else {}
RNG = np.random.default_rng(0)
MEAN, SCALE = np.array([2.0, -1.0], "float32"), np.array([0.5, 2.0], "float32")


def model(kind=FlowMatching, **kwargs):
    return kind((2,), network=MLP((2,), (2,), widths=(32,), time=True), sampler=DDIMSampler(4), ema=None, **kwargs)


def test_between_gaussians_in_optimal_pairs_one_step_is_exact():
    """x_0 = m + s eps: the velocity is (1 - s) eps - m, with eps found in x_t."""

    def network(inputs, training=False):
        (x_t, t), mean, scale = inputs, ops.convert_to_tensor(MEAN), ops.convert_to_tensor(SCALE)
        t = t[:, None]
        eps = (x_t - (1.0 - t) * mean) / ((1.0 - t) * scale + t)
        return eps - (mean + scale * eps)

    denoiser = Denoiser(network, RectifiedFlowSchedule(), FlowPrediction())
    seeds = ops.convert_to_tensor(random.row_seeds(0, 5))
    noise = ops.convert_to_numpy(random.normal(seeds, (2,)))
    for steps in (1, 3):
        sampler = DDIMSampler(steps)
        found = sampler.sample(lambda x, t: denoiser(x, t, {}), RectifiedFlowSchedule(), seeds, (2,))
        np.testing.assert_allclose(ops.convert_to_numpy(found), MEAN + SCALE * noise, atol=2e-5)


def test_its_sampler_takes_eulers_steps_along_the_network():
    keras.utils.set_random_seed(0)
    flow = model()
    flow.set_weights([RNG.normal(size=w.shape, scale=0.3) for w in flow.get_weights()])
    noise = random.normal(ops.convert_to_tensor(random.row_seeds(3, 4)), (2,))
    euler = EulerSolver(4).solve(lambda t, x: flow.network([x, t]), noise, 1.0, 0.0)
    np.testing.assert_allclose(flow.sample(4, seed=3), ops.convert_to_numpy(ops.stop_gradient(euler.y)), atol=1e-5)


@pytest.mark.parametrize("rows, rounds", [(1, 2000), (24, 2000), (24, 3)])
def test_assignment_is_a_permutation_at_about_the_least_cost(rows, rounds, monkeypatch):
    monkeypatch.setattr("kgen.diffusion.coupling.ROUNDS", rounds)
    cost = RNG.normal(size=(rows, rows)).astype("float32")
    found = ops.convert_to_numpy(assignment(ops.convert_to_tensor(cost)))
    assert sorted(found) == list(range(rows))
    i, j = scipy.optimize.linear_sum_assignment(cost)
    gap = cost[i, found].mean() - cost[i, j].mean()
    assert -1e-6 <= gap <= (0.021 * cost.std() if rounds > 3 else np.inf)


def test_a_batch_is_paired_in_training_alone_and_keeps_its_noise():
    x = RNG.normal(size=(64, 2)).astype("float32")
    noise = ops.convert_to_tensor(RNG.normal(size=(64, 2)).astype("float32"))
    paired = ops.convert_to_numpy(minibatch_coupling(ops.convert_to_tensor(x), noise))
    noise = ops.convert_to_numpy(noise)
    assert np.square(x - paired).mean() < 0.3 * np.square(x - noise).mean()
    np.testing.assert_array_equal(np.sort(paired, axis=0), np.sort(noise, axis=0))
    flow = model(coupling="minibatch")
    batch = Batch(ops.convert_to_tensor(x), seeds=ops.convert_to_tensor(random.row_seeds(0, 64)))
    costs = [np.square(np.subtract(*map(ops.convert_to_numpy, flow.pairs(batch, k)))).mean() for k in (True, False)]
    assert costs[0] < 0.3 * costs[1]
    flow.compile("adam", **COMPILE)
    np.testing.assert_allclose(
        flow.evaluate(x, batch_size=16, verbose=0), flow.evaluate(x, batch_size=64, verbose=0), rtol=1e-5
    )
    config = flow.get_config()
    assert FlowMatching.from_config(config).coupling == "minibatch" and not {"schedule", "prediction"} & set(config)
    with pytest.raises(ValueError, match="coupling: expected one of 'independent', 'minibatch', received 'optimal'"):
        model(coupling="optimal")


def test_pairs_are_what_the_sampler_maps_and_reflow_learns_them(tmp_path):
    teacher = FlowMatching(
        (2,), network=MLP((2,), (2,), widths=(8,), time=True), num_classes=None, sampler=DDIMSampler(3), ema=None
    )
    teacher.set_weights([RNG.normal(size=w.shape, scale=0.5) for w in teacher.get_weights()])
    pairs = reflow_pairs(teacher, 64, seed=1)
    np.testing.assert_array_equal(pairs["x"], teacher.sample(64, seed=1))
    noise = ops.convert_to_tensor(pairs["noise"])
    again = teacher.sample_rows(ops.convert_to_tensor(random.row_seeds(9, 64)), x=noise)
    np.testing.assert_allclose(pairs["x"], ops.convert_to_numpy(ops.stop_gradient(again)), rtol=2e-5, atol=1e-5)
    with pytest.raises(ValueError, match=r"sampler: expected one that is deterministic given its start, .*eta=0.5"):
        reflow_pairs(teacher, 2, sampler=DDIMSampler(2, eta=0.5))
    with pytest.raises(ValueError, match=r"sampler: expected one that is deterministic given its start, .*EDMSampler"):
        reflow_pairs(teacher, 2, sampler=EDMSampler(2))
    with pytest.raises(TypeError, match="teacher: expected a DDPM"):
        reflow_pairs(keras.Sequential(), 2)

    keras.utils.set_random_seed(0)
    student = model(Reflow)
    student.compile(keras.optimizers.Adam(1e-2), **COMPILE)
    # Pairs whose lines do not cross: one step is enough.
    z = RNG.normal(size=(256, 2)).astype("float32")
    straight = {"x": MEAN + 0.5 * z, "noise": z}
    first = student.evaluate(straight, verbose=0)
    student.fit(straight, batch_size=64, epochs=20, verbose=0)
    assert student.evaluate(straight, verbose=0) < 0.05 * first
    noise = ops.convert_to_numpy(random.normal(ops.convert_to_tensor(random.row_seeds(0, 64)), (2,)))
    assert np.abs(student.sample(64, seed=0, steps=1) - (MEAN + 0.5 * noise)).mean() < 0.3
    student.save(tmp_path / "m.keras")
    np.testing.assert_allclose(kgen.load(tmp_path / "m.keras").sample(3, seed=0), student.sample(3, seed=0), atol=1e-6)
    with pytest.raises(ValueError, match=r"x: Reflow is trained on pairs: fit\(reflow_pairs\(teacher, n\)\)"):
        student.fit(z, verbose=0)
    with pytest.raises(ValueError, match="noise: expected 256 rows, one for each example, received 8"):
        student.fit({"x": z, "noise": z[:8]}, verbose=0)


def test_distilled_into_one_step_it_learns_lines_that_cross():
    """x_0 = -eps: at t = 1 the slope is 2 x_1, and one step arrives; halfway all lines meet at 0."""
    keras.utils.set_random_seed(0)
    network = MLP((2,), (2,), widths=(), time=True)
    kernel = np.zeros(network.weights[0].shape, "float32")
    kernel[:2] = 2.0 * np.eye(2)
    network.set_weights([kernel, np.zeros(2)])
    teacher = Reflow((2,), network=network, ema=None)
    student = Reflow.from_teacher(teacher, times=StepTimes(1), sampler=DDIMSampler(1), ema=None)
    z = RNG.normal(size=(8, 2)).astype("float32")
    x, noise = ops.convert_to_tensor(-z), ops.convert_to_tensor(z)
    strata = ops.convert_to_tensor(np.arange(8, dtype="float32") / 8)
    batch = Batch({"x": x, "noise": noise}, seeds=random.row_seeds(0, 8), strata=strata, conditions={})
    losses = [ops.convert_to_numpy(ops.stop_gradient(m.objective(batch, True)[0])) for m in (student, teacher)]
    np.testing.assert_allclose(losses[0], 0.0, atol=1e-10)
    assert losses[1][1:].min() > 1e-3
    np.testing.assert_allclose(
        ops.convert_to_numpy(student.sample_rows(random.row_seeds(0, 8), x=noise)), -z, atol=1e-6
    )
    found = ops.convert_to_numpy(StepTimes(4).times(strata, student.schedule))
    np.testing.assert_array_equal(found, np.repeat([0.25, 0.5, 0.75, 1.0], 2))
    assert Reflow.from_config(student.get_config()).times == StepTimes(1)
    assert student.network is not network and student.trainable_variables
    with pytest.raises(
        ValueError, match="teacher: expected a flow, such as FlowMatching, .*received one of CosineSchedule"
    ):
        Reflow.from_teacher(DDPM((2,), network=network))
