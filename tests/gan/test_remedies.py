"""Remedies against their formulas: DRAGAN, LeCam, consistency, top-k, unrolled steps."""

import keras
import numpy as np
import pytest
from gan.parts import Jitter, dense
from keras import layers, ops

from kgen.core import random
from kgen.gan import (
    ADA,
    DRAGAN,
    GAN,
    SNGAN,
    SRGAN,
    WGAN,
    WGANGP,
    Consistency,
    CycleGAN,
    DiffAugment,
    InfoGAN,
    LeCam,
    Pix2Pix,
    TopK,
    Unrolling,
)
from kgen.gan.losses import HingeLoss

from contract import COMPILE

RNG = np.random.default_rng(0)
X = RNG.normal(size=(32, 2)).astype("float32")
SEEDS = random.row_seeds(0, 32)
SGD = keras.optimizers.SGD


def value(x):
    return ops.convert_to_numpy(x)


def half_square(x):
    """D(x) = |x|^2 / 2, whose gradient is x."""
    return 0.5 * ops.sum(ops.square(x), axis=-1)


def test_dragan_is_of_slopes_beside_the_data():
    real = ops.convert_to_tensor(X)
    found = value(DRAGAN(3.0, 0.5)(half_square, real, None, SEEDS))
    near = X + 0.5 * value(random.normal(SEEDS, (2,)))
    np.testing.assert_allclose(found, 3 * (np.linalg.norm(near, axis=1) - 1) ** 2, rtol=1e-4, atol=1e-5)
    exact = value(DRAGAN(3.0, 0.0)(half_square, real, None, SEEDS))
    np.testing.assert_allclose(exact, 3 * (np.linalg.norm(X, axis=1) - 1) ** 2, rtol=1e-4, atol=1e-5)


def test_lecam_holds_logits_to_the_moving_means_of_the_other_kind():
    penalty, state = LeCam(0.5, 0.9), {"real": 0.2, "fake": -1.0}
    real, fake = ops.convert_to_tensor(X), ops.convert_to_tensor(2 * X)
    found, seen = penalty(half_square, real, fake, SEEDS, 0, state)
    a, b = 0.5 * (X**2).sum(1), 2 * (X**2).sum(1)
    np.testing.assert_allclose(value(found), 0.5 * ((a + 1.0) ** 2 + (b - 0.2) ** 2), rtol=1e-4)
    np.testing.assert_allclose(value(seen["fake"]), b, rtol=1e-5)
    after = penalty.next_state(state, {"real": 1.2, "fake": 3.0})
    assert after == pytest.approx({"real": 0.9 * 0.2 + 0.12, "fake": -0.9 + 0.3})


def test_consistency_compares_with_the_changed_example():
    seen, jitter = random.fold_in(SEEDS, 1), Jitter()
    real = ops.convert_to_tensor(X)
    still = value(Consistency(2.0, augmentation=jitter)(half_square, real, None, SEEDS))
    np.testing.assert_array_equal(still, 0)  # Jitter begins with strength 0
    images = ops.convert_to_tensor(RNG.uniform(-1, 1, (32, 8, 8, 1)).astype("float32"))

    def first_column(x):
        return ops.sum(x[:, :, 0, 0], axis=1)

    penalty = Consistency(2.0, fake_weight=3.0)
    found = value(penalty(first_column, images, 0.5 * images, SEEDS))
    changed = DiffAugment(("flip", "translation"))(images, seen, {})
    expected = 2 * (value(first_column(images)) - value(first_column(changed))) ** 2
    changed = DiffAugment(("flip", "translation"))(0.5 * images, random.fold_in(SEEDS, 2), {})
    expected += 3 * (0.5 * value(first_column(images)) - value(first_column(changed))) ** 2
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(penalty))
    assert again.get_config() == penalty.get_config()


