"""DDPM: what it trains, samples and bounds; wrong arguments."""

import math

import keras
import numpy as np
import pytest
from keras import ops

import kgen
from kgen import backend
from kgen.core import random
from kgen.core.conditions import Conditions, ImageCondition, LabelCondition, SequenceCondition
from kgen.diffusion import (
    DDPM,
    AncestralSampler,
    ClassifierFreeGuidance,
    ConsistencyModel,
    CosineSchedule,
    DDIMSampler,
    Denoiser,
    EDMSchedule,
    Estimate,
    LearnedVariance,
    LinearSchedule,
    VelocityPrediction,
    ZeroTerminalSNR,
)
from kgen.diffusion.bound import variational_bound
from kgen.networks import MLP, UNet

COMPILE = {"jit_compile": False} if keras.config.backend() == "tensorflow" else {}


def small(num_classes=None, **kwargs):
    network = UNet((4, 4, 1), channels=(8,), blocks=1, attention=(False,), num_classes=num_classes, groups=4)
    return DDPM((4, 4, 1), network=network, num_classes=num_classes, sampler=DDIMSampler(4), **kwargs)


@pytest.fixture(scope="module")
def conditional():
    keras.utils.set_random_seed(0)
    return small(num_classes=3)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 64).astype("int32")
    x = np.clip(0.1 * rng.normal(size=(64, 4, 4, 1)) + (y - 1)[:, None, None, None] * 0.8, -1, 1).astype("float32")
    return x, y


@pytest.mark.once("test_same_everywhere holds the training of every backend to the same numbers")
def test_trained_on_three_constant_images_it_draws_the_class_asked_for(data):
    keras.utils.set_random_seed(0)
    model = small(num_classes=3, ema=0.95)
    model.compile(optimizer=keras.optimizers.Adam(5e-3))
    history = model.fit(*data, epochs=60, batch_size=64, verbose=0).history["loss"]
    assert np.mean(history[-5:]) < 0.5 * np.mean(history[:5])
    means = [model.sample(16, seed=0, labels=k, steps=20).mean() for k in range(3)]
    np.testing.assert_allclose(means, [-0.8, 0.0, 0.8], atol=0.3)


def test_same_seed_same_rows(conditional):
    labels = [0, 1, 2, 0, 1, 2, 0, 1]
    eight = conditional.sample(8, seed=5, labels=labels)
    np.testing.assert_allclose(conditional.sample(4, seed=5, labels=labels[:4]), eight[:4], atol=1e-5)
    np.testing.assert_allclose(conditional.sample(8, seed=5, labels=labels, batch_size=3), eight, atol=1e-5)
    assert np.abs(conditional.sample(8, seed=6, labels=labels) - eight).max() > 0.01
    assert eight.shape == (8, 4, 4, 1) and eight.dtype == np.float32 and np.abs(eight).max() <= 1


def test_guidance_is_the_formula():
    """A network that says 2 for class 0 and 1 for no class gives 1 + g (2 - 1)."""

    def network(inputs, training=False):
        x, _, label = inputs
        return ops.zeros_like(x) + ops.reshape(ops.where(label == 0, 2.0, 1.0), (-1, 1))

    plain = Denoiser(network, LinearSchedule(), VelocityPrediction())
    x, t, strength = np.zeros((2, 3), "float32"), np.full((2,), 0.5, "float32"), np.array([1.0, 3.0], "float32")
    x, t, strength = (ops.convert_to_tensor(v) for v in (x, t, strength))
    given = {"label": ops.zeros((2,), dtype="int32")}
    guided = ClassifierFreeGuidance().around(plain, Conditions(LabelCondition(3, dropout=0.1)), strength)
    np.testing.assert_allclose(ops.convert_to_numpy(guided.output(x, t, given))[:, 0], [2.0, 4.0])
    np.testing.assert_allclose(ops.convert_to_numpy(plain.output(x, t, given))[:, 0], [2.0, 2.0])


