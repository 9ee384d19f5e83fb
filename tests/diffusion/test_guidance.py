"""Guidance against numpy, over mixtures of Gaussians whose every noise is known."""

import keras
import numpy as np
import pytest
from keras import ops

from kgen.core.conditions import Conditions, LabelCondition, VectorCondition
from kgen.diffusion import (
    DDPM,
    AutoGuidance,
    ClassifierFreeGuidance,
    ComposedGuidance,
    CosineSchedule,
    DDIMSampler,
    Denoiser,
    DynamicThresholding,
    Guidance,
    IntervalGuidance,
    LearnedVariance,
    NoisePrediction,
    RescaledGuidance,
)
from kgen.diffusion.schedules import like
from kgen.networks import MLP

SCHEDULE, CLASSES = CosineSchedule(), Conditions(LabelCondition(["a", "b"], dropout=0.1))
# Class "a" says where the first number is, class "b" where the second; what is not said is N(0, 1), each number by itself.
MEANS = np.array([[2.0, 0.0], [0.0, -1.0], [0.0, 0.0]], "float32")
SCALES = np.array([[0.3, 1.0], [1.0, 0.2], [1.0, 1.0]], "float32")


def exact(x, t, mean, scale):
    """The noise in x_t of data from N(mean, scale^2)."""
    alpha, sigma = like(SCHEDULE.alpha(t), x), like(SCHEDULE.sigma(t), x)
    return sigma * (x - alpha * mean) / (ops.square(alpha * scale) + ops.square(sigma))


@keras.saving.register_keras_serializable(package="kgen_tests")
class Exact(keras.layers.Layer):
    """The exact noise given the label; ``off`` makes it a worse one, and ``data`` has it return what is left then."""

    def __init__(self, off=0.0, data=False, **kwargs):
        super().__init__(**kwargs)
        self.off, self.data = off, data

    def call(self, inputs, training=False):
        x, t, label = inputs
        noise = exact(x, t, *(ops.take(ops.convert_to_tensor(v), label, axis=0) for v in (MEANS, SCALES))) + self.off
        alpha, sigma = like(SCHEDULE.alpha(t), x), like(SCHEDULE.sigma(t), x)
        return (x - sigma * noise) / alpha if self.data else noise

    def get_config(self):
        return {**super().get_config(), "off": self.off, "data": self.data}


def model_of(network=None, **kwargs):
    network = Exact() if network is None else network
    given = {"prediction": "noise", "num_classes": ["a", "b"], "sampler": DDIMSampler(30), "ema": None, **kwargs}
    model = DDPM((2,), network=network, **given)
    model.compile(jit_compile=False)
    return model


def numbers(values):
    return ops.convert_to_numpy(values)


@pytest.fixture(scope="module")
def rows():
    rng, n = np.random.default_rng(0), 24
    x, t = rng.normal(size=(n, 2)).astype("float32"), np.linspace(0.05, 0.95, n).astype("float32")
    label, strength = rng.integers(0, 2, n).astype("int32"), rng.uniform(0, 4, n).astype("float32")
    x, t, label, strength = (ops.convert_to_tensor(v) for v in (x, t, label, strength))
    noise = {k: numbers(exact(x, t, MEANS[k], SCALES[k])) for k in range(3)}
    noise["given"] = np.where(numbers(label)[:, None] == 0, noise[0], noise[1])
    return x, t, {"label": label}, strength, noise


def guided(guide, rows, clip=False, network=None):
    x, t, values, strength, _ = rows
    denoiser = Denoiser(Exact() if network is None else network, SCHEDULE, NoisePrediction(), clip)
    found = guide.around(denoiser, CLASSES, strength)(x, t, values)
    # Whatever is done to it, it says what x_t is made of.
    made = like(SCHEDULE.alpha(t), x) * found.data + like(SCHEDULE.sigma(t), x) * found.noise
    np.testing.assert_allclose(numbers(made), numbers(x), atol=1e-4)
    return numbers(found.data), numbers(found.noise)


def test_a_negative_condition_stands_where_nothing_stood(rows):
    strength, noise = numbers(rows[3])[:, None], rows[4]
    _, plain = guided(ClassifierFreeGuidance(), rows)
    np.testing.assert_allclose(plain, noise[2] + strength * (noise["given"] - noise[2]), atol=1e-5)
    _, away = guided(ClassifierFreeGuidance(negative={"labels": "b"}), rows)
    np.testing.assert_allclose(away, noise[1] + strength * (noise["given"] - noise[1]), atol=1e-5)


def test_conditions_that_a_negative_does_not_name_are_left_out():
    conditions = Conditions(
        [LabelCondition(2, dropout=0.1), VectorCondition(1, dropout=0.1), LabelCondition(2, "must")]
    )

    def network(inputs, training=False):
        x, _, label, vector, must = inputs
        return ops.zeros_like(x) + ops.cast(100 * label + 10 * must, "float32")[:, None] + vector

    given = {"label": [0, 1], "vector": [[1.0], [2.0]], "must": [0, 1]}
    given = {k: ops.convert_to_tensor(np.array(v, "float32" if k == "vector" else "int32")) for k, v in given.items()}
    guide = ClassifierFreeGuidance(negative={"vector": [5.0]})
    denoiser = guide.around(Denoiser(network, SCHEDULE, NoisePrediction()), conditions, ops.zeros((2,)))
    output = denoiser.output(ops.zeros((2, 1)), ops.ones((2,)), given)
    np.testing.assert_allclose(numbers(output)[:, 0], [205.0, 215.0])


