"""Consistency models: the identity at the least noise, the teacher, training and saving on toy data."""

import keras
import numpy as np
import pytest
import scipy.stats
from keras import ops

import kgen
from kgen.core import Batch, random
from kgen.diffusion import (
    EDM,
    ConsistencyModel,
    ConsistencyPrediction,
    ConsistencySampler,
    EDMPrediction,
    GrowingLevels,
    LogNormalTimes,
    ShrinkingGaps,
)
from kgen.networks import MLP

COMPILE = {"jit_compile": False} if keras.config.backend() == "tensorflow" else {}
DATA = np.random.default_rng(0).choice([-1.0, 1.0], size=(256, 1)).astype("float32") * np.ones((1, 2), "float32")


def toy(**kwargs):
    network = MLP((2,), (2,), widths=(64, 64), time=True)
    return ConsistencyModel((2,), network=network, sigma_data=1.0, sigma_max=10.0, noise_levels=10, ema=0.9, **kwargs)


@pytest.fixture(scope="module")
def trained():
    keras.utils.set_random_seed(0)
    model = toy()
    model.compile(keras.optimizers.Adam(5e-3), **COMPILE)
    history = model.fit(DATA, batch_size=128, epochs=100, verbose=0).history["loss"]
    return model, history


def test_at_the_least_noise_it_is_the_identity():
    prediction = ConsistencyPrediction(0.5, 0.002)
    rng = np.random.default_rng(0)
    x, output = (ops.convert_to_tensor(rng.normal(size=(4, 3)).astype("float32")) for _ in range(2))
    one = ops.ones((4, 1))
    np.testing.assert_array_equal(ops.convert_to_numpy(prediction.estimate(output, x, one, 0.002 * one).data), x)
    skip, out = 0.25 / (2.998**2 + 0.25), 0.5 * 2.998 / np.sqrt(9.25)
    far = ops.convert_to_numpy(prediction.estimate(output, x, one, 3.0 * one).data)
    expected = skip * ops.convert_to_numpy(x) + out * ops.convert_to_numpy(output)
    np.testing.assert_allclose(far, expected, rtol=1e-4)


def test_its_loss_is_the_pseudo_huber_distance_over_the_gap():
    """Song & Dhariwal 2023, Eq. 8 and section 3.4: c = 0.00054 sqrt(D), weight 1 / (sigma_{n+1} - sigma_n); data for the lowest level."""
    keras.utils.set_random_seed(0)
    model = toy(label_dropout=0.0)
    x = np.random.default_rng(1).normal(size=(9, 2)).astype("float32")
    strata = ((np.arange(9) + 0.5) / 9).astype("float32")  # one row for each pair of the ten levels
    seeds = random.row_seeds(0, 9)

    def run(x, strata, seeds):
        noise = random.normal(seeds, (2,))
        batch = Batch(x, strata=strata, seeds=seeds, conditions={})
        return model.objective(batch, training=False)[0], noise

    losses, z = map(ops.convert_to_numpy, run(*map(ops.convert_to_tensor, (x, strata, seeds))))
    ends = 0.002 ** (1 / 7), 10.0 ** (1 / 7)
    sigma = (ends[0] + np.arange(10) / 9 * (ends[1] - ends[0])) ** 7

    def f(x, n):
        t = ops.convert_to_tensor(np.full((len(x),), n / 9, "float32"))
        return ops.convert_to_numpy(model.denoiser(False)(ops.convert_to_tensor(x.astype("float32")), t, {}).data)

    c = 0.00054 * np.sqrt(2)
    for n in range(9):
        later, now = (x[n : n + 1] + sigma[i] * z[n] for i in (n + 1, n))
        apart = f(later, n + 1) - (f(now, n) if n else now)
        apart = np.sqrt(np.sum(apart**2) + c**2) - c
        np.testing.assert_allclose(losses[n], apart / (sigma[n + 1] - (sigma[n] if n else 0.0)), rtol=2e-3)


def test_the_teacher_follows_at_its_own_rate():
    model = toy(teacher=0.5)
    start = ops.convert_to_numpy(model.network.weights[0])
    model.compile(keras.optimizers.SGD(0.1), **COMPILE)
    model.train_on_batch(DATA[:32])
    now, teacher = (ops.convert_to_numpy(n.weights[0]) for n in (model.network, model.teacher_network))
    np.testing.assert_allclose(teacher, start + 0.9 * (now - start), atol=1e-6)  # the first decay is min(0.5, 1/10)
    assert np.abs(now - start).max() > 0
    assert not model.teacher_network.trainable_variables


