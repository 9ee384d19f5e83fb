"""The ground of adversarial models: turns, row seeds, augmentation, lazy regularisers and what is remembered."""

import contextlib
import warnings

import keras
import numpy as np
import pytest
import two_devices
from gan.parts import Jitter, dense
from keras import ops

from kgen import backend
from kgen import gan as kgen_gan
from kgen.core import random
from kgen.gan import (
    DCGAN,
    GAN,
    R1,
    R2,
    WGANGP,
    ConditionalGAN,
    Discriminator,
    Generator,
    GradientPenalty,
    ImagePool,
    PathLength,
    Regularizer,
    Turn,
)
from kgen.layers import MinibatchDiscrimination

X = np.random.default_rng(0).normal(size=(32, 2)).astype("float32")
SGD = keras.optimizers.SGD


def points(**kwargs):
    networks = {"generator": dense((3,), 2, "generator"), "discriminator": dense((2,), 1, "discriminator")}
    return GAN((2,), 3, **{**networks, "ema": None, **kwargs})


def number(x):
    return float(ops.convert_to_numpy(x))


@keras.saving.register_keras_serializable(package="kgen_tests")
class Counted(Regularizer):
    """1 for each example; ``counter``, a list of one variable, counts how often it was computed."""

    counter = []

    def __call__(self, function, real, fake, seeds, step=0, state=None):
        self.counter[0].assign(self.counter[0] + 1.0)
        return ops.ones_like(function(real))


@pytest.mark.parametrize("every", [1, 3])
def test_a_lazy_regulariser_is_computed_in_every_kth_step_alone_and_weighs_k_times(every):
    model = points(regularizers=Counted(every))
    model.times = model.add_weight(shape=(), initializer="zeros", trainable=False, name="times")
    Counted.counter[:] = [model.times]
    model.compile()
    history = model.fit(np.tile(X, (6, 1)), batch_size=32, verbose=0).history
    assert number(model.times) == 6 / every
    assert history["penalty"] == [pytest.approx(1.0)]  # every in one step of them, nothing in the others
    assert model.evaluate(X, verbose=0, return_dict=True)["penalty"] == pytest.approx(1.0)


def test_a_lazy_r1_pulls_as_a_plain_one_in_the_steps_where_it_is_due():
    trained = []
    for gamma, every in ((2.0, 1), (1.0, 2)):
        keras.utils.set_random_seed(0)
        model = points(regularizers=R1(gamma, every))
        model.compile({"generator": SGD(0.0), "discriminator": SGD(0.1)})
        model.fit(X, batch_size=32, verbose=0)  # one step, the first
        trained.append(model.discriminator.get_weights())
    for a, b in zip(*trained, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@keras.saving.register_keras_serializable(package="kgen_tests")
class Summed(keras.layers.Layer):
    """Twice the features, by a sum of two copies."""

    def call(self, x):
        return ops.sum(ops.repeat(x[:, None], 2, axis=1), axis=1)


@pytest.mark.once("on TensorFlow XLA is a choice, and Keras's own on a GPU; JAX has nothing else")
def test_lazy_penalties_train_by_xla_as_without():
    """XLA has to know the shapes of a second slope, and those of one branch are no constants in another."""
    trained = []
    for xla in (False, True):
        keras.utils.set_random_seed(0)
        parts = [keras.layers.Dense(6, "tanh"), Summed(), keras.layers.Dense(6, "tanh")]
        discriminator = keras.Sequential([keras.Input((2,)), *parts, keras.layers.Dense(1)])
        lazy = {"regularizers": R1(0.5, every=2), "generator_regularizers": PathLength(0.5, every=2)}
        model = points(discriminator=discriminator, **lazy)
        model.compile(SGD(0.1), jit_compile=xla)
        model.fit(X[:20], batch_size=8, shuffle=False, verbose=0)  # three steps, the last of fewer rows
        trained.append([ops.convert_to_numpy(v) for v in model.weights])
    for plain, compiled in zip(*trained, strict=True):
        np.testing.assert_allclose(compiled, plain, atol=1e-5)


@keras.saving.register_keras_serializable(package="kgen_tests")
class Times(Regularizer):
    """The logits, so many times."""

    def __init__(self, times, every=1):
        super().__init__(every)
        self.times = times

    def __call__(self, function, real, fake, seeds, step=0, state=None):
        return self.times * ops.cast(function(real), "float32")


@keras.saving.register_keras_serializable(package="kgen_tests")
class NoLoss(kgen_gan.losses.Loss):
    def discriminator(self, real_logits, fake_logits):
        return 0.0 * ops.cast(real_logits, "float32")

    def generator(self, fake_logits, real_logits=None):
        return 0.0 * ops.cast(fake_logits, "float32")


@pytest.mark.parametrize("every", [1, 2])
def test_a_penalty_is_scaled_in_half_precision_as_a_loss_is(every):
    """Half precision ends at 6e-8 and at 65,504: what is smaller counts all the same, what is larger is left to the optimizer that scales."""

    def stepped(times, rate):
        discriminator = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, dtype="mixed_float16")])
        lazy = Times(times, every)
        model = points(discriminator=discriminator, regularizers=lazy, adversarial_loss=NoLoss(), dtype="mixed_float16")
        model.compile(SGD(rate))
        logs = model.train_on_batch(X, return_dict=True)
        assert np.isfinite(logs["penalty"])
        scale = model.optimizer["discriminator"].dynamic_scale
        return number(model.discriminator.layers[-1].bias[0]), number(scale)

    bias, scale = stepped(1e-8, 1e8)
    assert bias == pytest.approx(-every, rel=0.01) and scale == 2.0**15
    bias, scale = stepped(1e6, 1.0)
    assert bias == 0.0 and scale == 2.0**14