def test_guidance_one_is_the_conditional_and_stronger_guidance_differs(conditional):
    # The output starts at zero: give the network something to say.
    weights = conditional.get_weights()
    rng = np.random.default_rng(0)
    conditional.set_weights(
        [w + 0.05 * rng.normal(size=w.shape).astype(w.dtype) if w.dtype == np.float32 else w for w in weights]
    )
    plain = conditional.sample(4, seed=0, labels=1)
    np.testing.assert_allclose(conditional.sample(4, seed=0, labels=1, guidance=1.0), plain, atol=1e-5)
    assert np.abs(conditional.sample(4, seed=0, labels=1, guidance=4.0) - plain).max() > 1e-4
    conditional.set_weights(weights)


def test_the_served_sampler_takes_each_rows_own_number_of_steps():
    model = DDPM((2,), network=MLP((2,), (2,), (8,), time=True), sampler=DDIMSampler(4, eta=0.5), ema=None)
    model.compile(jit_compile=False)
    sample = model.endpoints()[0]
    spec = sample.inputs["steps"]
    assert (spec.dtype, spec.low, spec.high, spec.default) == ("int32", 1, 4, 4)
    counts = np.array([4, 1, 3], "int32")
    run = backend.jit(lambda seed, steps: sample.function(seed=seed, steps=steps)["images"], model.variables)
    served = ops.convert_to_numpy(run(*map(ops.convert_to_tensor, (random.row_seeds(3, 3), counts))))
    for row, count in enumerate(counts):
        np.testing.assert_allclose(served[row], model.sample(3, seed=3, steps=int(count))[row], atol=1e-5)


def test_one_step_is_no_choice():
    assert "steps" not in ConsistencyModel((2,), network=MLP((2,), (2,), (4,), time=True)).endpoints()[0].inputs


def test_bound_is_the_sum_of_its_terms_for_gaussian_data():
    """With the optimal denoiser, all T terms added up by numpy equal the compiled bound."""
    schedule, scale, levels, dim = LinearSchedule(num_steps=20, beta_start=0.01, beta_end=0.4), 0.5, 256, 6

    def denoise(x_t, t):
        alpha, sigma = (ops.reshape(f(t), (-1, 1)) for f in (schedule.alpha, schedule.sigma))
        data = alpha * scale**2 / (alpha**2 * scale**2 + sigma**2) * x_t
        return Estimate(data, None)

    rng = np.random.default_rng(0)
    x = (np.round(np.clip(scale * rng.normal(size=(500, dim)), -1, 1) * 127.5 + 127.5) / 127.5 - 1).astype("float32")
    seeds = random.row_seeds(0, len(x))
    bound = ops.convert_to_numpy(variational_bound(denoise, schedule, ops.convert_to_tensor(x), seeds, levels, 19))
    # The expectation of every term over the noise, in closed form.
    alpha_bar = np.cumprod(1 - np.linspace(0.01, 0.4, 20))
    snr = alpha_bar / (1 - alpha_bar)
    expected = 0.5 * (alpha_bar[-1] * (x**2 - 1) - np.log1p(-alpha_bar[-1])).sum(1)
    for k in range(1, 20):
        a, s2 = np.sqrt(alpha_bar[k]), 1 - alpha_bar[k]
        gain = a * scale**2 / (a**2 * scale**2 + s2)
        error = ((1 - gain * a) * x) ** 2 + gain**2 * s2
        expected += 0.5 * (snr[k - 1] - snr[k]) * error.sum(1)
    a, s2 = np.sqrt(alpha_bar[0]), 1 - alpha_bar[0]
    gain = a * scale**2 / (a**2 * scale**2 + s2)
    # Cells are narrow against sigma(t_1): their mass is width times density.
    error = ((1 - gain * a) * x) ** 2 + gain**2 * s2
    expected += (error / (2 * s2) + 0.5 * np.log(2 * np.pi * s2) - np.log(2 / 255)).sum(1)
    inside = np.abs(x).max(1) < 0.99  # the outer cells are unbounded
    difference = -bound[inside] - expected[inside]
    assert abs(difference.mean()) < 5 * difference.std() / math.sqrt(inside.sum())
    # Fewer terms estimate the same number.
    estimate = ops.convert_to_numpy(variational_bound(denoise, schedule, ops.convert_to_tensor(x), seeds, levels, 5))
    difference = estimate - bound
    assert abs(difference.mean()) < 5 * difference.std() / math.sqrt(len(x))


