"""Distillation: what students are taught, in closed form on Gaussian data, and that training reaches it."""

import keras
import numpy as np
import pytest
from keras import ops

import kgen
from kgen import backend
from kgen.core import random
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


def trained(model):
    """The losses of 15 epochs, by steps that end small."""
    rate = keras.optimizers.schedules.CosineDecay(0.1, 60, alpha=0.01)
    model.compile(keras.optimizers.Adam(rate), **COMPILE)
    return model.fit(DATA, batch_size=64, epochs=15, verbose=0).history["loss"]


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


def teachers_steps(schedule, x, k, count=4):
    """Where DDIM's steps of an optimal teacher lead from x at t = k/4, those of a grid of ``count``."""
    k = k * count // 4
    for i in range(k, 0, -1):
        x = ddim(schedule, x, i / count, (i - 1) / count, optimum(schedule, x, i / count))
    return x


def noise():
    """What ``sample(64, seed=0)`` starts from."""
    return ops.convert_to_numpy(random.normal(ops.convert_to_tensor(random.row_seeds(0, 64)), (2,))).astype("float64")


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


@pytest.mark.once("test_same_everywhere holds the training of every backend to the same numbers")
def test_a_student_reaches_two_steps_of_its_teacher_and_goes_on_from_a_file(tmp_path):
    keras.utils.set_random_seed(0)
    schedule = CosineSchedule()
    teacher = exact_teacher(schedule, 4)
    student = ProgressiveDistillation(teacher, 2, ema=None)
    for a, b in zip(student.network.get_weights(), teacher.network.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)  # it begins as its teacher is
    losses = trained(student)
    assert np.mean(losses[-3:]) < 0.1 * losses[0]
    expected = teachers_steps(schedule, noise(), 4)
    assert np.abs(teachers_steps(schedule, noise(), 4, 2) - expected).mean() > 0.1
    np.testing.assert_allclose(student.sample(64, seed=0), expected, atol=0.1)
    np.testing.assert_array_equal(student.teacher.network.get_weights(), teacher.network.get_weights())

    student.save(tmp_path / "m.keras")
    again = kgen.load(tmp_path / "m.keras")
    assert again.get_config() == student.get_config()
    before = student.network.get_weights()[0]
    for each in (student, again):
        each.fit(DATA[:64], batch_size=64, shuffle=False, verbose=0)
    for a, b in zip(student.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.abs(student.network.get_weights()[0] - before).max() > 0

    at = [lambda x, k=k: two_steps(schedule, x, max(k, 1) / 2, 2) for k in (0, 1, 0, 2)]
    student.network.set_weights(lines(at))
    np.testing.assert_allclose(student.sample(64, seed=0), expected, atol=1e-4)
    assert student.fit(DATA[:64], batch_size=64, verbose=0).history["loss"][0] < 1e-8
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

    def both(x, t, strength, label):
        carry, denoise = (x,), teacher.denoise({"label": label}, strength)
        for i in range(2):
            carry = DDIMSampler(8).step(denoise, teacher.schedule, carry, t - i / 8, t - (i + 1) / 8, None, i)
        found = student.target(x, t, {"label": label})
        (alpha, sigma), (a, s) = (student.denoiser().levels(u, x) for u in (t, t - 0.25))
        return a * found + s * (x - alpha * found) / sigma, carry[0]

    label = ops.convert_to_tensor(np.array([0, 1, 2, 3], "int32"))
    one, two = backend.jit(both, [*teacher.variables, *student.variables])(x, t, strength, label)
    np.testing.assert_allclose(ops.convert_to_numpy(one), ops.convert_to_numpy(two), atol=1e-4)

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


def consistent(schedule):
    """A model that takes Euler's steps between 5 levels, and what its network is once a path's end is the same all along it."""
    model = ConsistencyDistillation(
        exact_teacher(schedule, 4), noise_levels=5, teacher_sampler="euler", teacher=0.5, ema=None
    )
    return model, lines([lambda x, k=k: teachers_steps(schedule, x, k) for k in (1, 2, 3, 4)])


def test_where_the_loss_is_none_a_path_ends_as_4_steps_of_the_teacher_do(tmp_path):
    keras.utils.set_random_seed(0)
    model, ends = consistent(RectifiedFlowSchedule())
    expected = teachers_steps(model.schedule, noise(), 4)
    start = model.sample(64, seed=0)
    losses = trained(model)
    assert np.mean(losses[-3:]) < 0.5 * losses[0]
    assert np.abs(model.sample(64, seed=0) - expected).mean() < 0.1 < np.abs(start - expected).mean()
    model.save(tmp_path / "m.keras")
    again = kgen.load(tmp_path / "m.keras")
    assert again.get_config() == model.get_config()
    for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    model.network.set_weights(ends)
    model.averages.reset()
    np.testing.assert_allclose(model.sample(64, seed=0), expected, atol=1e-4)
    assert model.fit(DATA[:64], batch_size=64, verbose=0).history["loss"][0] < 1e-4


def test_so_it_is_between_levels_of_edm():
    model, ends = consistent(EDMSchedule(0.01, 5.0))
    model.compile("sgd", **COMPILE)
    first = model.evaluate(DATA, verbose=0)
    model.network.set_weights(ends)
    model.averages.reset()
    assert model.evaluate(DATA, verbose=0) < 1e-4 * first


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
    with pytest.raises(ValueError, match="teacher_sampler: expected one of 'heun', 'euler', received 'hun'"):
        ConsistencyDistillation(teacher, teacher_sampler="hun")
