"""Distillation: what students are taught, in closed form on Gaussian data, and that training reaches it."""

import keras
import numpy as np
import pytest
from keras import ops

import kgen
from kgen.diffusion import (
    DDPM,
    ConsistencyDistillation,
    ConsistencyModel,
    CosineSchedule,
    DDIMSampler,
    EDMSchedule,
    ProgressiveDistillation,
    RectifiedFlowSchedule,
)
from kgen.networks import ResidualMLP

COMPILE = {"jit_compile": False} if keras.config.backend() == "tensorflow" else {}
MEAN, SCALE = np.array([0.5, -1.0]), np.array([0.3, 1.0])
RNG = np.random.default_rng(0)
DATA = (MEAN + SCALE * RNG.normal(size=(256, 2))).astype("float32")


@keras.saving.register_keras_serializable(package="test")
class Lines(keras.layers.Layer):
    """A line of its own at each of the times k / count: enough for what is affine in x_t."""

    def __init__(self, count, **kwargs):
        super().__init__(**kwargs)
        self.count = count
        self.slope = self.add_weight(shape=(count, 2), initializer="zeros", name="slope")
        self.shift = self.add_weight(shape=(count, 2), initializer="zeros", name="shift")
        self.built = True

    def call(self, inputs, training=False):
        x, t = inputs
        k = ops.clip(ops.cast(ops.round(t * self.count), "int32") - 1, 0, self.count - 1)
        return ops.take(self.slope, k, axis=0) * x + ops.take(self.shift, k, axis=0)

    def get_config(self):
        return {**super().get_config(), "count": self.count}


def level(schedule, t):
    """alpha and sigma; at t = 0 without noise, as samplers end."""
    alpha, sigma = (float(ops.convert_to_numpy(f(np.float32(t)))) for f in (schedule.alpha, schedule.sigma))
    return alpha, sigma if t > 0 else 0.0


def optimum(schedule, x, t):
    """The optimal estimate of N(MEAN, SCALE^2) data."""
    alpha, sigma = level(schedule, t)
    return MEAN + alpha * SCALE**2 / (alpha**2 * SCALE**2 + sigma**2) * (x - alpha * MEAN)


def ddim(schedule, x, t, s, data):
    (alpha, sigma), (alpha_s, sigma_s) = level(schedule, t), level(schedule, s)
    return alpha_s * data + sigma_s * (x - alpha * data) / sigma


def lines(functions):
    """The weights of ``Lines`` that are these affine functions of x at the times in order."""
    shift = np.array([f(np.zeros(2)) for f in functions])
    return [np.array([f(np.ones(2)) for f in functions]) - shift, shift]


def exact_teacher(schedule, count):
    """A trained model whose estimates are optimal at k / count."""
    teacher = DDPM((2,), network=Lines(count), schedule=schedule, prediction="data", ema=None)
    teacher.network.set_weights(lines([lambda x, k=k: optimum(schedule, x, (k + 1) / count) for k in range(count)]))
    return teacher


def two_steps(schedule, x, t, steps):
    """The target of Salimans & Ho 2022, Algorithm 2, as it stands there."""
    half, end = t - 0.5 / steps, t - 1.0 / steps
    middle = ddim(schedule, x, t, half, optimum(schedule, x, t))
    last = ddim(schedule, middle, half, end, optimum(schedule, middle, half))
    (alpha, sigma), (alpha_s, sigma_s) = level(schedule, t), level(schedule, end)
    return (last - sigma_s / sigma * x) / (alpha_s - sigma_s / sigma * alpha)


def tensors(*values):
    return (ops.convert_to_tensor(np.asarray(v, "float32")) for v in values)


