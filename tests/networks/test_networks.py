"""Networks: shapes, what they condition on, configuration, wrong arguments."""

import keras
import numpy as np
import pytest
from keras import ops
from networks.helpers import copy, randomised, run

from kgen import backend
from kgen.layers import SinusoidalEmbedding, SpatialAttention
from kgen.networks import MLP, ConvDecoder, ConvEncoder, UNet


def test_unet_uses_image_time_and_label():
    network = randomised(
        UNet((8, 8, 2), channels=(8, 16), blocks=1, attention=(False, True), num_classes=3, groups=4, head_dim=8)
    )
    x = np.random.default_rng(1).normal(size=(2, 8, 8, 2)).astype("float32")
    t, label = np.array([0.1, 0.1], "float32"), np.array([0, 0], "int32")
    y = run(network, x, t, label)
    assert y.shape == (2, 8, 8, 2)
    np.testing.assert_allclose(run(copy(network), x, t, label), y, atol=1e-5)
    for changed in (run(network, x + 0.1, t, label), run(network, x, t + 0.5, label), run(network, x, t, label + 1)):
        assert np.abs(changed - y).max() > 1e-3
    x[0] += 1.0  # rows do not see one another
    np.testing.assert_allclose(run(network, x, t, label)[1:], y[1:], atol=1e-6)


def test_unet_starts_at_zero_and_every_pixel_sees_every_other():
    network = UNet((4, 4, 1), channels=(8, 8), blocks=1, attention=(False, True), groups=4)
    x = np.ones((1, 4, 4, 1), "float32")
    assert np.abs(run(network, x, np.zeros(1, "float32"))).max() == 0
    randomised(network)
    base = run(network, x, np.zeros(1, "float32"))
    x[0, 0, 0] = 3.0
    assert (np.abs(run(network, x, np.zeros(1, "float32")) - base) > 1e-7).all()


def test_unet_tells_classes_apart_from_the_start_and_attention_adds_nothing_then():
    network = UNet((8, 8, 1), channels=(8, 16), blocks=1, attention=(False, True), num_classes=10, groups=4)
    table = ops.convert_to_numpy(network.get_layer("label_embedding").embeddings)
    assert table.shape == (11, 32) and abs(table.std() - 1.0) < 0.15 and abs(table.mean()) < 0.2
    attention = network.get_layer("down_1_0_attention")
    assert np.abs(ops.convert_to_numpy(attention.output_dense.kernel)).max() == 0
    x = np.random.default_rng(0).normal(size=(1, 2, 2, 16)).astype("float32")
    np.testing.assert_array_equal(ops.convert_to_numpy(attention(x)), x)