def test_levels_double_while_training_goes_on():
    """Song & Dhariwal 2023: N(k) = min(s_0 2^floor(k/K'), s_1) + 1 with s_0 = 10, s_1 = 1280, of which 8 numbers take 1/8 of the steps each."""
    levels = GrowingLevels(800)
    found = [float(levels.at(ops.convert_to_tensor(float(k)))) for k in (0, 99, 100, 399, 400, 699, 700, 800, 10**6)]
    assert found == [11, 11, 21, 81, 161, 641, 1281, 1281, 1281]
    assert float(GrowingLevels(10, 4, 4).at(ops.convert_to_tensor(7.0))) == 5
    model = ConsistencyModel((2,), network=MLP((2,), (2,), widths=(4,), time=True), noise_levels=levels, teacher=0.0)
    again = ConsistencyModel.from_config(model.get_config())
    assert again.noise_levels == levels and again.get_config() == model.get_config()
    for step, gap in ((0, 1 / 10), (100, 1 / 20)):
        model.teacher_step.assign(step)
        t, later = (ops.convert_to_numpy(v) for v in model.neighbours(ops.convert_to_tensor([0.0, 0.51, 0.99])))
        np.testing.assert_allclose(t, [0.0, 0.5, 1.0 - gap], atol=1e-6)
        np.testing.assert_allclose(later - t, gap, atol=1e-6)
    with pytest.raises(ValueError, match="last: expected at least first=10, received 4"):
        GrowingLevels(100, last=4)


def test_gaps_shrink_while_training_goes_on():
    """Geng et al. 2024: r = sigma (1 - n(sigma) / q^(a + 1)), n(sigma) = 1 + k sigmoid(-b sigma), and the data where that is below 0."""
    gaps = ShrinkingGaps(400, q=2.0, stages=4, k=8.0, b=1.0)
    network = MLP((2,), (2,), widths=(4,), time=True)
    model = ConsistencyModel((2,), network=network, noise_levels=gaps, teacher=0.0)
    again = ConsistencyModel.from_config(model.get_config())
    assert again.noise_levels == gaps and again.get_config() == model.get_config()
    t = np.array([0.05, 0.3, 0.5, 0.8, 1.0], "float32")
    sigma = (0.002 ** (1 / 7) + t.astype("float64") * (80.0 ** (1 / 7) - 0.002 ** (1 / 7))) ** 7
    for step, stage in ((0, 0), (99, 0), (100, 1), (399, 3), (10**6, 3)):
        model.teacher_step.assign(step)
        found, later = (ops.convert_to_numpy(v) for v in model.neighbours(ops.convert_to_tensor(t)))
        np.testing.assert_array_equal(later, t)
        r = sigma * (1 - (1 + 8 / (1 + np.exp(sigma))) / 2 ** (stage + 1))
        expected = (np.maximum(r, 0.002) ** (1 / 7) - 0.002 ** (1 / 7)) / (80.0 ** (1 / 7) - 0.002 ** (1 / 7))
        np.testing.assert_allclose(found, expected, atol=2e-5)
        assert (found[0] == 0) == (stage < 2)  # the data
    with pytest.raises(ValueError, match="stages"):
        ShrinkingGaps(400, stages=0)


def test_levels_are_drawn_by_the_normal_law_of_their_logarithms():
    """Song & Dhariwal 2023, section 3.5: p(n) is the probability that ln sigma falls between two levels, of those that it falls between any."""
    levels, rows = 12, 4000
    model = ConsistencyModel(
        (1,), network=MLP((1,), (1,), widths=(4,), time=True), noise_levels=levels, times=LogNormalTimes(-1.1, 2.0)
    )
    u = ((np.arange(rows) + 0.5) / rows).astype("float32")
    found = ops.convert_to_numpy(model.neighbours(ops.convert_to_tensor(u))[0])
    counts = np.bincount(np.round(found * (levels - 1)).astype(int), minlength=levels - 1)
    t = np.linspace(0, 1, levels)
    sigma = (0.002 ** (1 / 7) + t * (80.0 ** (1 / 7) - 0.002 ** (1 / 7))) ** 7
    cdf = scipy.stats.norm.cdf(np.log(sigma), -1.1, 2.0)
    np.testing.assert_allclose(counts / rows, np.diff(cdf) / (cdf[-1] - cdf[0]), atol=1e-3)
    assert ConsistencyModel.from_config(model.get_config()).times == LogNormalTimes(-1.1, 2.0)