def test_in_an_interval_of_noise_levels_it_is_the_guidance_and_elsewhere_the_denoiser(rows):
    t, noise = rows[1], rows[4]
    level = numbers(SCHEDULE.sigma(t) / SCHEDULE.alpha(t))
    inside = ((level >= 0.3) & (level <= 2.0))[:, None]
    assert 4 < inside.sum() < 20
    for inner in (ClassifierFreeGuidance(), RescaledGuidance(rescale=0.5)):
        expected = np.where(inside, guided(inner, rows)[1], noise["given"])
        np.testing.assert_allclose(guided(IntervalGuidance(inner, 0.3, 2.0), rows)[1], expected, atol=1e-5)
    _, off = guided(IntervalGuidance(ClassifierFreeGuidance(), 1e3, 1e4), rows)
    np.testing.assert_allclose(off, noise["given"], atol=1e-6)


def test_rescaled_outputs_are_the_formula(rows):
    strength, noise = numbers(rows[3])[:, None], rows[4]
    plain = noise[2] + strength * (noise["given"] - noise[2])
    whole = plain * noise["given"].std(1, keepdims=True) / plain.std(1, keepdims=True)
    np.testing.assert_allclose(guided(RescaledGuidance(rescale=0.6), rows)[1], 0.6 * whole + 0.4 * plain, atol=1e-4)
    np.testing.assert_allclose(guided(RescaledGuidance(rescale=0.0), rows)[1], plain, atol=1e-5)


@pytest.mark.parametrize(
    "guide", [ClassifierFreeGuidance(), RescaledGuidance(rescale=0.6), ComposedGuidance([{"labels": 1}, {"labels": 0}])]
)
def test_a_learned_variance_is_that_of_what_is_given(rows, guide):
    """It is neither extrapolated nor rescaled: the network's is 7 and the label, of which "nothing" is 2."""
    x, t, values, strength, _ = rows
    exact_noise = Exact()

    def network(inputs, training=False):
        label = ops.cast(inputs[2], "float32")[:, None]
        return ops.concatenate([exact_noise(inputs), 7.0 + label + 0.0 * inputs[0]], axis=-1)

    denoiser = Denoiser(network, SCHEDULE, LearnedVariance("noise"))
    output = numbers(guide.around(denoiser, CLASSES, strength).output(x, t, values))
    first = np.ones(24) if isinstance(guide, ComposedGuidance) else numbers(values["label"])
    np.testing.assert_allclose(output[:, 2:], np.repeat(7.0 + first[:, None], 2, 1), rtol=1e-5)
    np.testing.assert_allclose(output[:, :2], guided(guide, rows)[1], atol=1e-4)


@pytest.mark.parametrize("inner", [None, ClassifierFreeGuidance()])
def test_thresholded_estimates_are_the_formula(rows, inner):
    data = guided(inner or ClassifierFreeGuidance(), (*rows[:3], rows[3] if inner else ops.ones((24,)), rows[4]))[0]
    for percentile in (0.0, 0.7, 1.0):
        s = np.maximum(np.percentile(np.abs(data), 100 * percentile, axis=1, keepdims=True), 1.0)
        found, _ = guided(DynamicThresholding(inner, percentile), rows, clip=True)
        np.testing.assert_allclose(found, np.clip(data, -s, s) / s, atol=1e-5)
    assert (s > 1.5).any() and (s == 1).any() and np.abs(found).max() <= 1


def test_a_weaker_model_is_compared_with():
    model = model_of(sampler=DDIMSampler(20))
    weaker = model_of(Exact(0.2, data=True), prediction="data", label_dropout=0.0)
    x, t = np.random.default_rng(0).normal(size=(5, 2)).astype("float32"), np.linspace(0.1, 0.9, 5).astype("float32")
    x, t, values = ops.convert_to_tensor(x), ops.convert_to_tensor(t), {"label": ops.zeros((5,), dtype="int32")}
    strength = np.array([0.0, 1.0, 2.0, 3.0, 1.5], "float32")
    found = model.denoise(values, ops.convert_to_tensor(strength), AutoGuidance(weaker))(x, t)
    # The weaker model's noise is off by 0.2, and strength w leaves (1 - w) of that.
    expected = numbers(exact(x, t, MEANS[0], SCALES[0])) + 0.2 * (1 - strength[:, None])
    np.testing.assert_allclose(numbers(found.noise), expected, atol=1e-4)
    assert AutoGuidance(weaker).key != AutoGuidance(model).key and AutoGuidance(weaker).variables is not None
    one, two = (model.sample(64, seed=0, labels="a", guidance=AutoGuidance(weaker, w)) for w in (1.0, 2.0))
    np.testing.assert_allclose(one.mean(0), [2.0, 0.0], atol=0.2)
    assert (two.mean(0) > one.mean(0) + 0.05).all()  # noise that is taken for less leaves more