@keras.saving.register_keras_serializable(package="kgen_tests")
class Passed(Regularizer):
    """What the player computes of ``fake``."""

    def __call__(self, function, real, fake, seeds, step=0, state=None):
        return function(fake)


def test_a_penalty_trains_what_a_function_makes_of_its_input_and_no_tensor():
    w = keras.Variable([2.0, 3.0])

    def slope(given):
        turn = Turn(None, {}, lambda x: ops.square(x) + 5.0 * w, fake=given())
        return ops.mean(turn.penalty(Passed(), random.row_seeds(0, 2), 0, {})[0]), ()

    for given, expected in ((lambda: 1.0 * w, [2.5, 2.5]), (lambda: lambda: 1.0 * w, [4.5, 5.5])):
        _, (gradient,) = backend.value_and_grad(lambda given=given: slope(given), [w])
        np.testing.assert_allclose(ops.convert_to_numpy(gradient), expected, rtol=1e-6)


def test_path_length_of_a_linear_generator():
    """G(z) = z A + b: J^T y = A y."""
    a = np.random.default_rng(1).normal(size=(3, 4)).astype("float32")
    seeds = random.row_seeds(0, 5)
    z = ops.zeros((5, 3))
    penalty = PathLength(2.0, 0.9)
    values, seen = penalty(lambda z: ops.matmul(z, a), None, z, seeds, 0, {"mean": ops.convert_to_tensor(0.5)})
    y = ops.convert_to_numpy(random.normal(seeds, (4,)))
    lengths = np.linalg.norm(y @ a.T, axis=1)
    np.testing.assert_allclose(ops.convert_to_numpy(seen["length"]), lengths, rtol=1e-4)
    np.testing.assert_allclose(ops.convert_to_numpy(values), 2 * (lengths - 0.5) ** 2, rtol=1e-4)
    assert penalty.next_state({"mean": 0.5}, {"length": 1.5})["mean"] == pytest.approx(0.6)
    assert isinstance(kgen_gan.regularizers.get("path_length")[0], PathLength)


def test_the_mean_path_length_moves_when_it_is_due():
    model = points(generator_regularizers=PathLength(0.1, 0.5, every=2))
    model.compile({"generator": SGD(0.0), "discriminator": SGD(0.0)})
    found = []
    for _ in range(3):
        model.train_on_batch(X)
        found.append(number(model.generator_regularizer_0_mean))
    assert 0 < found[0] == found[1] < found[2]


def test_data_and_samples_pass_the_augmentation_in_training_alone():
    model = points(augmentation=Jitter(0.5))
    model.compile(SGD(0.0))
    model.discriminator.set_weights([*model.discriminator.get_weights()[:-1], np.ones(1, "float32") * 5])  # all known
    before = model.evaluate(X, verbose=0, return_dict=True)
    for _ in range(2):
        model.train_on_batch(X)
    assert number(model.discriminator_augmentation_strength) == pytest.approx(1.0)
    assert number(model.discriminator_augmentation_rows) == 64
    assert model.evaluate(X, verbose=0, return_dict=True) == pytest.approx(before)
    x, seeds = ops.convert_to_tensor(X), random.row_seeds(0, 32)
    seen = ops.convert_to_numpy(model.augmented("discriminator", x, seeds, True))
    np.testing.assert_allclose(seen - X, ops.convert_to_numpy(random.normal(seeds, (2,))), atol=1e-5)
    assert model.augmented("discriminator", x, seeds, False) is x


def test_each_discriminator_step_has_noise_of_its_own():
    seen = []

    class Watching(GAN):
        def latent(self, seeds):
            z = super().latent(seeds)
            seen.append(ops.convert_to_numpy(z))
            return z

    watching = Watching((2,), 3, n_critic=2, generator=dense((3,), 2, "generator"), discriminator=dense((2,), 1, "d"))
    watching.compile(run_eagerly=True)
    if keras.config.backend() == "jax":
        pytest.skip("JAX traces a step, in which there are no numbers to see")
    watching.train_on_batch(X)
    assert len(seen) == 3 and all(z.shape == (16, 3) for z in seen)
    rows = np.concatenate(seen)
    assert len(np.unique(rows.round(5), axis=0)) == 48


