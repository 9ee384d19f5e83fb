"""The U-Net's options (attention by side, resampling in residual blocks), U-Nets of sequences, and blocks that are computed again."""

import keras
import numpy as np
import pytest
from keras import ops
from networks.helpers import check_same_gradients, copy, randomised, run

from kgen.core.conditions import ImageCondition, SequenceCondition
from kgen.layers import SinusoidalEmbedding
from kgen.networks import UNet

RNG = np.random.default_rng(1)


def names(network):
    return {layer.name for layer in network.layers}


def test_attention_by_side_is_attention_by_level():
    options = {"channels": (8, 8, 8), "blocks": 1, "groups": 4}
    by_side = UNet((16, 8, 1), attention=(8, 4), **options)
    assert names(by_side) == names(UNet((16, 8, 1), attention=(False, True, True), **options))
    assert "middle_attention" not in names(UNet((16, 8, 1), attention=(), **options))
    assert copy(by_side).get_config() == by_side.get_config()


def test_resampling_in_residual_blocks():
    network = randomised(UNet((8, 8, 1), (8, 16), 1, (), groups=4, resample="residual"))
    pooled, repeated = (network.get_layer(f"{name}_resample_resize") for name in ("down_0", "up_1"))
    assert pooled.output.shape[1:] == (4, 4, 8) and repeated.output.shape[1:] == (8, 8, 16)
    x, t = RNG.normal(size=(1, 8, 8, 1)).astype("float32"), np.array([0.3], "float32")
    taps = ["down_0_0_conv_2", "down_0_resample_resize_skip", "down_0_resample_conv_2", "down_1_0_norm_1"]
    layers = [network.get_layer(name) for name in taps]
    inside = keras.Model(network.inputs, [layers[1].input, layers[1].output, layers[2].output, layers[3].input])
    h, halved, added, after = (ops.convert_to_numpy(v) for v in inside([x, t]))
    np.testing.assert_allclose(halved, h.reshape(1, 4, 2, 4, 2, 8).mean((2, 4)), atol=1e-5)
    np.testing.assert_allclose(after, halved + added, atol=1e-5)
    assert not {"down_0_stride", "up_1_conv"} & names(network) and copy(network).get_config() == network.get_config()


def test_unet_of_sequences():
    text = SequenceCondition(3, 5)
    options = {"channels": (8, 16), "blocks": 1, "attention": (4,), "groups": 4, "head_dim": 8}
    network = randomised(UNet((8, 2), num_classes=3, conditions=[text], out_channels=4, **options))
    x, t, label = RNG.normal(size=(2, 8, 2)).astype("float32"), np.full(2, 0.3, "float32"), np.zeros(2, "int32")
    tokens, mask = np.array([[1, 2, 3], [4, 0, 1]], "int32"), np.array([[1, 1, 0], [1, 1, 1]], "float32")
    y = run(network, x, t, label, tokens, mask)
    assert y.shape == (2, 8, 4)
    hidden = tokens.copy()
    hidden[0, 2] = 0
    np.testing.assert_allclose(run(network, x, t, label, hidden, mask), y, atol=1e-6)  # a token that does not count
    changed = [(x, t + 0.5, label, tokens), (x, t, label + 1, tokens), (x, t, label, (tokens + 1) % 5)]
    for each in changed:
        assert np.abs(run(network, *each, mask) - y).max() > 1e-3
    x[0, 0] += 3.0  # its last step sees its first, and rows do not see one another
    again = run(network, x, t, label, tokens, mask)
    assert np.abs(again - y)[0, -1].max() > 1e-5
    np.testing.assert_allclose(again[1], y[1], atol=1e-6)


def test_the_same_gradients_where_blocks_are_computed_again():
    x, t = RNG.normal(size=(3, 4, 1)).astype("float32"), np.array([0.1, 0.5, 0.9], "float32")
    check_same_gradients(lambda remat: UNet((4, 1), (4,), 1, (), groups=2, remat=remat), x, t)


@pytest.mark.skipif(keras.config.backend() == "jax", reason="it compiles each operation by itself")
def test_with_every_option_the_blocks_are_those_of_the_network():
    def output(remat):
        keras.utils.set_random_seed(0)
        options = {"groups": 2, "head_dim": 2, "scale_shift": True, "conditions": [SequenceCondition(2, 3)]}
        network = UNet((4, 1), (4, 6), 1, (2,), dropout=0.3, resample="residual", remat=remat, **options)
        for i, v in enumerate(network.trainable_variables):
            v.assign(0.3 * np.random.default_rng(i).normal(size=v.shape))
        x, t, tokens = (
            np.ones((2, 4, 1), "float32"),
            np.array([0.1, 0.9], "float32"),
            np.array([[0, 1], [2, 1]], "int32"),
        )
        inputs = [ops.convert_to_tensor(v) for v in (x, t, tokens, np.ones((2, 2), "float32"))]
        return [ops.convert_to_numpy(network(inputs, training=training)) for training in (True, False)]

    (training, not_training), again = output(False), output(True)
    np.testing.assert_allclose(again, [training, not_training], atol=1e-5)
    assert np.abs(training - not_training).max() > 1e-3


def test_padding_middle_and_time_of_other_libraries():
    """Values against diffusers are in tests/interop."""
    options = {"channels": (4, 4), "blocks": 1, "groups": 4, "stride_padding": "behind", "middle_attention": True}
    network = UNet((8, 2), attention=(), epsilon=1e-6, sinusoids={"scale": 20.0, "offset": -1.0}, **options)
    assert (
        network.get_layer("down_0_pad").output.shape[1] == 9 and network.get_layer("middle_attention").epsilon == 1e-6
    )
    assert network.output_shape == (None, 8, 2) and copy(network).get_config() == network.get_config()
    assert "middle_attention" not in names(UNet((4, 4, 1), (4,), 1, (True,), groups=4, middle_attention=False))
    plain, shifted = SinusoidalEmbedding(6, 20.0), SinusoidalEmbedding(6, 20.0, offset=-1.0, freq_shift=1.0)
    (embedded,) = ops.convert_to_numpy(shifted(ops.ones((1,))))
    np.testing.assert_allclose(embedded[5], 19e-4, rtol=1e-3)  # the last frequency is 1/10000
    np.testing.assert_allclose(
        embedded[[0, 3]], ops.convert_to_numpy(plain(ops.full((1,), 0.95)))[0, [0, 3]], atol=1e-5
    )
    with pytest.raises(ValueError, match="freq_shift: expected at least 0 and less than 3, half of dim, received 3"):
        SinusoidalEmbedding(6, freq_shift=3)


def test_wrong_arguments():
    cases = [
        (
            lambda: UNet((8, 8, 1), (8, 8), 1, (16, 8)),
            r"attention: .* or some of their sides \(8, 4\), received \(16, 8\)",
        ),
        (lambda: UNet((8, 8, 1), (8, 8), 1, (True, 4)), r"attention: .*received \(True, 4\)"),
        (lambda: UNet((8, 8, 1), resample="average"), "resample: .*'average'"),
        (lambda: UNet((10, 2), (8, 8, 8), 1, ()), r"3 levels need a length divisible by 4, .* fill up to \(12, 2\)"),
        (lambda: UNet((8, 2), (8,), 1, (), conditions=[ImageCondition((8, 2, 1))]), "received the picture 'condition'"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()