def test_unet_that_scales_and_shifts():
    options = {"channels": (8,), "blocks": 1, "attention": (False,), "num_classes": 3, "groups": 4}
    network = randomised(UNet((4, 4, 1), scale_shift=True, **options))
    x = np.random.default_rng(1).normal(size=(2, 4, 4, 1)).astype("float32")
    t, label = np.array([0.1, 0.1], "float32"), np.array([0, 0], "int32")
    y = run(network, x, t, label)
    np.testing.assert_allclose(run(copy(network), x, t, label), y, atol=1e-5)
    for changed in (run(network, x, t + 0.5, label), run(network, x, t, label + 1)):
        assert np.abs(changed - y).max() > 1e-3
    # What the block computes, by hand: the scale and shift stand behind the second normalisation.
    taps = [network.get_layer(name) for name in ("down_0_0_norm_2", "down_0_0_shift", "down_0_0_conv_2")]
    inside = keras.Model(network.inputs, [taps[0].output, taps[1].output, taps[2].input])
    norm, given, out = (ops.convert_to_numpy(v) for v in inside([x, t, label]))
    h = norm * (1.0 + given[..., :8]) + given[..., 8:]
    np.testing.assert_allclose(out, h / (1.0 + np.exp(-h)), atol=1e-5)
    # Without the option the weights are those of old files.
    plain = UNet((4, 4, 1), **options)
    assert plain.get_layer("down_0_0_embedding").kernel.shape == (32, 8)
    assert "scale_shift" in plain.get_config()
    old = {k: v for k, v in plain.get_config().items() if k != "scale_shift"}
    assert [v.path for v in UNet.from_config(old).variables] == [v.path for v in plain.variables]


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "bfloat16"])
def test_times_keep_float32_under_any_policy(policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        layer, inside = SinusoidalEmbedding(6), keras.Sequential([keras.Input(()), SinusoidalEmbedding(6)])
    finally:
        keras.config.set_dtype_policy(before)
    t = np.array([0.999, 0.9995], "float32")  # one number in bfloat16
    expected = np.sin(1000.0 * t)
    for network in (layer, inside):
        values = ops.convert_to_numpy(ops.cast(network(ops.convert_to_tensor(t)), "float32"))
        np.testing.assert_allclose(values[:, 3], expected, atol=1e-2)


def test_encoder_and_decoder_mirror_each_other():
    encoder, decoder = (
        ConvEncoder((8, 8, 3), 5, channels=(4, 8), dense=16),
        ConvDecoder(5, (8, 8, 3), channels=(4, 8), dense=16),
    )
    z = run(encoder, np.zeros((2, 8, 8, 3), "float32"))
    assert z.shape == (2, 5)
    assert run(decoder, z).shape == (2, 8, 8, 3)
    for network, inputs in ((encoder, np.ones((1, 8, 8, 3), "float32")), (decoder, np.ones((1, 5), "float32"))):
        np.testing.assert_allclose(run(copy(network), inputs), run(network, inputs), atol=1e-6)


def test_mlp_without_hidden_layers_is_linear():
    network = randomised(MLP((2, 3), (4,), widths=()))
    x = np.random.default_rng(0).normal(size=(5, 2, 3)).astype("float32")
    kernel, bias = network.get_weights()
    np.testing.assert_allclose(run(network, x), x.reshape(5, 6) @ kernel + bias, atol=1e-5)
    timed = randomised(MLP((3,), (2, 2), widths=(8,), time=True))
    a, b = (run(timed, np.ones((1, 3), "float32"), np.full(1, t, "float32")) for t in (0.2, 0.7))
    assert a.shape == (1, 2, 2) and np.abs(a - b).max() > 1e-3


def test_sinusoidal_embedding_is_the_formula():
    values = ops.convert_to_numpy(SinusoidalEmbedding(6)(ops.convert_to_tensor(np.array([0.0, 0.25], "float32"))))
    angles = 250.0 * 10000.0 ** (-np.arange(3) / 3)
    np.testing.assert_allclose(values[1], np.concatenate([np.cos(angles), np.sin(angles)]), atol=2e-4)
    np.testing.assert_allclose(values[0], [1, 1, 1, 0, 0, 0], atol=1e-6)


def test_attention_with_zero_output_weights_is_the_identity_and_permutes_with_its_input():
    layer = SpatialAttention(heads=2, groups=4)
    x = np.random.default_rng(0).normal(size=(1, 2, 3, 8)).astype("float32")
    layer.build(x.shape)
    y = ops.convert_to_numpy(layer(x))
    flipped = ops.convert_to_numpy(layer(np.ascontiguousarray(x[:, ::-1])))
    np.testing.assert_allclose(flipped[:, ::-1], y, atol=1e-5)
    layer.output_dense.set_weights([np.zeros((8, 8)), np.zeros(8)])
    np.testing.assert_allclose(ops.convert_to_numpy(layer(x)), x, atol=1e-6)


def test_attentions_gradient_is_that_of_differences():
    rng = np.random.default_rng(0)
    layer = SpatialAttention(heads=2, groups=4)
    layer.build((3, 2, 3, 8))
    layer.set_weights([0.5 * rng.normal(size=w.shape) for w in layer.get_weights()])
    x, direction = (ops.convert_to_tensor(rng.normal(size=(3, 2, 3, 8)).astype("float32")) for _ in range(2))

    def loss():
        return ops.sum(layer(x) * direction), None

    (value, _), gradients = backend.value_and_grad(loss, layer.trainable_variables)
    assert len(gradients) == 10 and abs(float(value)) > 0.1
    for variable, gradient in zip(layer.trainable_variables, gradients, strict=True):
        at, along = ops.convert_to_numpy(variable), rng.normal(size=variable.shape)
        ends = []
        for step in (-1e-2, 1e-2):
            variable.assign(at + step * along)
            ends.append(float(loss()[0]))
        variable.assign(at)
        slope = (ops.convert_to_numpy(gradient) * along).sum()
        np.testing.assert_allclose((ends[1] - ends[0]) / 2e-2, slope, rtol=1e-2, atol=1e-2, err_msg=variable.path)


def test_wrong_arguments():
    cases = [
        (lambda: UNet((8,)), r"shape: expected \(H, W, C\), or \(T, C\) of sequences, received \(8,\)"),
        (lambda: UNet((7, 8, 1)), "shape: 2 levels need sides divisible by 2"),
        (lambda: UNet((8, 8, 1), channels=(12, 16)), "channels: expected multiples of groups=8"),
        (lambda: UNet((8, 8, 1), attention=(True,)), "attention: expected one bool for each of 2 levels"),
        (lambda: ConvEncoder((6, 6, 1), 3), "shape: expected an image shape"),
        (lambda: ConvDecoder(3, (6, 6, 1)), "output_shape: expected an image shape"),
        (lambda: SinusoidalEmbedding(3), "dim: expected an even number of at least 2, received 3"),
        (
            lambda: SpatialAttention(heads=3).build((1, 2, 2, 8)),
            "heads: expected a divisor of the 8 channels, received 3",
        ),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()