@pytest.mark.parametrize("schedule", [CosineSchedule(), RectifiedFlowSchedule(), EDMSchedule(0.01, 5.0)])
def test_the_target_of_one_step_is_where_two_steps_arrive(schedule):
    student = ProgressiveDistillation(exact_teacher(schedule, 6), 3)
    assert student.sampler == DDIMSampler(3)
    x, t = 2.0 * RNG.normal(size=(3, 2)), [1 / 3, 2 / 3, 1.0]
    found = ops.convert_to_numpy(student.target(*tensors(x, t), {}))
    np.testing.assert_allclose(found, [two_steps(schedule, a, b, 3) for a, b in zip(x, t, strict=True)], atol=2e-4)


def test_a_student_reaches_two_steps_of_its_teacher_and_goes_on_from_a_file(tmp_path):
    keras.utils.set_random_seed(0)
    schedule = CosineSchedule()
    teacher = exact_teacher(schedule, 4)
    student = ProgressiveDistillation(teacher, 2, ema=None)
    for a, b in zip(student.network.get_weights(), teacher.network.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)  # it begins as its teacher is
    student.compile(keras.optimizers.Adam(0.1), **COMPILE)
    first = student.evaluate(DATA, verbose=0)
    student.fit(DATA, batch_size=64, epochs=15, verbose=0)
    assert student.evaluate(DATA, verbose=0) < 0.05 * first
    expected = teacher.sample(64, seed=0, steps=4)
    assert np.abs(teacher.sample(64, seed=0, steps=2) - expected).mean() > 0.1
    np.testing.assert_allclose(student.sample(64, seed=0), expected, atol=0.2)
    np.testing.assert_array_equal(student.teacher.network.get_weights(), teacher.network.get_weights())

    student.save(tmp_path / "m.keras")
    again = kgen.load(tmp_path / "m.keras")
    assert again.get_config() == student.get_config()
    for each in (student, again):
        each.fit(DATA[:64], shuffle=False, verbose=0)
    for a, b in zip(student.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)

    at = [lambda x, k=k: two_steps(schedule, x, max(k, 1) / 2, 2) for k in (0, 1, 0, 2)]
    student.network.set_weights(lines(at))
    assert student.evaluate(DATA, verbose=0) < 1e-8
    np.testing.assert_allclose(student.sample(64, seed=0), expected, atol=1e-4)
    with pytest.raises(NotImplementedError, match="has no likelihood; its teacher has one"):
        student.log_prob(DATA)