def test_evaluation_does_not_depend_on_the_batch_size():
    model = points(regularizers="gradient_penalty")
    model.compile()
    figures = [model.evaluate(X, batch_size=size, verbose=0, return_dict=True) for size in (32, 5)]
    assert figures[0] == pytest.approx(figures[1], rel=1e-5)


def test_evaluation_uses_the_averaged_generator():
    model = points(ema=0.5)
    model.compile(SGD(0.0))
    before = model.evaluate(X, verbose=0, return_dict=True)
    model.generator.set_weights([3 * w + 1 for w in model.generator.get_weights()])
    assert model.evaluate(X, verbose=0, return_dict=True) == pytest.approx(before)


@pytest.mark.parametrize("regularizer", [R1(), R2(), "gradient_penalty"])
def test_a_gradient_penalty_and_batch_statistics_are_refused(regularizer):
    with pytest.raises(
        ValueError, match="discriminator: a gradient penalty is one of each example, and norm_1 mixes them"
    ):
        DCGAN((8, 8, 1), 3, widths=[4, 8], regularizers=regularizer)  # of two stages, one is normalised
    mixed = keras.Sequential([keras.Input((3,)), keras.layers.BatchNormalization(name="mixer"), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="generator: a gradient penalty is one of each example, and mixer mixes them"):
        points(generator=mixed, generator_regularizers="path_length")


@pytest.mark.once("what is warned of is said in Python")
def test_few_rows_for_a_discriminator_step_are_warned_of():
    networks = {"generator": dense((3,), 2, "generator"), "discriminator": dense((2,), 1, "discriminator")}
    model = WGANGP((2,), 3, **networks)
    model.compile()
    assert float(model.optimizer["discriminator"].beta_1) == 0.0
    with pytest.warns(UserWarning, match=r"of 32 rows each gets 7. For steps of 64 rows: batch_size=5 \* 64."):
        model.fit(X, verbose=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model.fit(np.tile(X, (4, 1)), batch_size=80, verbose=0)


def test_rows_that_replicas_would_deal_out_otherwise_are_refused(monkeypatch):
    monkeypatch.setattr(backend, "replicas", lambda model: 2)
    model = WGANGP((2,), 3, generator=dense((3,), 2, "generator"), discriminator=dense((2,), 1, "discriminator"))
    model.compile(run_eagerly=True)
    with pytest.raises(
        ValueError, match="on 2 replicas .* to 5 steps of a player, .* a multiple of 10; received one of 32"
    ):
        model.fit(np.tile(X, (4, 1)), verbose=0)
    discriminator = [keras.Input((2,)), MinibatchDiscrimination(2, 2, group=4, name="others"), keras.layers.Dense(1)]
    model = points(discriminator=keras.Sequential(discriminator))
    model.compile(run_eagerly=True)
    with pytest.raises(ValueError, match="to others's groups of 4 rows, .* a multiple of 8; received one of 12"):
        model.fit(X, batch_size=12, verbose=0)
    with pytest.raises(ValueError, match="a multiple of 8; received one of 4. .* leave out 4 of the rows"):
        model.fit(X[:20], batch_size=16, verbose=0)
    model.fit(X[:16], batch_size=16, verbose=0)
    model = points()  # each row by itself: an uneven last batch is as good
    model.compile(run_eagerly=True)
    model.fit(X[:19], batch_size=16, verbose=0)


def test_default_optimizers_and_precision():
    model = points()
    model.compile()
    for optimizer in model.optimizer.members.values():
        assert (round(float(optimizer.learning_rate), 7), optimizer.beta_1) == (2e-4, 0.5)
    for made in (GAN((8, 8, 1), 3, dtype="mixed_bfloat16"), DCGAN((8, 8, 1), 3, widths=[4], dtype="mixed_bfloat16")):
        for network in (made.generator, made.discriminator):
            assert any(layer.compute_dtype == "bfloat16" for layer in network.layers), network.name


def test_configurations_of_kgen_0_1_are_read():
    for model in (points(adversarial_loss="hinge", regularizers="r1"), WGANGP((2,), 3)):
        config = model.get_config()
        old = {k: v for k, v in config.items() if k not in ("augmentation", "generator_regularizers", "conditions")}
        if isinstance(model, WGANGP):  # which had neither
            del old["adversarial_loss"], old["regularizers"]
        else:
            old["loss"] = old.pop("adversarial_loss")
            del old["regularizers"][0]["config"]["every"]
        assert type(model).from_config(old).get_config() == model.get_config()


def test_networks_of_kgen_0_1_are_made_as_they_were():
    old = {"shape": [8, 8, 1], "widths": [8], "num_classes": None, "name": "network"}
    generator = Generator.from_config({"latent_dim": 3, **old})
    assert generator.get_layer("upsample_0") and generator.get_config()["stages"] == "plain"
    assert Discriminator.from_config({**old, "spectral": True}).get_layer("spectral_stride_0")
    new = Generator(3, (8, 8, 1), [8])
    assert Generator.from_config(new.get_config()).get_config() == new.get_config()
    assert new.get_layer("reshape").output.shape == (None, 4, 4, 16) and new.get_layer("conv_0").kernel_size == (4, 4)


def test_conditions_of_any_kind_and_names_of_classes():
    model = ConditionalGAN((2,), ["cat", "dog"], 3)
    np.testing.assert_allclose(model.sample(2, seed=0, labels="dog"), model.sample(2, seed=0, labels=1), atol=1e-6)
    inputs = [keras.Input((3,)), keras.Input((2,))]
    generator = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Concatenate()(inputs)))
    inputs = [keras.Input((2,)), keras.Input((2,))]
    discriminator = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Concatenate()(inputs)))
    from kgen.core.conditions import VectorCondition

    model = points(generator=generator, discriminator=discriminator, conditions=[VectorCondition(2, name="where")])
    model.compile()
    model.fit({"x": X, "where": X}, verbose=0)
    assert model.sample(4, seed=0, where=[0.5, 1.0]).shape == (4, 2)
    assert type(model).from_config(model.get_config()).get_config() == model.get_config()