def test_a_fiftieth_of_the_terms_tells_the_bound_to_a_fifteenth():
    """Terms of little noise are far larger than most: drawn as often as those, 20 of 999 scatter by 96 nats."""
    schedule, scale = CosineSchedule(), 0.5

    def denoise(x_t, t):
        alpha, sigma = (ops.reshape(f(t), (-1, 1)) for f in (schedule.alpha, schedule.sigma))
        return Estimate(alpha * scale**2 / (alpha**2 * scale**2 + sigma**2) * x_t, None)

    x = np.round(np.clip(scale * np.random.default_rng(0).normal(size=(300, 20)), -0.98, 0.98) * 127.5 + 127.5)
    x, seeds = ops.convert_to_tensor((x / 127.5 - 1).astype("float32")), random.row_seeds(0, 300)
    seeds = ops.convert_to_tensor(seeds)
    every, few = (
        ops.convert_to_numpy(backend.jit(lambda *a, n=n: variational_bound(denoise, schedule, *a, 256, n))(x, seeds))
        for n in (999, 20)
    )
    np.testing.assert_allclose(every.mean(), -118.7, atol=1.5)
    assert (few - every).std() < 8.0
    assert abs((few - every).mean()) < 5 * (few - every).std() / math.sqrt(300)


def test_a_learned_variance_at_its_lower_bound_gives_the_same_bound():
    schedule, rng = LinearSchedule(num_steps=20, beta_start=0.01, beta_end=0.4), np.random.default_rng(0)
    x = ops.convert_to_tensor((np.round(rng.uniform(-1, 1, (50, 6)) * 127.5 + 127.5) / 127.5 - 1).astype("float32"))
    seeds = random.row_seeds(0, 50)

    def bound(variance):
        def denoise(x_t, t):
            return Estimate(0.5 * x_t, None, None if variance is None else variance * ops.ones_like(x_t))

        return ops.convert_to_numpy(variational_bound(denoise, schedule, x, seeds, 256, 19))

    np.testing.assert_allclose(bound(0.0), bound(None), rtol=1e-4)
    assert (bound(1.0) != bound(None)).all()


def test_the_gradient_of_a_learned_variance_is_its_own():
    """The divergence trains the variance alone: with weight 0 its half of the output has no gradient, the other half the same."""
    rng = np.random.default_rng(0)
    x, noise, output = (ops.convert_to_tensor(rng.normal(size=(4, 2, s)).astype("float32")) for s in (3, 3, 6))
    t = ops.convert_to_tensor(np.array([0.1, 0.4, 0.7, 1.0], "float32"))

    def slope(weight):
        law = LearnedVariance("noise", weight)
        return ops.convert_to_numpy(backend.grad(lambda o: law.loss(o, x, noise, t, CosineSchedule()), output))

    off, on = slope(0.0), slope(1.0)
    assert not off[..., 3:].any() and on[..., 3:].any()
    np.testing.assert_allclose(on[..., :3], off[..., :3], atol=1e-6)
    # A weight of errors is none of the divergence's (Nichol & Dhariwal, Eq. 16).
    law, schedule = LearnedVariance("noise", 0.7), CosineSchedule()
    once, thrice = (ops.convert_to_numpy(law.loss(output, x, noise, t, schedule, w)) for w in (1.0, 3.0))
    simple = ops.convert_to_numpy(law.prediction.loss(output[..., :3], x, noise, t, schedule))
    np.testing.assert_allclose(thrice - once, 2.0 * simple, rtol=1e-4)


