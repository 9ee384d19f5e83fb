"""The transformer: GPT-2's function, causality, relative positions, and a cache that changes nothing."""

import math

import keras
import numpy as np
import pytest
from keras import ops

from kgen.layers import MaskedAttention, rotary_angles, rotate
from kgen.networks import CausalTransformer

RNG = np.random.default_rng(0)


def small(positions="rotary", **kwargs):
    """Weights far from their small start, so that every part matters."""
    network = CausalTransformer(11, 12, layers=2, heads=2, width=8, positions=positions, **kwargs)
    rng = np.random.default_rng(1)
    for weight in network.weights:
        if "float" in weight.dtype:
            weight.assign(0.5 * rng.standard_normal(weight.shape).astype("float32"))
    return network


def tokens(*shape):
    return RNG.integers(0, 11, shape).astype("int32")


def run(function, *inputs):
    return keras.tree.map_structure(ops.convert_to_numpy, function(*map(ops.convert_to_tensor, inputs)))


def gpt2(network, x):
    """GPT-2's forward pass in numpy, from the weights of a ``CausalTransformer``."""
    w = {v.path.removeprefix("transformer/"): ops.convert_to_numpy(v).astype("float64") for v in network.weights}

    def norm(h, name):
        h = (h - h.mean(-1, keepdims=True)) / np.sqrt(h.var(-1, keepdims=True) + 1e-5)
        return h * w[f"{name}/gamma"] + w[f"{name}/beta"]

    def linear(h, name):
        return h @ w[f"{name}/kernel"] + w[f"{name}/bias"]

    length = x.shape[1]
    h = w["embedding/embeddings"][x] + w["position_embedding/embeddings"][:length]
    for i in range(network.depth):
        q, k, v = np.split(linear(norm(h, f"block_{i}/attention_norm"), f"block_{i}/attention/qkv"), 3, axis=-1)
        heads = []
        for part in np.split(np.arange(network.width), network.heads):
            scores = q[..., part] @ k[..., part].swapaxes(1, 2) / np.sqrt(len(part))
            scores = np.where(np.tri(length) > 0, scores, -np.inf)
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            heads.append(weights / weights.sum(-1, keepdims=True) @ v[..., part])
        h = h + linear(np.concatenate(heads, axis=-1), f"block_{i}/attention/project")
        wide = linear(norm(h, f"block_{i}/dense_norm"), f"block_{i}/expand")
        wide = 0.5 * wide * (1 + np.tanh(math.sqrt(2 / math.pi) * (wide + 0.044715 * wide**3)))
        h = h + linear(wide, f"block_{i}/contract")
    return norm(h, "norm") @ w["embedding/embeddings"].T


def test_learned_positions_make_gpt2():
    network, x = small("learned"), tokens(3, 12)
    np.testing.assert_allclose(run(network, x), gpt2(network, x), atol=2e-5)


@pytest.mark.parametrize("positions", ["rotary", "learned"])
def test_no_token_sees_its_future(positions):
    network, x = small(positions), tokens(1, 10)
    before = run(network, x)
    for i in range(10):
        changed = x.copy()
        changed[0, i] = (changed[0, i] + 1) % 11
        moved = np.abs(run(network, changed) - before).max(-1)[0]
        assert (moved[:i] == 0).all() and (moved[i:] > 1e-4).all()


@pytest.mark.parametrize("positions", ["rotary", "learned"])
def test_cached_equals_uncached(positions):
    """Prompts of 1, 3 and 5 tokens in one batch, then one token at a time."""
    network, x = small(positions), tokens(3, 10)
    length = np.array([1, 3, 5], "int32")
    full = [run(network, row[None])[0] for row in x]
    prompts = np.zeros((3, 5), "int32")
    for row, (n, values) in enumerate(zip(length, x, strict=True)):
        prompts[row, 5 - n :] = values[:n]
    start = ops.convert_to_tensor(5 - length)
    logits, cache = network.prefill(ops.convert_to_tensor(prompts), start, 16)
    for step in range(5):
        for row, n in enumerate(length):
            np.testing.assert_allclose(ops.convert_to_numpy(logits)[row], full[row][n - 1 + step], atol=1e-5)
        token = ops.convert_to_tensor(np.array([x[row, n + step] for row, n in enumerate(length)]))
        logits, cache = network.step(token, ops.convert_to_tensor(5 + step, dtype="int32"), start, cache)
    assert len(cache) == 4 and tuple(cache[0].shape) == (3, 2, 16, 4)


