"""A classifier of noised data, trained on Gaussians."""

import itertools

import keras
import numpy as np
import pytest
from keras import ops

import kgen
from kgen.diffusion import DDPM, ClassifierGuidance, DDIMSampler, NoisyClassifier
from kgen.networks import MLP

MEANS = np.array([[2.0, 0.0], [-2.0, 1.0], [0.0, -2.0]], "float32")
COMPILE = {"jit_compile": False} if keras.config.backend() == "tensorflow" else {}
WHOLE = {"batch_size": 1024, "verbose": 0, "return_dict": True}


def network():
    return MLP((2,), (3,), widths=(32,), time=True)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 1024).astype("int32")
    return (MEANS[y] + 0.3 * rng.normal(size=(1024, 2))).astype("float32"), y


@pytest.fixture(scope="module")
def trained(data):
    keras.utils.set_random_seed(0)
    model = NoisyClassifier((2,), ["x", "y", "z"], network=network())
    model.compile(keras.optimizers.Adam(2e-2), **COMPILE)
    losses = model.fit(*data, batch_size=256, epochs=12, verbose=0).history
    assert losses["accuracy"][-1] > losses["accuracy"][0] and losses["loss"][-1] < 0.7 * losses["loss"][0]
    return model


def logits(model, x, y, t, seed=1):
    times = np.full(len(x), t, "float32")
    noise = np.random.default_rng(seed).normal(size=x.shape).astype("float32")
    return ops.convert_to_numpy(
        model([model.schedule.add_noise(*map(ops.convert_to_tensor, (x, times, noise))), times])
    )


@pytest.mark.once("test_same_everywhere holds the training of every backend to the same numbers")
def test_it_knows_the_class_the_better_the_less_noise_there_is(trained, data):
    x, y = data
    accuracy = [(logits(trained, x, y, t).argmax(1) == y).mean() for t in (0.05, 0.5, 0.7, 1.0)]
    assert accuracy[0] > 0.97 and accuracy[3] < 0.45 and all(a > b for a, b in itertools.pairwise(accuracy))
    first = trained.evaluate(x, y, **WHOLE)
    assert first == trained.evaluate(x, y, **WHOLE) and set(first) == {"loss", "accuracy"}


def test_the_loss_is_the_cross_entropy_at_the_times_of_the_law(data):
    """A classifier that says the same of all: ln 3 for each class."""
    fair = NoisyClassifier((2,), 3, network=network(), times="logit_normal", schedule="edm")
    fair.set_weights([np.zeros_like(w) for w in fair.get_weights()])
    fair.compile(run_eagerly=True)
    assert fair.evaluate(*data, **WHOLE)["loss"] == pytest.approx(np.log(3), rel=1e-5)


def test_saved_and_loaded_it_is_the_same(trained, data, tmp_path):
    trained.save(tmp_path / "m.keras")
    loaded = kgen.load(tmp_path / "m.keras")
    assert loaded.get_config() == trained.get_config()
    np.testing.assert_allclose(logits(loaded, *data, 0.3), logits(trained, *data, 0.3), atol=1e-6)


def test_it_guides_a_model_that_knows_no_classes(trained, data):
    @keras.saving.register_keras_serializable(package="kgen_tests")
    class Mixture(keras.layers.Layer):
        """The exact noise of the mixture of the three Gaussians."""

        def call(self, inputs, training=False):
            x, t = inputs
            alpha, sigma = (ops.reshape(f(t), (-1, 1, 1)) for f in (trained.schedule.alpha, trained.schedule.sigma))
            away, variance = x[:, None] - alpha * ops.convert_to_tensor(MEANS), 0.09 * alpha**2 + sigma**2
            weights = ops.softmax(-0.5 * ops.sum(away**2, -1) / variance[..., 0], -1)
            return ops.sum(weights[..., None] * sigma * away / variance, axis=1)

    model = DDPM((2,), network=Mixture(), prediction="noise", sampler=DDIMSampler(20), ema=None)
    model.compile(**COMPILE)
    guided, plain = (model.sample(64, seed=0, guidance=ClassifierGuidance(trained, s, label=1)) for s in (1.0, 0.0))
    shares = [(np.linalg.norm(x[:, None] - MEANS, axis=-1).argmin(1) == 1).mean() for x in (guided, plain)]
    assert shares[0] > 0.8 and shares[1] < 0.5


def test_default_networks_take_any_shape():
    for shape in ((8, 8, 1), (3,)):
        model = NoisyClassifier(shape, 4)
        found = ops.convert_to_numpy(model([np.ones((2, *shape), "float32"), np.array([0.2, 0.9], "float32")]))
        assert found.shape == (2, 4) and np.abs(found[0] - found[1]).max() > 1e-4  # it is told the time


def test_wrong_arguments(trained, data):
    with pytest.raises(
        ValueError, match=r"network: expected logits \(B, 4\) for \[x_t, t\], received shape \(None, 3\)"
    ):
        NoisyClassifier((2,), 4, network=network())
    with pytest.raises(ValueError, match=r"y: expected integers in \[0, 3\), received values from 1 to 3"):
        trained.fit(data[0], data[1] + 1)
    with pytest.raises(NotImplementedError, match="NoisyClassifier does not sample"):
        trained.sample(2)
