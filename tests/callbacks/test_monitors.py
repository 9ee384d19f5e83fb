"""Each monitor in a training with the fault, and in one without."""

import warnings

import keras
import numpy as np
import pytest
from core.one_loss import OneLoss

import kgen
from kgen.autoregressive import GPT
from kgen.callbacks import (
    DeadCodes,
    DiscriminatorBalance,
    DivergingChains,
    ExposureBias,
    LossFaults,
    ModeCollapse,
    Monitor,
    PosteriorCollapse,
)
from kgen.core.conditions import LabelCondition
from kgen.energy import EnergyModel, LangevinSampler
from kgen.gan import GAN
from kgen.layers import VectorQuantizer
from kgen.networks import MLP, SpatialDecoder, SpatialEncoder
from kgen.vae import VAE, VQVAE

from contract import COMPILE

RNG = np.random.default_rng(0)
# One bright row of four: something to say about an image.
IMAGES = np.repeat(
    np.repeat(np.eye(4, dtype="float32")[RNG.integers(0, 4, 256)][:, :, None, None] * 2 - 1, 4, axis=2), 1, 3
)


def history(model, x, monitor, epochs=4, **options):
    return model.fit(x, epochs=epochs, batch_size=64, verbose=0, callbacks=[monitor], **options).history