@pytest.mark.parametrize(
    "arguments",
    [
        {"schedule": EDMSchedule(sigma_max=5.0), "prediction": "data", "times": "log_normal"},
        {"schedule": ZeroTerminalSNR(), "weight": "min_snr"},
        {"schedule": "rectified_flow", "prediction": "flow", "times": "logit_normal"},
        {"schedule": "linear", "prediction": LearnedVariance(), "sampler": AncestralSampler(4)},
    ],
    ids=["edm", "zero terminal snr", "rectified flow", "learned variance"],
)
def test_processes_train_sample_save_and_have_a_bound(arguments, data, tmp_path):
    outputs = 2 if isinstance(arguments.get("prediction"), LearnedVariance) else 1
    network = MLP((4, 4, 1), (4, 4, outputs), widths=(32,), time=True)
    model = DDPM((4, 4, 1), network=network, **{"sampler": DDIMSampler(4), **arguments})
    model.compile(keras.optimizers.Adam(1e-2), **COMPILE)
    losses = model.fit(data[0], epochs=6, verbose=0).history["loss"]
    assert np.mean(losses[-2:]) < np.mean(losses[:2])
    x = model.sample(3, seed=0)
    assert np.isfinite(x).all() and np.abs(x).max() <= 1
    levels = np.round(data[0][:2] * 127.5 + 127.5) / 127.5 - 1
    assert np.isfinite(model.log_prob(levels.astype("float32"), num_samples=3)).all()
    model.save(tmp_path / "m.keras")
    again = kgen.load(tmp_path / "m.keras")
    assert again.get_config() == model.get_config()
    np.testing.assert_allclose(again.sample(3, seed=0), x, atol=1e-5)


def test_a_batch_whose_place_says_something():
    """Times must not go with a row's place in the batch: eight rows of one kind stand beside each other here, as in sorted data."""
    keras.utils.set_random_seed(0)
    seen = []

    class Watched(DDPM):
        def loss_at(self, denoiser, x, t, noise, values, training=False):
            seen.append(ops.convert_to_numpy(t))
            return super().loss_at(denoiser, x, t, noise, values, training)

    model = Watched((2,), network=MLP((2,), (2,), widths=(4,), time=True), ema=None)
    model.compile("sgd", run_eagerly=True)
    for _ in range(60):
        model.train_on_batch(np.zeros((8, 2), "float32"))
    times = np.array([t for t in seen if t.shape == (8,)])
    assert len(times) >= 60
    # Each place draws all times: their mean is 1/2 within 4 standard errors, and over one batch they are even.
    assert np.abs(times.mean(0) - 0.5).max() < 4 / (12 * len(times)) ** 0.5
    gaps = np.diff(np.sort(times, axis=1), axis=1)
    assert gaps.max() < 0.13 and gaps.min() > 0.12


