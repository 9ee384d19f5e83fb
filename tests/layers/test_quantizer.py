"""Vector quantisation: the nearest code, gradients, the averages' formula, dead codes, the exact distortion of uniform data."""

import keras
import numpy as np
import pytest
import two_devices
from keras import ops

from kgen import backend
from kgen.layers import VectorQuantizer

RNG = np.random.default_rng(0)


def quantizer(codebook, counts=None, **kwargs):
    """A quantiser with a given codebook, and codes that have been used ``counts`` times."""
    codebook = np.asarray(codebook, "float32")
    layer = VectorQuantizer(*codebook.shape, **kwargs)
    layer.codebook.assign(codebook)
    counts = np.ones(len(codebook), "float32") if counts is None else np.asarray(counts, "float32")
    layer.counts.assign(counts)
    if layer.ema is not None:
        layer.sums.assign(counts[:, None] * codebook)
    return layer


def values(layer):
    return [ops.convert_to_numpy(v).copy() for v in layer.weights]


def run(layer, z, training=False):
    return [ops.convert_to_numpy(v) for v in layer(ops.convert_to_tensor(z), training=training)]


def test_nearest_code_by_brute_force():
    codebook = RNG.normal(size=(7, 3)).astype("float32")
    layer = quantizer(codebook)
    z = RNG.normal(size=(4, 5, 2, 3)).astype("float32")
    expected = np.square(z[..., None, :] - codebook).sum(-1).argmin(-1)
    quantized, codes, losses, _ = run(layer, z)
    assert codes.dtype == np.int32
    np.testing.assert_array_equal(codes, expected)
    np.testing.assert_array_equal(ops.convert_to_numpy(layer.nearest(ops.convert_to_tensor(z))), expected)
    np.testing.assert_allclose(quantized, codebook[expected], atol=1e-6)
    np.testing.assert_array_equal(ops.convert_to_numpy(layer.lookup(ops.convert_to_tensor(codes))), codebook[expected])
    np.testing.assert_allclose(losses, 0.25 * np.square(z - codebook[expected]).mean((1, 2, 3)), rtol=1e-5)


def test_perplexity_is_the_exponential_of_the_entropy_of_use():
    layer = quantizer([[0.0], [1.0], [2.0], [3.0]])
    perplexity = run(layer, np.array([[[0.0], [0.1]], [[2.0], [1.0]]], "float32"))[3]
    p = np.array([0.5, 0.25, 0.25])
    np.testing.assert_allclose(perplexity, np.exp(-(p * np.log(p)).sum()), rtol=1e-5)
    np.testing.assert_allclose(run(layer, np.arange(4, dtype="float32")[:, None])[3], 4.0, rtol=1e-5)
    np.testing.assert_allclose(run(layer, np.ones((5, 1), "float32"))[3], 1.0, rtol=1e-5)


def test_gradients_pass_straight_through():
    layer = quantizer(RNG.normal(size=(5, 3)), commitment=0.5)
    z = RNG.normal(size=(4, 2, 3)).astype("float32")
    weights = ops.convert_to_tensor(RNG.normal(size=z.shape).astype("float32"))
    slope = backend.grad(lambda v: ops.sum(layer(v)[0] * weights, axis=(1, 2)), ops.convert_to_tensor(z))
    np.testing.assert_allclose(ops.convert_to_numpy(slope), ops.convert_to_numpy(weights), atol=1e-6)
    # Of the commitment: 0.5 * 2 (z - e) / 6, for the mean over an example's 6 numbers.
    slope = backend.grad(lambda v: layer(v)[2], ops.convert_to_tensor(z))
    np.testing.assert_allclose(ops.convert_to_numpy(slope), (z - run(layer, z)[0]) / 6, atol=1e-6)


def test_the_codebook_is_drawn_to_its_vectors_by_gradient():
    layer = quantizer([[0.0], [10.0], [20.0]], ema=None, commitment=0.0, revive_below=0.0)
    z = ops.convert_to_tensor(np.array([[1.0], [2.0], [12.0]], "float32"))

    def loss():
        losses = layer(z, training=True)[2]
        return ops.sum(losses), losses

    (_, losses), (gradient,) = backend.value_and_grad(loss, layer.trainable_variables)
    np.testing.assert_allclose(ops.convert_to_numpy(losses), [1.0, 4.0, 4.0], rtol=1e-6)
    np.testing.assert_allclose(ops.convert_to_numpy(gradient), [[-6.0], [-4.0], [0.0]], rtol=1e-6)  # 2 sum (e - z)


def test_averages_are_the_formula():
    g = 0.9
    layer = quantizer(RNG.normal(size=(4, 2)), counts=[3.0, 5.0, 2.0, 1.0], ema=g, revive_below=0.0)
    assert layer.trainable_variables == []
    _, counts, sums = values(layer)
    for _ in range(3):
        z = RNG.normal(size=(6, 5, 2)).astype("float32")
        codes = run(layer, z, training=True)[1].reshape(-1)
        chosen = np.eye(4)[codes]
        counts = g * counts + (1 - g) * chosen.sum(0)
        sums = g * sums + (1 - g) * chosen.T @ z.reshape(-1, 2)
        for value, expected in zip(values(layer), (sums / counts[:, None], counts, sums), strict=True):
            np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("ema", [0.9, None])