def test_rotary_products_depend_on_the_distance_alone():
    q, k = RNG.normal(size=(2, 1, 1, 1, 8)).astype("float32")

    def turned(x, position):
        angles = rotary_angles(ops.convert_to_tensor([[position]]), 8)
        return ops.convert_to_numpy(rotate(ops.convert_to_tensor(x), *angles)).ravel()

    np.testing.assert_allclose(turned(q, 0), q.ravel())
    np.testing.assert_allclose(np.linalg.norm(turned(q, 77)), np.linalg.norm(q), rtol=1e-6)
    for distance in (0, 1, 7):
        products = [turned(q, p + distance) @ turned(k, p) for p in (0, 3, 50)]
        np.testing.assert_allclose(products, products[0], atol=1e-5)
    assert abs(turned(q, 5) @ turned(k, 0) - turned(q, 6) @ turned(k, 0)) > 1e-3


def test_rotary_angle_of_the_paper():
    cos, sin = (ops.convert_to_numpy(t) for t in rotary_angles(ops.convert_to_tensor([[3]]), 4))
    np.testing.assert_allclose(cos[0, 0, 0], np.cos([3.0, 3.0 / 100]), rtol=1e-6)  # 10000^(-2/4) = 1/100
    np.testing.assert_allclose(sin[0, 0, 0], np.sin([3.0, 3.0 / 100]), rtol=1e-6)


def test_embedding_and_logits_share_one_table():
    network = small("learned")
    assert [v.path for v in network.weights if tuple(v.shape) == (11, 8)] == [network.embedding.embeddings.path]
    x, table = tokens(1, 5), network.embedding.embeddings
    before, others = run(network, x), np.setdiff1d(np.arange(11), x)
    changed = ops.convert_to_numpy(table).copy()
    changed[others[0]] += 1.0  # a token that does not stand there: its logits alone move
    table.assign(changed)
    moved = np.abs(run(network, x) - before).max((0, 1))
    assert moved[others[0]] > 0.01 and np.delete(moved, others[0]).max() < 1e-5


def test_number_of_parameters_is_gpt2s():
    # 12 W^2 + 13 W for a block, 2 W for the last norm, and the tables.
    network = CausalTransformer(50, 20, layers=3, heads=4, width=16, positions="learned")
    assert network.count_params() == 3 * (12 * 16**2 + 13 * 16) + 2 * 16 + (50 + 20) * 16


def test_configuration_round_trip():
    network = small("rotary", dropout=0.2)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(network))
    assert again.get_config() == network.get_config()
    again.set_weights(network.get_weights())
    x = tokens(2, 6)
    np.testing.assert_array_equal(run(again, x), run(network, x))
    dropped = ops.convert_to_numpy(network(ops.convert_to_tensor(x), training=True))
    assert np.abs(dropped - run(network, x)).max() > 0.01


def test_errors():
    with pytest.raises(
        ValueError, match="heads: expected to divide width=10 .*rotary positions turn pairs.*received 4"
    ):
        CausalTransformer(5, 8, heads=4, width=10)
    with pytest.raises(ValueError, match="heads: expected to divide width=6 to an even size, .*received 2"):
        CausalTransformer(5, 8, heads=2, width=6)
    with pytest.raises(
        ValueError, match="positions: expected one of 'rotary', 'learned', received 'rotari'. Did you mean 'rotary'"
    ):
        CausalTransformer(5, 8, positions="rotari")
    with pytest.raises(ValueError, match="layers: expected an integer of at least 1, received 0"):
        CausalTransformer(5, 8, layers=0)
    with pytest.raises(ValueError, match="dim: rotary positions turn pairs of numbers.*received 3"):
        rotary_angles(ops.convert_to_tensor([[1]]), 3)
    with pytest.raises(ValueError, match="heads: expected a divisor of the width 8, received 3"):
        MaskedAttention(3).build((None, None, 8))