def test_conditions_are_handed_through_and_guidance_is_baked_in(tmp_path):
    keras.utils.set_random_seed(0)
    teacher = DDPM(
        (2,), network=(ResidualMLP(2, 8, 1, conditions=kgen.core.conditions.LabelCondition(3))), num_classes=3
    )
    for v in teacher.weights:
        v.assign(0.3 * RNG.normal(size=v.shape))  # averages are others than what they follow
    student = ProgressiveDistillation(teacher, 4, guidance=3.0)
    x, t, strength = tensors(RNG.normal(size=(4, 2)), [0.25, 0.5, 0.75, 1.0], 4 * [3.0])
    values = {"label": ops.convert_to_tensor(np.array([0, 1, 2, 3], "int32"))}
    denoise, carry, seeds = teacher.denoise(values, strength), (x,), ops.zeros((4, 2), "int32")
    for i in range(2):
        carry = DDIMSampler(8).step(denoise, teacher.schedule, carry, t - i / 8, t - (i + 1) / 8, seeds, i)
    found = student.target(x, t, values)
    (alpha, sigma), (a, s) = (student.denoiser().levels(u, x) for u in (t, t - 0.25))
    one = ops.convert_to_numpy(a * found + s * (x - alpha * found) / sigma)
    np.testing.assert_allclose(one, ops.convert_to_numpy(carry[0]), atol=1e-4)

    next_one = ProgressiveDistillation(student, 2)
    assert type(next_one.teacher) is DDPM and next_one.guidance is None
    np.testing.assert_array_equal(next_one.network.get_weights()[0], student.ema_network.get_weights()[0])
    next_one.save_to_preset(tmp_path / "preset")
    again = kgen.from_preset(tmp_path / "preset")
    assert again.get_config() == next_one.get_config()
    for a, b in zip(again.get_weights(), next_one.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_step_of_consistency_distillation_is_heuns():
    schedule = EDMSchedule(0.01, 5.0)
    model = ConsistencyDistillation(exact_teacher(schedule, 4), noise_levels=5)
    x = RNG.normal(size=(4, 2))
    t, later = np.arange(4) / 4, (np.arange(4) + 1) / 4
    arrays = tensors(x, t, later)
    x_later, t_, later_ = arrays
    found = model.earlier(None, None, x_later, t_, later_, {}, ops.zeros((4, 2), "int32"))
    for i in range(4):
        (_, sigma), (_, sigma_s) = level(schedule, later[i]), level(schedule, t[i])
        slope = (x[i] - optimum(schedule, x[i], later[i])) / sigma
        expected = x[i] + (sigma_s - sigma) * slope
        if i > 0:
            expected = x[i] + (sigma_s - sigma) * 0.5 * (
                slope + (expected - optimum(schedule, expected, t[i])) / sigma_s
            )
        np.testing.assert_allclose(ops.convert_to_numpy(found)[i], expected, atol=1e-4)


@pytest.mark.parametrize("schedule", [EDMSchedule(0.01, 5.0), RectifiedFlowSchedule()])
def test_a_consistent_estimate_ends_where_the_teachers_steps_do(schedule, tmp_path):
    """By Euler's steps between 5 levels, the end of a path is that of 4 steps of DDIM: there the loss is 0."""
    keras.utils.set_random_seed(0)
    teacher = exact_teacher(schedule, 4)
    model = ConsistencyDistillation(teacher, noise_levels=5, solver="euler", teacher=0.5, ema=None)

    def end(x, k):
        for i in range(k, 0, -1):
            x = ddim(schedule, x, i / 4, (i - 1) / 4, optimum(schedule, x, i / 4))
        return x

    model.compile(keras.optimizers.Adam(0.1), **COMPILE)
    expected = teacher.sample(64, seed=0, sampler=DDIMSampler(4))
    first = model.evaluate(DATA, verbose=0)
    if schedule == RectifiedFlowSchedule():
        start = model.sample(64, seed=0)
        model.fit(DATA, batch_size=64, epochs=15, verbose=0)
        assert model.evaluate(DATA, verbose=0) < 0.5 * first
        assert np.abs(model.sample(64, seed=0) - expected).mean() < 0.1 < np.abs(start - expected).mean()
        model.save(tmp_path / "m.keras")
        again = kgen.load(tmp_path / "m.keras")
        assert again.get_config() == model.get_config()
        for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
    model.network.set_weights(lines([lambda x, k=k: end(x, k) for k in (1, 2, 3, 4)]))
    model.averages.reset()
    assert model.evaluate(DATA, verbose=0) < 1e-3 * first
    np.testing.assert_allclose(model.sample(64, seed=0), expected, atol=1e-4 * np.abs(expected).max())


def test_what_is_no_teacher_is_refused():
    with pytest.raises(TypeError, match="teacher: expected a trained DDPM, or .*, received 3"):
        ProgressiveDistillation(3, 4)
    teacher = exact_teacher(CosineSchedule(), 2)
    with pytest.raises(ValueError, match="guidance: this model has no classes"):
        ProgressiveDistillation(teacher, 4, guidance=2.0)
    with pytest.raises(
        ValueError, match="model: expected one of the process EDMSchedule.*, received .*Cosine.*Consisten"
    ):
        ConsistencyModel.from_diffusion(teacher)
    with pytest.raises(
        ValueError, match="diffusion: expected a diffusion model, .*; ConsistencyDistillation estimates"
    ):
        ConsistencyDistillation(ConsistencyDistillation(teacher))
    with pytest.raises(ValueError, match="solver: expected one of 'heun', 'euler', received 'hun'"):
        ConsistencyDistillation(teacher, solver="hun")