def test_top_k_is_the_mean_over_the_best_samples():
    logits = ops.convert_to_tensor(np.array([0.3, -2.0, 5.0, 1.0, -0.5, 0.0, 2.0, 0.1, 0.2, -9.0], "float32"))
    losses = value(TopK("hinge", 0.3).generator(logits))
    np.testing.assert_allclose(
        losses, -10 / 3 * np.where(np.isin(np.arange(10), (2, 6, 3)), value(logits), 0), atol=1e-5
    )
    patches = np.array([[[1.0, -2.0]], [[0.5, 0.7]], [[-3.0, 9.0]]], "float32")  # means -0.5, 0.6 and 3
    losses = value(TopK("hinge", 0.6).generator(ops.convert_to_tensor(patches)))
    np.testing.assert_allclose(losses, [[[0.0, 0.0]], [[-0.75, -1.05]], [[4.5, -13.5]]], atol=1e-5)
    fading = keras.optimizers.schedules.PolynomialDecay(1.0, 10, 0.5)
    faded = TopK("hinge", fading)
    counts = [int((value(faded.generator(logits, step=step)) != 0).sum()) for step in (0, 5, 10, 50)]
    assert counts == [9, 7, 5, 5]  # 9: the tenth is a logit of 0
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(faded))
    assert again.loss == HingeLoss() and float(value(again.share(10))) == pytest.approx(0.5)


def linear(w, **kwargs):
    """G(z) = z + b and D(x) = w x, with the Wasserstein loss."""
    z, x = keras.Input((2,)), keras.Input((2,))
    generator = keras.Model(z, layers.Dense(2, trainable=False, name="same", use_bias=False)(z))
    generator = keras.Sequential([keras.Input((2,)), generator, Shift()])
    discriminator = keras.Model(x, layers.Dense(1, use_bias=False)(x))
    discriminator.set_weights([np.reshape(w, (2, 1)).astype("float32")])
    model = GAN(
        (2,), 2, generator=generator, discriminator=discriminator, adversarial_loss="wasserstein", ema=None, **kwargs
    )
    model.generator.layers[0].set_weights([np.eye(2, dtype="float32")])
    return model


class Shift(layers.Layer):
    def build(self, input_shape):
        self.b = self.add_weight(shape=input_shape[1:], initializer="ones", name="b")

    def call(self, x):
        return x + self.b


def test_unrolled_steps_are_differentiated_through():
    """w_K = w - K r (E G - E x): the generator's loss -w_K E G has the gradient -w + K r (E G - E x) + K r E G in its shift."""
    w, rate, steps = np.array([0.5, -0.2]), 0.3, 2
    model = linear(w, unrolled=Unrolling(steps, rate))
    model.compile({"generator": SGD(1.0), "discriminator": SGD(0.0)}, **COMPILE)
    logs = model.train_on_batch(X, return_dict=True)
    gradient = 1.0 - value(model.generator.layers[-1].b)
    # E G = E z + 1 is not seen from outside: the gradient says what it was, and the loss is to agree.
    mean = (gradient + w + steps * rate * X.mean(0)) / (2 * steps * rate)
    later = w - steps * rate * (mean - X.mean(0))
    assert float(logs["generator_loss"]) == pytest.approx(-later @ mean, abs=1e-4)
    np.testing.assert_allclose(value(model.discriminator.trainable_variables[0])[:, 0], w, atol=1e-6)


def test_together_they_train_any_gan():
    model = GAN(
        (2,),
        3,
        generator=dense((3,), 2, "generator"),
        discriminator=dense((2,), 1, "discriminator"),
        adversarial_loss=TopK("relativistic", keras.optimizers.schedules.PolynomialDecay(1.0, 10, 0.5)),
        regularizers=[DRAGAN(0.1, every=2), LeCam(0.1, every=2), Consistency(1.0, augmentation=Jitter())],
        unrolled=Unrolling(1, 0.1),
    )
    model.compile({"generator": keras.optimizers.Adam(1e-3), "discriminator": keras.optimizers.Adam(4e-3)}, **COMPILE)
    history = model.fit(X, batch_size=16, epochs=2, verbose=0).history
    assert np.isfinite(np.concatenate(list(history.values()))).all()
    assert float(value(model.discriminator_regularizer_1_real)) != 0.0
    assert GAN.from_config(model.get_config()).get_config() == model.get_config()
    with pytest.raises(TypeError, match="unrolled: expected a kgen.gan.Unrolling or None, received 5"):
        GAN((2,), 2, unrolled=5)


