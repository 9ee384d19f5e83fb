"""CycleGAN: its losses, what its training reaches and keeps, its protocol, wrong arguments."""

import shutil

import keras
import numpy as np
import pytest
from gan.parts import dense
from keras import layers, ops
from marks import TRAINED_ON_TORCH

import kgen
from kgen.data import Unpaired
from kgen.gan import ADA, CycleGAN, PatchDiscriminator, ResNetTranslator

SHAPE = (4, 4, 1)
RNG = np.random.default_rng(0)
A = np.clip(0.2 * RNG.normal(size=(20, *SHAPE)) - 0.5, -1, 1).astype("float32")  # dark
B = np.clip(0.2 * RNG.normal(size=(13, *SHAPE)) + 0.5, -1, 1).astype("float32")  # bright


def translator(name):
    stages = [keras.Input(SHAPE), layers.Conv2D(8, 3, padding="same", activation="tanh"), layers.Conv2D(1, 1)]
    return keras.Sequential(stages, name=name)


def small(**kwargs):
    networks = {name: translator(name) for name in ("a_to_b", "b_to_a")}
    discriminators = {name: dense(SHAPE, 1, name) for name in ("discriminator_a", "discriminator_b")}
    return CycleGAN(SHAPE, **{**networks, **discriminators, **kwargs})


def test_losses_are_the_papers():
    model = small(cycle=10.0, identity=5.0)
    model.compile()
    a, b = A[:8], B[:8]
    logs = model.evaluate({"a": a, "b": b}, verbose=0, return_dict=True)

    def run(network, x):
        return ops.convert_to_numpy(network(ops.convert_to_tensor(x)))

    fake_b, fake_a = run(model.a_to_b, a), run(model.b_to_a, b)
    cycle = np.abs(run(model.b_to_a, fake_b) - a).mean() + np.abs(run(model.a_to_b, fake_a) - b).mean()
    identity = np.abs(run(model.a_to_b, b) - b).mean() + np.abs(run(model.b_to_a, a) - a).mean()
    adversarial = ((run(model.discriminator_b, fake_b) - 1) ** 2).mean() + (
        (run(model.discriminator_a, fake_a) - 1) ** 2
    ).mean()
    discriminator_a = ((run(model.discriminator_a, a) - 1) ** 2).mean() / 2 + (
        run(model.discriminator_a, fake_a) ** 2
    ).mean() / 2
    expected = {
        "cycle": cycle,
        "identity": identity,
        "adversarial": adversarial,
        "discriminator_a_loss": discriminator_a,
    }
    for name, value in expected.items():
        assert logs[name] == pytest.approx(value, rel=1e-3), name
    assert logs["generators_loss"] == pytest.approx(adversarial + 10 * cycle + 5 * identity, rel=1e-3)


@TRAINED_ON_TORCH
def test_the_cycle_closes_and_the_sets_are_exchanged():
    keras.utils.set_random_seed(0)
    model = small(identity=0.0, pool_size=10, ema=0.9)
    start = [ops.convert_to_numpy(v) for v in model.trainable_variables]
    model.compile(keras.optimizers.Adam(1e-2, beta_1=0.5))
    history = model.fit(Unpaired(A, B, batch_size=4), epochs=40, verbose=0).history
    assert np.isfinite(np.concatenate(list(history.values()))).all()
    assert np.mean(history["cycle"][-5:]) < 0.5 * np.mean(history["cycle"][:5])
    assert all(
        not np.array_equal(ops.convert_to_numpy(v), w) for v, w in zip(model.trainable_variables, start, strict=True)
    )
    assert model.translate(A).mean() > 0 > model.translate(B, "b_to_a").mean()  # dark became bright, and bright dark
    assert float(ops.convert_to_numpy(model.pool_a_count)) == 10


def test_the_pool_holds_translations_and_changes_in_training_alone():
    model = small(pool_size=6)
    model.compile(keras.optimizers.SGD(0.0))
    batch = {"a": A[:4], "b": B[:4]}
    model.evaluate(batch, verbose=0)
    assert float(ops.convert_to_numpy(model.pool_b_count)) == 0
    model.train_on_batch(batch)
    held = ops.convert_to_numpy(model.pool_b_examples)
    np.testing.assert_allclose(held[:4], ops.convert_to_numpy(model.a_to_b(A[:4])), atol=1e-5)
    np.testing.assert_allclose(
        ops.convert_to_numpy(model.pool_a_examples)[:4], values_of(model.b_to_a, B[:4]), atol=1e-5
    )
    assert not held[4:].any()


def values_of(network, x):
    return ops.convert_to_numpy(network(ops.convert_to_tensor(x)))


