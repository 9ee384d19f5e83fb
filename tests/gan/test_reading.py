"""ACGAN and InfoGAN: their losses, codes and classes that are found again, their protocol."""

import math

import keras
import numpy as np
import pytest
from keras import layers, ops

from kgen.gan import ACGAN, Discriminator, Generator, InfoGAN

from contract import COMPILE

CENTRES = np.array([[-2.0, 0.0], [2.0, 0.0], [0.0, 2.0]], "float32")


def blobs(n):
    rng = np.random.default_rng(0)  # its own, so that no test's data depend on which ran before
    y = rng.integers(0, 3, n).astype("int32")
    return CENTRES[y] + 0.3 * rng.normal(size=(n, 2)).astype("float32"), y


def value(x):
    return ops.convert_to_numpy(x)


def test_the_auxiliary_classifier_adds_its_cross_entropy():
    x, y = blobs(64)
    model = ACGAN((2,), 3, 4, reading_weight=0.5, adversarial_loss="hinge", ema=None)
    model.compile(**COMPILE)
    logs = model.evaluate(x, y, batch_size=64, verbose=0, return_dict=True)
    probabilities = model.classify(x)
    np.testing.assert_allclose(probabilities.sum(1), 1.0, rtol=1e-5)
    assert logs["class_accuracy"] == pytest.approx((probabilities.argmax(1) == y).mean(), abs=1e-6)
    plain = ACGAN.from_config({**model.get_config(), "reading_weight": 0.0})
    plain.set_weights(model.get_weights())
    plain.compile(**COMPILE)
    without = plain.evaluate(x, y, batch_size=64, verbose=0, return_dict=True)
    more = logs["generator_loss"] - without["generator_loss"]  # w times the generated half
    labels = np.tile(y, 30)
    read = model.classify(model.sample(len(labels), seed=0, labels=labels))[np.arange(len(labels)), labels]
    assert more == pytest.approx(-0.5 * np.log(read).mean(), rel=0.1)  # 64 draws beside 1,920
    real = -np.log(probabilities[np.arange(64), y]).mean()
    assert logs["discriminator_loss"] - without["discriminator_loss"] == pytest.approx(0.5 * real + more, rel=1e-3)


@pytest.mark.once("test_same_everywhere holds the training of every backend to the same numbers")
def test_acgan_learns_its_classes():
    keras.utils.set_random_seed(0)
    x, y = blobs(64 * 70)
    model = ACGAN(
        (2,),
        3,
        4,
        generator=Generator(4, (2,), [16], num_classes=3),
        discriminator=Discriminator((2,), [32], readings=(3,)),
        ema=None,
    )
    model.compile(keras.optimizers.Adam(1e-2, beta_1=0.5), **COMPILE)
    history = model.fit(x, y, batch_size=64, verbose=0).history
    labels = np.arange(300, dtype="int32") % 3
    samples = model.sample(300, seed=0, labels=labels)
    assert (np.linalg.norm(samples[:, None] - CENTRES, axis=-1).argmin(1) == labels).mean() > 0.9
    assert (model.classify(x[:300]).argmax(1) == y[:300]).mean() > 0.97 and history["class_accuracy"][-1] > 0.8
    assert [e.name for e in model.endpoints()] == ["sample", "decode", "classify"]


class Slice(layers.Layer):
    """Hands on the latent codes as they are, times ``scale``."""

    def __init__(self, start, scale=1.0, **kwargs):
        super().__init__(**kwargs)
        self.start, self.scale = start, scale

    def call(self, z):
        return self.scale * z[:, self.start :]


def known(reader):
    """G(z) shows category and code; Q is ``reader`` of what it shows: four categories and one code."""
    z = keras.Input((8,))
    x = keras.Input((5,))
    outputs = [layers.Dense(1)(x), *reader(x)]
    networks = {"generator": keras.Model(z, Slice(3)(z)), "discriminator": keras.Model(x, outputs)}
    model = InfoGAN((5,), 3, categories=4, codes=1, **networks, ema=None)
    model.compile(**COMPILE)
    return model.evaluate(np.zeros((2000, 5), "float32"), batch_size=2000, verbose=0, return_dict=True)