def points(cls):
    return lambda **kwargs: cls((2,), 3, generator=dense((3,), 2, "g"), discriminator=dense((2,), 1, "d"), **kwargs)


def info(**kwargs):
    return InfoGAN((2,), 2, categories=2, codes=1, **kwargs)


def normalised(**kwargs):
    return SNGAN((2,), 3, generator=dense((3,), 2, "g"), **kwargs)


IMAGE = (4, 4, 1)


def cycle(**kwargs):
    translators = {k: keras.Sequential([keras.Input(IMAGE), layers.Conv2D(1, 1)]) for k in ("a_to_b", "b_to_a")}
    return CycleGAN(
        IMAGE, **translators, **{k: dense(IMAGE, 1, k) for k in ("discriminator_a", "discriminator_b")}, **kwargs
    )


def pairs(**kwargs):
    generator = keras.Sequential([keras.Input(IMAGE), layers.Conv2D(1, 1)])
    return Pix2Pix(IMAGE, generator=generator, discriminator=dense((4, 4, 2), 1, "discriminator"), **kwargs)


def larger(**kwargs):
    generator = keras.Sequential([keras.Input((2, 2, 1)), layers.UpSampling2D()])
    return SRGAN(IMAGE, 2, generator=generator, discriminator=dense(IMAGE, 1, "discriminator"), **kwargs)


ROWS, IMAGES = {"x": X[:8]}, RNG.uniform(-1, 1, (8, *IMAGE)).astype("float32")
OF_POINTS = {"gan": points(GAN), "wgan": points(WGAN), "wgan_gp": points(WGANGP), "infogan": info, "sngan": normalised}
OF_IMAGES = {
    "cyclegan": (cycle, {"x": {"a": IMAGES, "b": IMAGES}}),
    "pix2pix": (pairs, {"x": IMAGES, "y": IMAGES}),
    "srgan": (larger, {"x": IMAGES}),
}


# What they do to a loss is held on every backend by the tests above and the remedies' own; that all are taken is Python's.
ONCE = pytest.mark.once("wgan_gp and pix2pix take all of them on every backend")


@pytest.mark.parametrize(
    "name", [n if n in ("wgan_gp", "pix2pix") else pytest.param(n, marks=ONCE) for n in (*OF_POINTS, *OF_IMAGES)]
)
def test_every_gan_takes_them_or_says_why_not(name):
    make, data = OF_IMAGES.get(name) or (OF_POINTS[name], ROWS)
    given = {"regularizers": [LeCam(0.1), DRAGAN(0.1)]}
    if name in OF_POINTS:
        given |= {"adversarial_loss": TopK("wasserstein", 0.5), "unrolled": Unrolling(1, 0.1)}
    elif name != "cyclegan":  # whose loss is the paper's own
        given |= {"adversarial_loss": TopK("hinge", 0.5)}
    if name in OF_IMAGES:
        given |= {"augmentation": ADA(p=0.5)}
    if name in ("wgan", "wgan_gp"):
        with pytest.raises(ValueError, match='adversarial_loss: WGAN.* expected "wasserstein" or kgen.gan.TopK'):
            make(adversarial_loss="hinge")
    model = make(**given)
    assert type(model).from_config(model.get_config()).get_config() == model.get_config()
    model.compile(run_eagerly=keras.config.backend() != "jax")
    logs = model.train_on_batch(**data, return_dict=True)
    assert np.isfinite(list(logs.values())).all() and logs["penalty"] > 0
    if name == "wgan_gp":
        assert [type(r).__name__ for r in model.regularizers] == ["GradientPenalty", "LeCam", "DRAGAN"]