def test_the_pool_holds_what_was_put_in_and_gives_half_of_it_back():
    pool, shape = ImagePool(50), (2, 1)
    state = {k: ops.convert_to_tensor(np.asarray(v, "float32")) for k, v in pool.state(shape).items()}
    rng, old, rows, everything = np.random.default_rng(0), 0, 0, []
    for step in range(200):
        x = rng.normal(size=(4, *shape)).astype("float32")
        held = ops.convert_to_numpy(state["examples"])
        seen, state = pool(ops.convert_to_tensor(x), ops.convert_to_tensor(random.row_seeds(step, 4)), state)
        seen, after = ops.convert_to_numpy(seen), ops.convert_to_numpy(state["examples"])
        everything.extend(x)
        if step < 13:  # it fills, in order, and gives samples back as they are
            np.testing.assert_array_equal(seen, x)
            np.testing.assert_array_equal(after[: min(4 * step + 4, 50)], np.asarray(everything)[:50])
            continue
        for x_i, seen_i in zip(x, seen, strict=True):
            rows += 1
            if not np.array_equal(x_i, seen_i):
                old += 1
                place = np.flatnonzero((held == seen_i).all((1, 2)))
                assert len(place) == 1 and np.array_equal(after[place[0]], x_i)  # its place was taken
        assert sum((after == v).all() for v, after in zip(held, after, strict=True)) == 50 - sum(
            not np.array_equal(a, b) for a, b in zip(x, seen, strict=True)
        )
    assert number(state["count"]) == 50 and abs(old / rows - 0.5) < 3 * 0.5 / rows**0.5
    assert ImagePool(0)(x, None, {})[0] is x


def trained(scope=contextlib.nullcontext):
    """Dict from the place of each weight to its value, and from each log to its values."""
    keras.utils.set_random_seed(0)
    with scope():
        model = GAN(
            (2,),
            3,
            generator=dense((3,), 2, "generator"),
            discriminator=dense((2,), 1, "discriminator"),
            regularizers=[R1(0.1, every=2), GradientPenalty(1.0)],
            generator_regularizers=PathLength(every=2),
            augmentation=Jitter(0.1),
            n_critic=2,
            ema=0.9,
        )
        model.compile(keras.optimizers.Adam(0.01, epsilon=1e-3))
    x = np.random.default_rng(0).normal(size=(96, 2)).astype("float32")
    history = model.fit(x, batch_size=32, epochs=2, shuffle=False, verbose=0).history
    results = {f"weight/{i}": w for i, w in enumerate(model.get_weights())}
    results |= {f"fit/{k}": v for k, v in history.items()}
    figures = model.evaluate(x, batch_size=32, verbose=0, return_dict=True)
    results |= {f"evaluate/{k}": v for k, v in figures.items()}
    return results


@pytest.mark.two_devices
@pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="tf.distribute is TensorFlow's")
def test_two_replicas_train_as_one_device():
    single = trained()
    with two_devices.replicas() as scope:
        several = trained(scope)
    assert len(single) > 15 and single["weight/0"].size
    for name in single:
        np.testing.assert_allclose(several[name], single[name], atol=1e-5, err_msg=name)
