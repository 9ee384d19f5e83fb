"""Chains of steps that change the shape of a row and take values out of it."""

import keras
import numpy as np
import pytest
from flow.autodiff import jacobian
from keras import ops

import kgen
from kgen import backend
from kgen.flow import ActNorm, Chain, Coupling, Flow, MaskedAutoregressive, Step

pytestmark = pytest.mark.skipif(keras.config.backend() == "torch", reason="flows run on tensorflow and jax")


@keras.saving.register_keras_serializable(package="kgen_tests")
class TakeLast(Step):
    """Takes the last ``count`` values of a vector out."""

    def __init__(self, count, **kwargs):
        super().__init__(**kwargs)
        self.count = count

    def output_shape(self, shape):
        return (shape[0] - self.count,)

    def latent_shape(self, shape):
        return (self.count,)

    def encode(self, x, condition=None, training=False):
        latent = x[:, -self.count :]
        # What is left is scaled by 2 where the latent is not, so that the two cannot change places unseen.
        log_det = np.log(2.0) * ops.ones((ops.shape(x)[0],)) * (x.shape[1] - self.count)
        return (2.0 * x[:, : -self.count], latent), log_det

    def decode(self, z, condition=None):
        return ops.concatenate([z[0] / 2.0, z[1]], axis=-1)

    def get_config(self):
        return {**super().get_config(), "count": self.count}


@keras.saving.register_keras_serializable(package="kgen_tests")
def square():
    """Rows of 4 values as squares of 2 x 2."""
    return backend.tfp().bijectors.Reshape([4], [2, 2])


@keras.saving.register_keras_serializable(package="kgen_tests")
class Wrong(Step):
    """Says one shape and returns another."""

    def output_shape(self, shape):
        return (2, 2)

    def encode(self, x, condition=None, training=False):
        return x, ops.zeros((ops.shape(x)[0],))


def make():
    coupling = Coupling(mask=[[1, 0], [0, 1]], widths=(8,))
    steps = [ActNorm(), TakeLast(1), MaskedAutoregressive(widths=(8,)), TakeLast(1), square, coupling]
    return Flow((6,), steps, ema=0.9)


def shaken(flow):
    rng = np.random.default_rng(0)
    for v in flow.chain.trainable_variables:
        v.assign(ops.convert_to_numpy(v) + 0.2 * rng.normal(size=v.shape))
    flow.ema_chain.set_weights(flow.chain.get_weights())
    return flow


def test_z_is_one_vector_of_what_was_taken_out_and_what_is_left():
    flow = shaken(make())
    assert flow.z_shape == (6,) and flow.chain.parts == ((1,), (1,), (2, 2))
    x = np.random.default_rng(1).normal(size=(20, 6)).astype("float32")
    z = flow.encode(x)
    assert z.shape == (20, 6)
    np.testing.assert_allclose(flow.decode(z), x, atol=1e-5)
    norm = flow.chain.steps[0]
    loc, log_scale = (ops.convert_to_numpy(v)[-1] for v in (norm.loc, norm.log_scale))
    np.testing.assert_allclose(
        z[:, 0], (x[:, -1] - loc) * np.exp(-log_scale), atol=1e-5
    )  # the first that was taken out
    assert flow.interpolate(x[:2], x[2:4], steps=3).shape == (2, 3, 6)


def test_log_prob_is_the_normal_of_z_and_autodiffs_log_det():
    flow = shaken(make())
    x = np.random.default_rng(1).normal(size=(20, 6)).astype("float32")
    z, slopes = jacobian(lambda x: flow.chain.encode(x)[0], x)
    expected = -0.5 * (z**2 + np.log(2 * np.pi)).sum(-1) + np.linalg.slogdet(slopes)[1]
    np.testing.assert_allclose(flow.log_prob(x), expected, atol=1e-4)


def test_it_trains_saves_and_samples(tmp_path):
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(6, 6))
    x = (rng.normal(size=(2000, 6)) @ mixing + 3).astype("float32")
    flow = make()
    flow.compile(keras.optimizers.Adam(1e-2))
    history = flow.fit(x, epochs=4, batch_size=100, verbose=0).history["loss"]
    assert history[-1] < history[0] - 0.5
    samples = flow.sample(500, seed=0)
    assert samples.shape == (500, 6)
    np.testing.assert_allclose(samples.mean(0), 3, atol=0.5)
    flow.save(tmp_path / "flow.keras")
    np.testing.assert_array_equal(kgen.load(tmp_path / "flow.keras").sample(3, seed=0), flow.sample(3, seed=0))
    assert {e.name: e.inputs for e in flow.endpoints()}["decode"]["z"].shape == (6,)


def test_a_chain_in_a_chain_and_a_shape_that_comes_back():
    tfb = backend.tfp().bijectors
    inner = Chain([TakeLast(1), MaskedAutoregressive(widths=(8,))])
    flow = Flow((4,), [ActNorm(), inner, MaskedAutoregressive(widths=(8,))])
    assert inner.z_shape == flow.z_shape == (4,) and inner.parts == ((1,), (3,))
    there_and_back = Flow((4,), [square, lambda: tfb.Reshape([2, 2], [4])])
    assert there_and_back.z_shape == (4,) and there_and_back.chain.parts == ((4,),)
    image = Flow((2, 2), [ActNorm(), lambda: tfb.Reshape([2, 2], [4]), ActNorm()])
    assert image.z_shape == (4,)
    x = np.random.default_rng(0).normal(size=(3, 2, 2)).astype("float32")
    np.testing.assert_allclose(image.decode(image.encode(x)), x, atol=1e-6)
    assert image.sample(3, seed=0).shape == (3, 2, 2)


def test_a_step_that_does_not_do_as_it_says_is_refused():
    cases = [
        (
            [ActNorm(), Wrong()],
            r"steps\[1\]: expected a step that makes rows of shape \(2, 2\) of rows of shape \(4,\)",
        ),
        ([Wrong(), ActNorm(), Wrong()], r"steps\[0\]: expected a step that makes rows of shape"),
        (
            [TakeLast(1), Wrong()],
            r"steps\[1\]: expected a step that keeps the number of values in rows of shape \(3,\)",
        ),
    ]
    for steps, message in cases:
        with pytest.raises(ValueError, match=message):
            Flow((4,), steps)