class Copy(keras.callbacks.Callback):
    """What lies in a folder after a step, copied: all that is left of a process that is killed there."""

    def __init__(self, step, folder, to):
        super().__init__()
        self.left, self.folders = step, (folder, to)

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            shutil.copytree(*self.folders)


def test_training_goes_on_within_an_epoch_as_if_it_had_never_stopped(tmp_path):
    def train(folder, *callbacks):
        keras.utils.set_random_seed(0)
        model = small(pool_size=6, augmentation=ADA(images=100, p=0.3, geometric=False, colour=False), ema=0.9)
        model.compile(keras.optimizers.Adam(1e-2))
        checkpoint = kgen.callbacks.Checkpoint(folder, every=2)
        model.fit(Unpaired(A, B, batch_size=4), epochs=3, verbose=0, callbacks=[*callbacks, checkpoint])
        return [ops.convert_to_numpy(v) for v in [*model.variables, *model.optimizer.variables]]

    # In the second of three epochs of five steps.
    whole = train(tmp_path / "whole", Copy(8, tmp_path / "whole", tmp_path / "broken"))
    last = max(file.name for file in (tmp_path / "broken").glob("step-*.npz"))
    assert last == "step-000000006.npz"
    for a, b in zip(train(tmp_path / "broken"), whole, strict=True):
        np.testing.assert_array_equal(a, b)


def test_saved_configured_and_served(tmp_path):
    model = small(pool_size=6, augmentation=ADA(images=100))
    model.compile()
    model.fit(Unpaired(A, B, batch_size=4), verbose=0)
    model.save(tmp_path / "m.keras")
    again = kgen.load(tmp_path / "m.keras")
    assert (again.pool_size, again.augmentation) == (6, ADA(images=100))
    for a, b in zip(model.variables, again.variables, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(a), ops.convert_to_numpy(b), err_msg=a.path)
    for endpoint in model.endpoints():
        images = endpoint.function(x=ops.convert_to_tensor(A[:3]))["images"]
        expected = again.translate(A[:3], endpoint.name, batch_size=2)
        np.testing.assert_allclose(ops.convert_to_numpy(images), expected, atol=1e-5)
    assert [e.name for e in model.endpoints()] == ["a_to_b", "b_to_a"]


@pytest.mark.once("the sizes of a network are no backend's")
def test_default_networks_are_the_papers():
    translator, discriminator = ResNetTranslator((256, 256, 3)), PatchDiscriminator((256, 256, 3))
    kinds = [type(layer).__name__ for layer in translator.layers]
    assert (kinds.count("Conv2D"), kinds.count("Conv2DTranspose"), kinds.count("Add")) == (1 + 2 + 18 + 1, 2, 9)
    assert translator.count_params() == pytest.approx(11.4e6, rel=0.01)
    assert discriminator.output.shape == (None, 32, 32, 1) and discriminator.count_params() == pytest.approx(
        2.77e6, rel=0.01
    )
    model = CycleGAN((8, 8, 3), dtype="mixed_bfloat16")
    assert model.a_to_b.layers[2].compute_dtype == "bfloat16"
    x = np.zeros((2, 8, 8, 3), "float32")
    assert model.translate(x).shape == (2, 8, 8, 3)
    assert type(model).from_config(model.get_config()).get_config() == model.get_config()


def test_wrong_arguments():
    model = small()
    model.compile()
    with pytest.raises(
        ValueError, match=r'x: expected \{"a": images, "b": images\}, received ndarray. kgen.data.Unpaired'
    ):
        model.fit(A)
    with pytest.raises(
        ValueError, match=r"a, b: expected as many images of each, received 3 and 2. kgen.data.Unpaired"
    ):
        model.fit({"a": A[:3], "b": A[:2]})
    with pytest.raises(ValueError, match=r"y: CycleGAN's sets have no pairs: fit\(kgen.data.Unpaired"):
        model.fit(A, B)
    with pytest.raises(ValueError, match=r"b: expected values in \[-1, 1\], received"):
        model.fit(Unpaired(A, 3 * B))
    with pytest.raises(ValueError, match="direction: expected one of 'a_to_b', 'b_to_a', received 'b'"):
        model.translate(A, "b")
    with pytest.raises(NotImplementedError, match="translate"):
        model.sample(2)
    with pytest.raises(ValueError, match=r"a_to_b: expected outputs \(B, 4, 4, 1\), received \(1, 4, 4, 2\)"):
        small(a_to_b=keras.Sequential([keras.Input(SHAPE), layers.Conv2D(2, 1)]))
    with pytest.raises(ValueError, match="shape: CycleGAN translates images"):
        CycleGAN((3,))