def test_a_model_of_several_conditions(data, tmp_path):
    x, y = data
    conditions = [ImageCondition((2, 2, 1), name="low", dropout=0.2), SequenceCondition(3, 7, dropout=0.2)]
    network = UNet(
        (4, 4, 1),
        channels=(8,),
        blocks=1,
        attention=(True,),
        groups=4,
        conditions=[LabelCondition(["a", "b", "c"]), *conditions],
    )
    model = DDPM(
        (4, 4, 1), network=network, num_classes=["a", "b", "c"], conditions=conditions, sampler=DDIMSampler(2), ema=None
    )
    model.compile(keras.optimizers.Adam(1e-2), **COMPILE)
    text = np.array([[1, 2, 0], [3, 0, 0]] * 32)
    model.fit({"image": x, "label": y, "low": x[:, :2, :2], "text": text}, verbose=0)
    model.save(tmp_path / "m.keras")
    given = {"labels": "b", "low": np.full((2, 2, 1), 0.5, "float32"), "text": [1, 2, 0]}
    sample = model.sample(2, seed=0, **given)
    np.testing.assert_allclose(kgen.load(tmp_path / "m.keras").sample(2, seed=0, **given), sample, atol=1e-5)
    for name, value in (("labels", "c"), ("low", np.full((2, 2, 1), -0.5, "float32")), ("text", [1, 3, 0])):
        assert np.abs(model.sample(2, seed=0, **{**given, name: value}) - sample).max() > 1e-6, name
    # What is masked changes nothing.
    masked = {**given, "text": np.array([[1, 2, 5]] * 2), "text_mask": np.array([[1, 1, 0]] * 2)}
    np.testing.assert_allclose(model.sample(2, seed=0, **masked), sample, atol=1e-6)
    inputs = model.endpoints()[0].inputs
    assert list(inputs) == ["seed", "label", "low", "text", "text_mask", "guidance", "steps"]
    assert inputs["label"].choices[1] == "b"


def test_bits_per_dim_converts_the_bound(conditional, data):
    x, y = data
    x = (np.round(x[:8] * 127.5 + 127.5) / 127.5 - 1).astype("float32")
    bits = conditional.bits_per_dim(x, labels=y[:8], levels=256, num_samples=10)
    assert bits.shape == (8,) and (bits > 1).all()
    np.testing.assert_allclose(
        bits, -conditional.log_prob(x, labels=y[:8], num_samples=10) / (16 * math.log(2)), rtol=1e-6
    )
    with pytest.raises(ValueError, match=r"x: expected values at 17 equally spaced levels from -1 to 1, received"):
        conditional.log_prob(x, labels=y[:8], levels=17)


def test_vectors_with_a_network_of_ones_own():
    model = DDPM((2,), network=MLP((2,), (2,), widths=(16,), time=True), sampler=DDIMSampler(3))
    model.compile("adam")
    model.fit(5 * np.random.default_rng(0).normal(size=(32, 2)).astype("float32"), epochs=1, verbose=0)
    assert model.sample(3, seed=0).shape == (3, 2)
    assert not model.clip


def test_evaluate_gives_the_same_figure_each_time(conditional, data):
    conditional.compile("adam")
    first = conditional.evaluate(*data, verbose=0, return_dict=True)
    assert first == conditional.evaluate(*data, verbose=0, return_dict=True)


def test_saved_and_loaded_it_gives_the_same_samples(conditional, tmp_path):
    conditional.save(tmp_path / "m.keras")
    loaded = kgen.load(tmp_path / "m.keras")
    np.testing.assert_allclose(loaded.sample(4, seed=0, labels=2), conditional.sample(4, seed=0, labels=2), atol=1e-6)
    assert loaded.get_config() == conditional.get_config()


def test_wrong_data(conditional, data):
    x, y = data
    plain = small()
    plain.compile("adam")
    conditional.compile("adam")
    cases = [
        (
            plain,
            (x[..., 0],),
            r"x: expected shape \(N, 4, 4, 1\), received \(64, 4, 4\). Grey images need a channel axis",
        ),
        (plain, (np.repeat(x, 3, -1),), r"expected shape \(N, 4, 4, 1\), received \(64, 4, 4, 3\)"),
        (
            plain,
            ((x * 127.5 + 127.5).astype("uint8"),),
            r"expected floats, received uint8. Convert pixels in 0..255 by",
        ),
        (plain, (x * 255,), r"x: expected values in \[-1, 1\], received"),
        (plain, (np.where(x > 0.7, np.nan, x),), "expected finite numbers, received NaN or infinity"),
        (plain, (x, y), r"y: this model has no classes. Train by fit\(x\)"),
        (conditional, (x,), r"y: this model has 3 classes and needs labels: fit\(x, labels\)"),
        (conditional, (x, y + 1), r"y: expected integers in \[0, 3\), received values from 1 to 3"),
        (conditional, (x, y[:10]), "y: expected 64 labels, one per row, received 10"),
        (conditional, (x, np.eye(3)[y]), r"One-hot labels become integers by y.argmax"),
    ]
    for model, arguments, message in cases:
        with pytest.raises(ValueError, match=message):
            model.fit(*arguments, verbose=0)