def test_it_begins_as_a_diffusion_model():
    edm = EDM((2,), network=MLP((2,), (2,), widths=(8,), time=True), sigma_data=1.0)
    for v in edm.weights:
        v.assign(np.random.default_rng(1).normal(size=v.shape, scale=0.3))
    model = ConsistencyModel.from_diffusion(edm, noise_levels=4)
    x, t = ops.convert_to_tensor(DATA[:3]), ops.convert_to_tensor(np.array([0.2, 0.6, 1.0], "float32"))
    ours, theirs = (m.denoiser(clip=False)(x, t, {}).data for m in (model, edm))
    np.testing.assert_array_equal(ops.convert_to_numpy(ours), ops.convert_to_numpy(theirs))
    again = ConsistencyModel.from_config(model.get_config())
    assert again.prediction == EDMPrediction(1.0) and again.schedule == edm.schedule
    assert len(model.trainable_variables) == len(edm.trainable_variables)
    other = ConsistencyModel.from_diffusion(edm, network=edm.network, label_dropout=0.3, noise_levels=ShrinkingGaps(8))
    assert other.network is edm.network and other.label_dropout == 0.3


def test_it_learns(trained):
    model, history = trained
    assert np.isfinite(history).all() and np.mean(history[-20:]) < 0.95 * np.mean(history[:5])
    points, untrained = np.array([[-1.0, -1.0], [1.0, 1.0]]), toy()
    for steps in (1, 3):
        found, before = (
            np.linalg.norm(m.sample(128, seed=0, steps=steps)[:, None] - points, axis=-1).min(1).mean()
            for m in (model, untrained)
        )
        assert found < 0.6 * before
    assert ConsistencySampler(3).calls() == 3


def test_saved_it_goes_on_with_its_teacher(trained, tmp_path):
    model, _ = trained
    model.save(tmp_path / "m.keras")
    again = kgen.load(tmp_path / "m.keras")
    assert again.get_config() == model.get_config()
    for each in (model, again):
        each.fit(DATA[:64], shuffle=False, verbose=0)
    for a, b in zip(model.teacher_network.weights, again.teacher_network.weights, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(a), ops.convert_to_numpy(b))
    with pytest.raises(NotImplementedError, match="has no likelihood"):
        model.log_prob(DATA)
    with pytest.raises(ValueError, match="noise_levels: expected at least 2, received 1"):
        ConsistencyModel((2,), network=MLP((2,), (2,), widths=(4,), time=True), noise_levels=1)


def test_what_goes_along_paths_is_refused(trained):
    """Its estimates are where a path ends, and say nothing of the way."""
    model, _ = trained
    for refused in (
        lambda: model.sample(2, sampler="heun"),
        lambda: kgen.diffusion.invert(model, DATA[:2]),
        lambda: kgen.diffusion.reflow_pairs(model, 2),
        lambda: toy(sampler=kgen.diffusion.DDIMSampler(4)),
    ):
        with pytest.raises(ValueError, match="sampler: Consistency.* estimates the end of the path"):
            refused()
    with pytest.raises(ValueError, match="weaker: expected a diffusion model, whose estimates show the way"):
        kgen.diffusion.AutoGuidance(model)
    with pytest.raises(ValueError, match="model: expected a diffusion model, whose estimates show the way"):
        kgen.diffusion.posterior_sample(model, DATA[:2], lambda x: x)
    images = ConsistencyModel((4, 4, 1), network=MLP((4, 4, 1), (4, 4, 1), widths=(4,), time=True))
    assert [e.name for e in images.further_endpoints()] == ["translate", "inpaint"]
    assert np.isfinite(kgen.diffusion.inpaint(images, np.zeros((1, 4, 4, 1), "float32"), np.eye(4, dtype=bool))).all()