def test_the_bound_is_the_information_where_it_is_known():
    """Codes that are shown are ln 4 nats of category; of the number, a normal density of deviation s around it is ln 2 - ln s - ln(2 pi) / 2."""
    s = math.exp(-3.0)

    def sees(x):
        code = x[:, 4:]
        return [50.0 * x[:, :4], ops.concatenate([code, ops.full_like(code, -3.0)], axis=-1)]

    found = known(sees)
    assert found["category_accuracy"] == 1.0
    expected = math.log(4) + math.log(2) - math.log(s) - 0.5 * math.log(2 * math.pi)
    assert found["information"] == pytest.approx(expected, abs=1e-3)

    def blind(x):
        code = x[:, 4:]  # of the number, the best normal density that knows nothing of it has deviation 1 / sqrt(3)
        return [0.0 * x[:, :4], ops.concatenate([0.0 * code, ops.full_like(code, -0.5 * math.log(3))], axis=-1)]

    found = known(blind)
    assert found["category_accuracy"] == pytest.approx(0.25, abs=0.04)
    # Below the truth, 0, by the divergence of the uniform density from that normal one.
    assert found["information"] == pytest.approx(math.log(2) - 0.5 * math.log(2 * math.pi / 3) - 0.5, abs=0.03)


@pytest.mark.once("test_same_everywhere holds the training of every backend to the same numbers")
def test_infogan_finds_its_codes_again():
    keras.utils.set_random_seed(0)
    x, _ = blobs(64 * 160)
    model = InfoGAN(
        (2,),
        3,
        categories=3,
        codes=1,
        code_weight=0.5,
        reading_weight=2.0,  # at 1 two categories share a cluster now and then
        generator=Generator(7, (2,), [16]),
        discriminator=Discriminator((2,), [64], readings=(3, 2)),
        ema=None,
    )
    decay = keras.optimizers.schedules.CosineDecay(1e-2, 160)
    model.compile(keras.optimizers.Adam(decay, beta_1=0.5), **COMPILE)
    model.fit(x, batch_size=64, verbose=0)
    category = np.arange(300) % 3
    samples = model.sample(300, seed=0, category=category)
    found = model.encode(samples)
    assert found.shape == (300, 4) and (found[:, :3].argmax(1) == category).mean() > 0.95
    codes = np.linspace(-1, 1, 300, dtype="float32")[:, None]
    read = model.encode(model.sample(300, seed=0, codes=codes))[:, 3]
    assert np.corrcoef(read, codes[:, 0])[0, 1] > 0.9
    np.testing.assert_allclose(model.sample(3, seed=0, category=0), samples_of(model, 0), atol=1e-5)
    assert InfoGAN.from_config(model.get_config()).get_config() == model.get_config()


def samples_of(model, category):
    return model.sample(5, seed=0, category=category)[:3]


def test_wrong_arguments():
    model = InfoGAN((2,), 3, categories=3, codes=1)
    with pytest.raises(ValueError, match=r"category: expected integers in \[0, 3\), received values from 3 to 3"):
        model.sample(2, category=3)
    with pytest.raises(ValueError, match=r"codes: expected \(1,\) or \(2, 1\) numbers in \[-1, 1\]"):
        model.sample(2, codes=[0.1, 0.2])
    with pytest.raises(ValueError, match="labels: this model has no classes"):
        model.sample(2, category=1, labels=1)
    with pytest.raises(ValueError, match="categories, codes: expected two categories or more"):
        InfoGAN((2,), 3, categories=0, codes=0)
    with pytest.raises(ValueError, match=r"discriminator: expected a list of outputs \(B, 1\), \(B, 3\)"):
        ACGAN((2,), 3, discriminator=Discriminator((2,)))
