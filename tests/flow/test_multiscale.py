"""Squeeze and Split against autodiff, known densities and the way back."""

import keras
import numpy as np
import pytest
from flow.autodiff import jacobian
from keras import ops

import kgen
from kgen.flow import ActNorm, Coupling, Flow, MaskedAutoregressive, Split, Squeeze, checkerboard

pytestmark = pytest.mark.skipif(keras.config.backend() == "torch", reason="flows run on tensorflow and jax")

RNG = np.random.default_rng(0)


def channels(shape):
    """The mask that keeps the first half of the channels."""
    return np.broadcast_to(np.arange(shape[-1]) < shape[-1] // 2, shape).astype(int)


def make(conditional=True, **kwargs):
    steps = [Coupling(mask=checkerboard((4, 4, 1)), widths=(8,)), Squeeze()]
    steps += [
        ActNorm(),
        Coupling(mask=channels((2, 2, 4)), widths=(8,)),
        Split(conditional),
        Squeeze(),
        Split(conditional),
    ]
    flow = Flow(
        (4, 4, 1), [*steps, Coupling(mask=checkerboard((1, 1, 4)) * channels((1, 1, 4)), widths=(8,))], **kwargs
    )
    for v in flow.chain.trainable_variables:
        v.assign(ops.convert_to_numpy(v) + 0.2 * RNG.normal(size=v.shape))
    return flow


@pytest.mark.parametrize("conditional", [True, False])
def test_log_prob_is_the_normal_of_z_and_autodiffs_log_det_and_decode_the_way_back(conditional):
    flow = make(conditional, num_classes=3)
    assert flow.z_shape == (16,) and flow.chain.parts == ((2, 2, 2), (1, 1, 4), (1, 1, 4))
    x, y = RNG.normal(size=(12, 4, 4, 1)).astype("float32"), RNG.integers(0, 3, 12)
    condition = ops.one_hot(ops.convert_to_tensor(y), 3, dtype="float32")
    z, slopes = jacobian(lambda x: flow.chain.encode(x, condition)[0], x)
    expected = -0.5 * (z**2 + np.log(2 * np.pi)).sum(-1) + np.linalg.slogdet(slopes)[1]
    np.testing.assert_allclose(flow.log_prob(x, labels=y), expected, atol=1e-4)
    np.testing.assert_allclose(flow.encode(x, y), z, atol=1e-5)
    np.testing.assert_allclose(flow.decode(z, y), x, atol=1e-5)
    assert flow.sample(5, seed=0, labels=1).shape == (5, 4, 4, 1)


def test_squeezed_channels_are_the_square_from_top_left_to_bottom_right():
    x = np.arange(32, dtype="float32").reshape(1, 4, 4, 2)
    z, log_det = Squeeze().encode(ops.convert_to_tensor(x))
    z = ops.convert_to_numpy(z)
    assert z.shape == (1, 2, 2, 8) and np.all(ops.convert_to_numpy(log_det) == 0)
    np.testing.assert_array_equal(z[0, 1, 0], np.concatenate([x[0, i, j] for i, j in ((2, 0), (2, 1), (3, 0), (3, 1))]))


@pytest.mark.once("test_same_everywhere holds the training of every backend to the same numbers")
def test_a_learnt_prior_reaches_the_entropy_of_a_gaussian():
    # x_2 given x_1 is normal, with a mean that is linear in x_1: a Split alone has the density exactly.
    mixing = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0.7, -0.5, 0.5, 0], [0.2, 0.9, 0, 0.3]])
    x = (RNG.normal(size=(6000, 4)) @ mixing.T).astype("float32")
    entropy = 0.5 * 4 * np.log(2 * np.pi * np.e) + np.log(np.linalg.det(mixing))
    held_out, exact = x[4000:], np.linalg.inv(mixing @ mixing.T)
    true = -entropy - 0.5 * (np.einsum("ni,ij,nj->n", held_out, exact, held_out) - 4)
    losses = {}
    for conditional in (True, False):
        flow = Flow((4,), [Split(conditional), MaskedAutoregressive(widths=(4,))])
        flow.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(3e-2, 240)))
        flow.fit(x[:4000], epochs=6, batch_size=100, verbose=0)
        losses[conditional] = np.mean(true - flow.log_prob(held_out))
    assert abs(losses[True]) < 0.01 and losses[False] > 0.3


def test_saved_and_loaded(tmp_path):
    flow = make(num_classes=3, ema=0.9, dequantize=5)
    flow.compile()
    x, y = RNG.choice(np.linspace(-1, 1, 5), size=(32, 4, 4, 1)).astype("float32"), RNG.integers(0, 3, 32)
    flow.fit(x, y, verbose=0)
    np.testing.assert_array_equal(flow.decode(flow.encode(x[:9], y[:9]), y[:9]), x[:9])
    flow.save(tmp_path / "flow.keras")
    again = kgen.load(tmp_path / "flow.keras")
    np.testing.assert_array_equal(again.sample(3, seed=0, labels=2), flow.sample(3, seed=0, labels=2))


def test_wrong_shapes():
    for shape, steps, message in (
        ((4, 3, 1), [Squeeze()], r"a Squeeze takes images \(H, W, C\) of even sides, received \(4, 3, 1\)"),
        ((4,), [Squeeze()], "a Squeeze takes images"),
        ((4, 4, 1), [Split()], r"a Split halves the last axis, which needs at least 2, received \(4, 4, 1\)"),
    ):
        with pytest.raises(ValueError, match=message):
            Flow(shape, steps)
