"""The diffusion transformer: it starts as zero, its block is the paper's formula, its sizes are the paper's."""

import keras
import numpy as np
import pytest
from keras import ops
from networks.helpers import check_same_gradients, copy, randomised, run

from kgen.core.conditions import SequenceCondition
from kgen.networks import DiT
from kgen.networks.dit import DiTBlock, GridPositions

RNG = np.random.default_rng(1)
SMALL = {"patch_size": 2, "width": 8, "depth": 1, "heads": 2}


def arrays(*shapes):
    return [RNG.normal(size=shape).astype("float32") for shape in shapes]


def softmax(a):
    e = np.exp(a - a.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_the_block_is_the_papers_formula_and_starts_as_the_identity():
    block = DiTBlock(heads=2)
    x, c = arrays((2, 3, 8), (2, 5))
    block.build([x.shape, c.shape])
    np.testing.assert_array_equal(ops.convert_to_numpy(block([x, c])), x)
    randomised(block)
    weights = {
        n: [ops.convert_to_numpy(w) for w in getattr(block, n).weights]
        for n in ("modulation", "qkv", "project", "expand", "contract")
    }

    def dense(name, h):
        return h @ weights[name][0] + weights[name][1]

    def norm(h):
        return (h - h.mean(-1, keepdims=True)) / np.sqrt(h.var(-1, keepdims=True) + 1e-6)

    b_1, s_1, g_1, b_2, s_2, g_2 = np.split(dense("modulation", c / (1 + np.exp(-c)))[:, None], 6, axis=-1)
    q, k, v = np.moveaxis(dense("qkv", (1 + s_1) * norm(x) + b_1).reshape(2, 3, 3, 2, 4), 2, 0)
    weight = softmax(np.einsum("bqhd,bkhd->bhqk", q, k) / 2.0)
    h = x + g_1 * dense("project", np.einsum("bhqk,bkhd->bqhd", weight, v).reshape(2, 3, 8))
    u = dense("expand", (1 + s_2) * norm(h) + b_2)
    gelu = 0.5 * u * (1 + np.tanh(np.sqrt(2 / np.pi) * (u + 0.044715 * u**3)))
    np.testing.assert_allclose(ops.convert_to_numpy(block([x, c])), h + g_2 * dense("contract", gelu), atol=1e-4)


def test_it_starts_at_zero_and_each_block_as_the_identity():
    network = DiT((4, 4, 2), **{**SMALL, "depth": 2}, num_classes=3)
    inside = keras.Model(
        network.inputs, [network.get_layer("positions").output, network.get_layer("block_1").output, network.output]
    )
    before, after, output = inside([*arrays((2, 4, 4, 2)), np.full(2, 0.3, "float32"), np.zeros(2, "int32")])
    np.testing.assert_array_equal(ops.convert_to_numpy(after), ops.convert_to_numpy(before))
    assert np.abs(ops.convert_to_numpy(output)).max() == 0 and np.abs(ops.convert_to_numpy(after)).max() > 0.1


def parameters(width, depth, patch, channels, out, classes):
    """By hand: 18 W^2 + 15 W of each block, and what stands around."""
    embedding = 256 * width + width + width * width + width + (classes + 1) * width
    around = patch**2 * channels * width + width + 2 * width**2 + 2 * width + (width + 1) * patch**2 * out
    return depth * (18 * width**2 + 15 * width) + embedding + around


def test_as_many_parameters_as_the_papers():
    network = DiT((4, 4, 3), **SMALL, num_classes=5, out_channels=6)
    assert network.count_params() == parameters(8, 1, 2, 3, 6, 5)
    # Table 1, in millions, of latents 32x32x4 with a variance beside each output and ImageNet's classes.
    for (width, depth), millions in {(384, 12): 33, (768, 12): 130, (1024, 24): 458, (1152, 28): 675}.items():
        assert round(parameters(width, depth, 2, 4, 8, 1000) / 1e6) == millions


def test_what_it_depends_on():
    network = randomised(DiT((4, 6, 2), **SMALL, num_classes=3, conditions=[SequenceCondition(3, 5)], out_channels=4))
    x, t, label = *arrays((2, 4, 6, 2)), np.full(2, 0.3, "float32"), np.zeros(2, "int32")
    tokens, mask = np.array([[1, 2, 3], [4, 0, 1]], "int32"), np.array([[1, 1, 0], [1, 1, 1]], "float32")
    y = run(network, x, t, label, tokens, mask)
    assert y.shape == (2, 4, 6, 4)
    np.testing.assert_allclose(run(copy(network), x, t, label, tokens, mask), y, atol=1e-5)
    assert copy(network).get_config() == network.get_config()
    hidden = tokens.copy()
    hidden[0, 2] = 0
    np.testing.assert_allclose(run(network, x, t, label, hidden, mask), y, atol=1e-6)  # a token that does not count
    for each in [(x, t + 0.5, label, tokens), (x, t, label + 1, tokens), (x, t, label, (tokens + 1) % 5)]:
        assert np.abs(run(network, *each, mask) - y).max() > 1e-3
    x[0, 0, 0] += 3.0  # each patch sees every other, and rows do not see one another
    again = run(network, x, t, label, tokens, mask)
    assert (np.abs(again - y)[0].max(-1) > 1e-6).all()
    np.testing.assert_allclose(again[1], y[1], atol=1e-6)


def test_patches_go_back_to_their_places_and_know_them():
    network = DiT((4, 4, 1), **SMALL)
    network.get_layer("dense_out").bias.assign([1.0, 2.0, 3.0, 4.0])
    y = run(network, np.zeros((1, 4, 4, 1), "float32"), np.zeros(1, "float32"))
    np.testing.assert_array_equal(y[0, :, :, 0], np.tile([[1, 2], [3, 4]], (2, 2)))
    table = ops.convert_to_numpy(GridPositions(2, 3)(np.zeros((1, 6, 8), "float32")))[0]
    row, column = 1, 2  # token 5
    expected = [f(place * w) for place in (row, column) for f in (np.sin, np.cos) for w in (1.0, 0.01)]
    np.testing.assert_allclose(table[5], expected, atol=1e-6)


def test_the_same_gradients_where_blocks_are_computed_again():
    x, t, label = *arrays((3, 4, 4, 1)), np.array([0.1, 0.5, 0.9], "float32"), np.array([0, 1, 2], "int32")
    check_same_gradients(lambda remat: DiT((4, 4, 1), **SMALL, num_classes=3, remat=remat), x, t, label)


def test_bfloat16_inside_and_float32_outside():
    network = DiT((4, 4, 1), **SMALL, remat=True, dtype="mixed_bfloat16")
    x, t = arrays((2, 4, 4, 1), (2,))
    y = network([ops.convert_to_tensor(x), ops.convert_to_tensor(t)], training=True)
    assert keras.backend.standardize_dtype(y.dtype) == "float32" and np.isfinite(ops.convert_to_numpy(y)).all()
    assert (
        network.get_layer("block_0").compute_dtype == "bfloat16"
        and network.get_layer("block_0").qkv.kernel.dtype == "float32"
    )


def test_wrong_arguments():
    cases = [
        (lambda: DiT((8, 6, 1), 4), r"patch_size: expected a divisor of both sides of \(8, 6, 1\), received 4"),
        (lambda: DiT((8, 1)), r"shape: expected \(H, W, C\), received \(8, 1\)"),
        (lambda: DiT((8, 8, 1), width=18), "width: expected a multiple of 4"),
        (lambda: DiT((8, 8, 1), width=16, heads=3), "heads: expected a divisor of width=16, received 3"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()