def healthy(model, x, monitor, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        assert "faults" not in history(model, x, monitor, **options) and monitor.faults == []


def faulty(model, x, monitor, match, **options):
    with pytest.warns(RuntimeWarning, match=match):
        (fault, *_) = history(model, x, monitor, **options)["faults"]
    assert fault == monitor.faults[0] and fault["monitor"] == type(monitor).__name__ and fault["saw"] and fault["try"]
    return fault


def vae(beta):
    encoder, decoder = MLP((4, 4, 1), (4,), widths=(32,)), MLP((2,), (4, 4, 1), widths=(32,))
    model = VAE((4, 4, 1), 2, encoder=encoder, decoder=decoder, beta=beta)
    model.compile(keras.optimizers.Adam(1e-2))
    return model


def test_posterior_collapse():
    healthy(vae(0.1), IMAGES, PosteriorCollapse(IMAGES, patience=4), epochs=15)
    fault = faulty(
        vae(1000.0),
        IMAGES,
        PosteriorCollapse(IMAGES, patience=2),
        "since epoch .*: 0 of 2 latent coordinates",
        epochs=15,
    )
    assert fault["last"] == 14 and "beta" in fault["try"]


def test_dead_codes():
    def model(revive):
        encoder = SpatialEncoder((4, 4, 1), 3, channels=(8,), blocks=1)
        decoder = SpatialDecoder((2, 2, 3), 1, channels=(8,), blocks=1)
        quantizer = VectorQuantizer(8, 3)
        found = VQVAE((4, 4, 1), encoder=encoder, decoder=decoder, quantizer=quantizer)
        if not revive:  # codes far from where the encoder goes, without a way back
            found.quantizer.codebook.assign(np.concatenate([np.zeros((1, 3)), np.full((7, 3), 50.0)]))
        found.compile(keras.optimizers.Adam(1e-3))
        return found

    healthy(model(True), IMAGES, DeadCodes(IMAGES, used=0.2))
    stuck = model(False)
    monitor = DeadCodes(IMAGES, used=0.2)
    monitor.set_model(stuck)
    assert "1 of 8 codes are used by 256 examples" in monitor.find({})
    assert monitor.value == pytest.approx(1 / 8)


def gan(constant=False, rate=1e-3):
    layers = [keras.layers.Dense(16, "relu"), keras.layers.Dense(2)]
    if constant:  # whatever the noise
        layers = [keras.layers.Dense(2, kernel_initializer="zeros", bias_initializer="ones")]
    generator = keras.Sequential([keras.Input((2,)), *layers], name="generator")
    judge = MLP((2,), (1,), widths=(32, 32), name="discriminator")
    model = GAN((2,), 2, generator=generator, discriminator=judge, ema=None)
    if constant:
        generator.trainable = False
    model.compile({"generator": keras.optimizers.Adam(1e-4), "discriminator": keras.optimizers.Adam(rate)})
    return model


POINTS = RNG.normal(size=(512, 2)).astype("float32")


def test_a_healthy_start_is_left_alone():
    x, _ = kgen.data.load("digits", split="train")
    alike, monitor = Draws(np.repeat(x[:1], 64, axis=0)), ModeCollapse(x)
    monitor.steps = 100  # a generator's first samples are all alike
    assert judged(monitor, alike) is None and monitor.value < 0.1
    monitor.steps = 600
    assert judged(monitor, Draws(x)) is None
    assert "samples reach 1.0 clusters" in judged(monitor, alike)
    # The logits' difference over the epochs of a small GAN, measured.
    balance = DiscriminatorBalance()
    balance.on_train_begin()
    for difference in (0.12, 0.29, 0.44, 0.58, 0.69, 0.8, 0.89, 0.96, 1.0, 0.96, 0.88, 0.68, 0.45, 0.19, -0.05):
        assert balance.find({"real_logit": difference / 2, "fake_logit": -difference / 2}) is None


def test_mode_collapse_of_a_gan_is_seen_after_its_start():
    monitor = ModeCollapse(POINTS, patience=2, after=20, stop=True)
    with pytest.warns(
        RuntimeWarning, match="ModeCollapse, since epoch 3: samples reach 1.0 clusters of the data, as many"
    ):
        ended = history(gan(constant=True), POINTS, monitor, epochs=9)
    assert len(ended["generator_loss"]) == 4 and ended["faults"][0]["last"] == 3  # 8 steps an epoch; stop=True


class Draws:
    """A model that gives rows of ``x``; of the given classes, where it has some."""

    def __init__(self, x, y=None):
        self.x, self.y, self.num_classes = x, y, None if y is None else int(y.max()) + 1

    def sample(self, n, seed=None, labels=None):
        rng = np.random.default_rng(seed)
        if self.y is None:
            assert labels is None
            return self.x[rng.integers(0, len(self.x), n)]
        return np.stack([rng.choice(self.x[self.y == label]) for label in np.broadcast_to(labels, n)])


def judged(monitor, model):
    monitor.set_model(model)
    return monitor.find({})


def test_samples_of_one_class_or_a_few_modes_are_a_collapse():
    x, y = kgen.data.load("digits", split="train")
    monitor = ModeCollapse(x[np.argsort(y, kind="stable")], after=0)  # the order of rows says nothing
    assert judged(monitor, Draws(x)) is None and abs(monitor.value - 1) < 0.2
    for digit in range(10):
        assert "clusters of the data" in judged(monitor, Draws(x[y == digit]))
    assert judged(monitor, Draws(x * np.nan)) == "samples are not finite" and monitor.value is None
    grid = kgen.data.load("gaussian_grid", split="train")[0]
    mode = np.unique(np.round(grid / np.abs(grid).max() * 2), axis=0, return_inverse=True)[1].reshape(-1)
    assert len(np.unique(mode)) == 25
    monitor = ModeCollapse(grid, after=0)
    assert judged(monitor, Draws(grid)) is None
    assert "samples reach" in judged(monitor, Draws(grid[mode < 3])) and monitor.value < 0.35


def test_a_model_of_classes_is_asked_for_all_of_them():
    x, y = kgen.data.load("digits", split="train")
    monitor = ModeCollapse(x, after=0)
    assert judged(monitor, Draws(x, y)) is None and monitor.value > 0.8
    assert judged(ModeCollapse(x, after=0, sample={"labels": 3}), Draws(x, y)) is not None
    assert judged(monitor, Draws(np.repeat(x[:1], len(x), 0), y)) is not None
    named = Draws(x, y)  # a model whose classes have names describes them
    named.conditions, named.num_classes = [LabelCondition([f"digit {i}" for i in range(10)])], None
    assert judged(monitor, named) is None and monitor.value > 0.8


def test_discriminator_too_strong_and_too_weak():
    strong = DiscriminatorBalance(strong=5.0, patience=2)
    faulty(gan(constant=True, rate=3e-2), POINTS + 3, strong, "the discriminator is too strong", epochs=12)
    weak = DiscriminatorBalance()
    untrained = gan(rate=0.0)
    untrained.discriminator.set_weights([0 * w for w in untrained.discriminator.get_weights()])
    assert (
        "n_critic"
        in faulty(untrained, POINTS, weak, "the discriminator is too weak: its logits differ by 0.000")["try"]
    )
    model = OneLoss(dim=2)
    model.compile("adam")
    with pytest.raises(ValueError, match="expected a model that logs 'real_logit', this one logs"):
        history(model, POINTS, DiscriminatorBalance())


def test_a_monitor_names_what_the_model_does_not_have():
    class NoCodes(keras.Model):
        encode = None

    for monitor, model, absent in (
        (DeadCodes(IMAGES), NoCodes(), "a model with encode and num_codes, NoCodes has no num_codes"),
        (PosteriorCollapse(IMAGES), gan(), "expected a model with encode, GAN has no encode"),
        (DivergingChains(POINTS), gan(), "expected a model with sample and energy, GAN has no energy"),
    ):
        monitor.set_model(model)
        with pytest.raises(TypeError, match=absent):
            monitor.on_train_begin()


def energy_model(slope):
    """An energy that falls by ``slope`` along both coordinates, far beyond the data, until the reference holds it."""
    dense = keras.layers.Dense(1, kernel_initializer=keras.initializers.Constant(-slope))
    network = keras.Sequential([keras.Input((2,)), dense])
    model = EnergyModel((2,), network=network, sampler=LangevinSampler(0.3, 60), reference_scale=2.0)
    model.compile(keras.optimizers.Adam(1e-3), **COMPILE)
    return model


def test_diverging_chains():
    points = 2 * POINTS
    healthy(energy_model(0.0), points, DivergingChains(points), epochs=2)
    fault = faulty(
        energy_model(200.0), points, DivergingChains(points), "chains end .* below it|chains diverged", epochs=1
    )
    assert "alpha" in fault["try"]
    model = energy_model(0.0)
    model.sampler = LangevinSampler(30.0, 60)
    monitor = DivergingChains(points)
    monitor.set_model(model)
    assert "chains diverged" in monitor.find({}) and "step_size" in monitor.advice


@pytest.mark.once("test_same_everywhere holds the random numbers of every backend to the same")
def test_exposure_bias():
    def chain(n, rng):  # each token is its predecessor plus 0, 1 or 2, mod 6
        return (rng.integers(0, 6, (n, 1)) + np.cumsum(rng.integers(0, 3, (n, 16)), axis=1)) % 6

    def gpt():
        model = GPT(6, context=16, layers=1, width=32, heads=2)
        model.compile(keras.optimizers.Adam(2e-2), **COMPILE)
        return model

    rng = np.random.default_rng(0)
    held_out = chain(128, rng)
    healthy(gpt(), chain(1024, rng), ExposureBias(held_out, patience=2), epochs=3)
    by_heart = ExposureBias(held_out, patience=2)
    fault = faulty(gpt(), chain(8, rng), by_heart, "late in its own sequences a token has", epochs=30)
    assert "learnt by heart" in fault["try"] and by_heart.value < 1 / 1.5


class Scripted(Monitor):
    advice = "nothing"

    def __init__(self, finds, **kwargs):
        super().__init__(**kwargs)
        self.finds = finds

    def find(self, logs):
        return self.finds.pop(0)


def test_a_fault_that_comes_goes_and_comes_again_counts_twice():
    model = OneLoss(dim=2)
    model.compile("adam")
    monitor = Scripted([None, "x", "x", None, "x", "x"], patience=2)
    with pytest.warns(RuntimeWarning, match="Scripted, since epoch 2: x. Try: nothing."):
        found = history(model, POINTS, monitor, epochs=6)["faults"]
    assert [(f["epoch"], f["last"]) for f in found] == [(1, 2), (4, 5)]


def test_a_fault_that_turns_into_another_is_warned_of_again():
    model, monitor = OneLoss(dim=2), DiscriminatorBalance(patience=1)
    model.history = keras.callbacks.History()
    model.history.history = {}
    monitor.set_model(model)
    monitor.on_train_begin()
    with pytest.warns(RuntimeWarning) as warned:
        for epoch, difference in enumerate((0.0, 20.0, 30.0)):
            monitor.on_epoch_end(epoch, {"real_logit": difference, "fake_logit": 0.0})
    assert ["too weak" in f["saw"] for f in monitor.faults] == [True, False] and len(warned) == 2
    assert [(f["epoch"], f["last"]) for f in monitor.faults] == [(0, 0), (1, 2)]
    assert LossFaults().find({"psnr": float("inf"), "loss": 1.0}) is None


@pytest.mark.parametrize(
    ("values", "saw"),
    [
        ([1.0, 0.9, 0.8, 0.85, 0.8, 0.78, 0.77, 0.76, 0.75, 0.75, 0.74, 0.73], None),
        ([1.0, 0.9, float("nan")], "loss is nan"),
        ([1.0, 0.9, 0.85, 0.8, 0.82, 0.78, 60.0], "loss is 60 after a median of 0.8"),
        ([1.0, 3.0] * 6, "loss swings by 2 every 2 epochs"),
        (list(2 + np.sin(np.arange(32) * 2 * np.pi / 8)), "every 8 epochs"),
        ([1.0, 1.01] * 20, None),  # too little to matter
    ],
)
def test_nan_spikes_and_oscillation(values, saw):
    monitor = LossFaults()
    monitor.on_train_begin()
    found = [monitor.find({"loss": v}) for v in values]
    assert (saw is None and not any(found)) or any(f and saw in f for f in found)
    healthy_until = next((i for i, f in enumerate(found) if f), len(values))
    assert healthy_until >= (len(values) if saw is None else 2)


def test_losses_that_are_only_noisy_are_left_alone():
    rng = np.random.default_rng(0)
    runs = 1 + 0.3 * rng.normal(size=(200, 100))  # independent from epoch to epoch
    runs[100:] *= 0.3 + 3 * np.exp(-np.arange(100) / 15)  # as they fall
    seen = 0
    for run in runs:
        monitor = LossFaults()
        monitor.on_train_begin()
        seen += any(monitor.find({"loss": value}) for value in run)
    assert seen <= 6  # 1 % are expected: of 200, more than 6 in 2 of 1,000 tests


def test_an_oscillation_is_seen_through_noise():
    rng = np.random.default_rng(0)
    for period in (2, 3, 5.5, 9):
        times = np.arange(60)
        run = 2 - times / 100 + 0.7 * np.cos(2 * np.pi * times / period) + 0.2 * rng.normal(size=60)
        monitor = LossFaults(spike=1e9)
        monitor.on_train_begin()
        assert any("swings" in (monitor.find({"loss": value}) or "") for value in run), period


def test_tensorboard_gets_the_value_and_the_fault(tmp_path):
    pytest.importorskip("tensorboard")
    model = OneLoss(dim=2)
    model.compile("adam")
    monitor = Scripted(["the fault", None], log_dir=tmp_path)
    monitor.value = 0.5
    with pytest.warns(RuntimeWarning):
        history(model, POINTS, monitor, epochs=2)
    (file,) = tmp_path.iterdir()
    assert b"the fault" in file.read_bytes() and b"Scripted" in file.read_bytes()


def test_wrong_arguments():
    for make, message in (
        (lambda: PosteriorCollapse(IMAGES[:1]), "x: expected at least 2 examples, received 1"),
        (lambda: ModeCollapse(np.zeros((50, 2))), "x: expected examples that differ"),
        (lambda: ModeCollapse(POINTS, n=1), "x, n: expected at least 16 examples and 2 samples"),
        (lambda: DeadCodes(IMAGES, used=2.0), "used: expected a number in"),
        (lambda: DivergingChains(POINTS[:1]), "x: expected at least 2 examples, received 1"),
        (lambda: ExposureBias(np.zeros((4, 7), int)), "x: expected tokens .* received shape .4, 7."),
        (lambda: LossFaults(patience=0), "patience: expected an integer of at least 1, received 0"),
    ):
        with pytest.raises(ValueError, match=message):
            make()