def test_dead_codes_are_revived_and_no_others(ema):
    # 12 vectors for 4 codes: fair use is 3, and a code is dead below 0.3.
    start = np.array([[0.0, 0.0], [50.0, 0.0], [0.0, 60.0], [1.0, 1.0]])
    z = RNG.uniform(-1, 1, size=(12, 2)).astype("float32")
    layer = quantizer(start, counts=[2.0, 0.1, 0.29, 0.31], ema=ema, revive_below=0.1)
    quantized, codes, _, _ = run(layer, z, training=True)
    codebook, counts = values(layer)[0], ops.convert_to_numpy(layer.counts)
    if ema is None:
        np.testing.assert_array_equal(codebook[[0, 3]], start[[0, 3]])
        assert all((np.abs(z - codebook[k]).max(axis=1) < 1e-6).any() for k in (1, 2))  # rows of the batch
        decay = 0.99
    else:
        assert np.abs(codebook).max() <= 1
        decay = ema
    assert {1, 2} <= set(codes.tolist())  # what was dead is used at once, by the vector that it was put on
    assert np.abs(quantized).max() <= 1
    used = np.bincount(codes, minlength=4)
    np.testing.assert_allclose(counts, decay * np.array([2.0, 3.0, 3.0, 0.31]) + (1 - decay) * used, rtol=1e-5)
    # Without revival, and outside of training, dead codes stay where they are.
    still = quantizer(start, counts=[2.0, 0.1, 0.29, 0.31], ema=ema, revive_below=0.0)
    run(still, z, training=True)
    np.testing.assert_allclose(values(still)[0][1:3], start[1:3], rtol=1e-6)
    layer = quantizer(start, counts=np.zeros(4), ema=ema)
    before = values(layer)
    run(layer, z)
    layer.trainable = False
    run(layer, z, training=True)
    for a, b in zip(before, values(layer), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_first_batch_makes_the_first_codebook():
    z = (100.0 + RNG.normal(size=(500, 2))).astype("float32")
    layer = VectorQuantizer(16, 2)
    run(layer, z, training=True)
    assert np.abs(values(layer)[0] - 100).max() < 5
    assert run(layer, z)[3] > 8


def test_vectors_that_are_not_finite_revive_no_code():
    layer = quantizer(np.ones((3, 2)), counts=np.zeros(3), ema=None)
    run(layer, np.full((4, 2), np.nan, "float32"), training=True)
    np.testing.assert_array_equal(values(layer)[0], np.ones((3, 2)))


def learnt(ema, scope=None):
    """Codebook and counts after three batches of 40 rows, of which the first replica has 24, 16, and in the last all."""
    import tensorflow as tf

    rng = np.random.default_rng(0)
    with scope() if scope else tf.device("CPU:0"):
        strategy = tf.distribute.get_strategy()
        layer = VectorQuantizer(6, 2, ema=ema, revive_below=0.5)
        layer.seed_generator.state.assign([3, 0])
    for here in (24, 16, 40):
        z = rng.normal(size=(40, 2)).astype("float32")
        if scope is None:
            layer(z, training=True)
            continue
        parts = [tf.constant(z[:here]), tf.constant(z[here:])]
        rows = strategy.experimental_distribute_values_from_function(lambda c, p=parts: p[c.replica_id_in_sync_group])
        step = tf.function(lambda rows: layer(rows, training=True)[2])
        strategy.run(step, args=(rows,))
    return np.array(layer.codebook), np.array(layer.counts)


@pytest.mark.two_devices
@pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="tf.distribute is TensorFlow's")
@pytest.mark.parametrize("ema", [0.9, None])
def test_replicas_have_the_codebook_of_one_device(ema):
    alone = learnt(ema)
    with two_devices.replicas() as scope:
        together = learnt(ema, scope)
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_uniform_data_is_distorted_as_little_as_can_be():
    codes = 8
    layer = VectorQuantizer(codes, 1, ema=0.2)
    z = RNG.permutation((np.arange(4096) + 0.5) / 4096).astype("float32")[:, None]
    tensor = ops.convert_to_tensor(z)
    for _ in range(150):
        layer(tensor, training=True)
    distortion = np.square(run(layer, z)[0] - z).mean()
    assert abs(distortion * 12 * codes**2 - 1) < 0.02


def test_configuration():
    layer = VectorQuantizer(5, 2, ema=None, commitment=0.1, revive_below=0.3)
    again = VectorQuantizer.from_config(layer.get_config())
    assert again.get_config() == layer.get_config() and again.codebook.trainable
    assert VectorQuantizer(5, 2, dtype="mixed_float16").codebook.dtype == "float32"


def test_wrong_arguments():
    cases = [
        (lambda: VectorQuantizer(0, 2), "num_codes: expected an integer of at least 1, received 0"),
        (lambda: VectorQuantizer(2, 1.5), "dim: expected an integer of at least 1, received 1.5"),
        (lambda: VectorQuantizer(2, 2, ema=1.0), "ema: expected a number in"),
        (lambda: VectorQuantizer(2, 2, commitment=-1), "commitment: expected a number in"),
        (lambda: VectorQuantizer(2, 2, revive_below=2), "revive_below: expected a number in"),
        (
            lambda: VectorQuantizer(2, 3)(ops.zeros((4, 2))),
            r"z: expected shape \(B, ..., 3\), vectors as long as the codes",
        ),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()