def test_wrong_arguments(conditional):
    plain = small()
    with pytest.raises(ValueError, match="n: expected an integer of at least 1, received 0"):
        plain.sample(0)
    with pytest.raises(ValueError, match="labels: this model has no classes"):
        plain.sample(2, labels=1)
    with pytest.raises(ValueError, match=r"labels: expected integers in \[0, 3\), received values from 3 to 3"):
        conditional.sample(2, labels=3)
    with pytest.raises(ValueError, match="labels: expected 2 labels, one per row, received 3"):
        conditional.sample(2, labels=[0, 1, 2])
    with pytest.raises(ValueError, match=r"guidance: expected a number in \[0, 100\], received -1"):
        conditional.sample(2, labels=1, guidance=-1)
    with pytest.raises(ValueError, match="guidance: it draws samples towards a class; pass labels too"):
        conditional.sample(2, guidance=2.0)
    sure = small(num_classes=3, label_dropout=0.0)
    with pytest.raises(
        ValueError, match="labels: this model has 3 classes; pass one int for all rows, .* no class would be"
    ):
        sure.sample(2)
    with pytest.raises(ValueError, match="guidance: this model has never been trained without its conditions"):
        sure.sample(2, labels=1, guidance=2.0)
    assert sure.endpoints()[0].inputs["label"].high == 2 and "guidance" not in sure.endpoints()[0].inputs
    with pytest.raises(ValueError, match="prediction: ZeroTerminalSNR.* leaves nothing of the data at t = 1"):
        small(schedule=ZeroTerminalSNR(), prediction="noise")
    with pytest.raises(ValueError, match=r"seed: expected an integer in \[0, 2\*\*62\) or None, received -1"):
        plain.sample(2, seed=-1)
    with pytest.raises(
        ValueError, match=r"shape: expected .* or \(D,\), received \(8, 2, 2, 1\). Other shapes need network="
    ):
        DDPM((8, 2, 2, 1))
    with pytest.raises(
        ValueError, match=r"network: expected outputs shaped like x_t, \(4, 4, 1\), received \(4, 4, 2\)"
    ):
        DDPM((4, 4, 1), network=UNet((4, 4, 1), channels=(8,), attention=(False,), out_channels=2))
    with pytest.raises(ValueError, match=r"network: expected a network that takes \[x_t, t\]"):
        DDPM((4, 4, 1), network=keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]))
    with pytest.raises(ValueError, match=r"compile\(loss=...\): DDPM computes its own losses"):
        plain.compile("adam", loss="mse")
    with pytest.raises(ValueError, match="Compile the model before fit"):
        small().fit(np.zeros((4, 4, 4, 1), "float32"))


def test_a_trajectory_goes_from_noise_to_the_sample(conditional):
    labels = [0, 1, 2]
    path = conditional.trajectory(3, frames=2, seed=4, labels=labels)
    assert path.shape == (3, 3, 4, 4, 1)
    np.testing.assert_allclose(path[:, -1], conditional.sample(3, seed=4, labels=labels), atol=1e-6)
    every = conditional.trajectory(3, frames=4, seed=4, labels=labels)
    np.testing.assert_allclose(path, every[:, ::2], atol=1e-6)
    noise = random.normal(ops.convert_to_tensor(random.row_seeds(4, 3)), (4, 4, 1), draw=0)
    np.testing.assert_allclose(path[:, 0], ops.convert_to_numpy(noise), atol=1e-6)
    with pytest.raises(ValueError, match="frames: expected at most the 4 steps of the sampler, received 5"):
        conditional.trajectory(1, frames=5)