def test_two_factors_composed_are_their_product(rows):
    x, t, _, strength, noise = rows
    values, one = {"label": ops.full((24,), 2, dtype="int32")}, ops.ones((24,))
    both = ComposedGuidance([{"labels": "a"}, {"labels": "b"}])
    _, found = guided(both, (x, t, values, one, noise))
    product = exact(x, t, np.array([2.0, -1.0], "float32"), np.array([0.3, 0.2], "float32"))
    np.testing.assert_allclose(found, numbers(product), atol=1e-5)
    _, found = guided(
        ComposedGuidance([{"labels": 0, "strength": 3.0}, {"labels": 1, "strength": -0.5}]),
        (x, t, values, strength, noise),
    )
    pulled = 3.0 * (noise[0] - noise[2]) - 0.5 * (noise[1] - noise[2])
    np.testing.assert_allclose(found, noise[2] + numbers(strength)[:, None] * pulled, atol=1e-4)
    samples = model_of().sample(200, seed=0, guidance=both)
    np.testing.assert_allclose(samples.mean(0), [2.0, -1.0], atol=0.08)
    np.testing.assert_allclose(samples.std(0), [0.3, 0.2], atol=0.06)


def test_one_around_another_in_a_compiled_sampler():
    model = model_of(sampler=DDIMSampler(4), clip=True)
    guide = DynamicThresholding(IntervalGuidance(RescaledGuidance(3.0, negative={"labels": [1]}), 0.1, 5.0), 0.9)
    together = model.sample(3, seed=0, labels=["a", "b", "a"], guidance=guide)
    assert guide.strength == 3.0 and np.abs(together).max() <= 1
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(guide))
    assert again == guide and again.key == guide.key
    np.testing.assert_allclose(
        model.sample(3, seed=0, labels=["a", "b", "b"], guidance=again)[:2], together[:2], atol=1e-5
    )
    other = DynamicThresholding(IntervalGuidance(RescaledGuidance(1.0, negative={"labels": [1]}), 0.1, 5.0), 0.9)
    assert other.key == guide.key  # one compiled function, for all strengths
    assert np.abs(model.sample(3, seed=0, labels=["a", "b", "a"], guidance=other) - together).max() > 1e-3


def test_wrong_arguments():
    model = model_of(clip=True)
    cases = [
        ({"guidance": ClassifierFreeGuidance(2.0, negative={"labels": 2})}, r"labels: expected integers in \[0, 2\)"),
        ({"guidance": ClassifierFreeGuidance(2.0, negative={"labels": "c"})}, "labels: expected one of 'a', 'b'"),
        ({"guidance": ComposedGuidance([{"labels": 0}]), "labels": 1}, "guidance: labels is given beside a Composed"),
        (
            {"guidance": AutoGuidance(model_of(schedule="linear"))},
            "weaker: expected the process CosineSchedule.*received Linear",
        ),
        (
            {"guidance": AutoGuidance(model_of(num_classes=["a", "c"]))},
            "weaker: expected no conditions but the model's",
        ),
        ({"guidance": AutoGuidance(model_of(label_dropout=0.0))}, "labels: the weaker model that guides needs it"),
    ]
    for arguments, message in cases:
        with pytest.raises(ValueError, match=message):
            model.sample(2, **arguments)
    with pytest.raises(TypeError, match="size: expected labels, received 'size'"):
        model.sample(2, guidance=ComposedGuidance([{"size": 0}]))
    with pytest.raises(ValueError, match="guidance: DynamicThresholding is for data in"):
        model_of().sample(2, labels=1, guidance=DynamicThresholding(2.0))
    three = DDPM((3,), network=MLP((3,), (3,), (4,), time=True), ema=None)
    with pytest.raises(ValueError, match=r"weaker: expected data of shape \(3,\), as the model's own, received \(2,\)"):
        three.sample(2, guidance=AutoGuidance(model))
    with pytest.raises(TypeError, match="weaker: expected a DDPM"):
        AutoGuidance("ddpm_digits")
    with pytest.raises(ValueError, match="low, high: expected low < high, received 2 and 1"):
        IntervalGuidance(3.0, 2.0, 1.0)
    with pytest.raises(ValueError, match="guidance: expected one that some strength switches off"):
        IntervalGuidance(DynamicThresholding(3.0))
    with pytest.raises(ValueError, match="negative: expected a dict from the names of conditions"):
        ClassifierFreeGuidance(2.0, negative=3)
    with pytest.raises(ValueError, match="parts: expected a list of dicts"):
        ComposedGuidance([])
    with pytest.raises(ValueError, match="guidance: expected a number in"):
        model.sample(2, labels=1, guidance="strong")
    assert isinstance(IntervalGuidance(3.0), Guidance) and IntervalGuidance(3.0).strength == 3.0
