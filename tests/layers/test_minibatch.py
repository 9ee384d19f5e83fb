import numpy as np
import pytest
from keras import ops

from kgen.layers import (
    ConditionalBatchNormalization,
    MinibatchDiscrimination,
    MinibatchStandardDeviation,
    TextEmbedding,
)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(10, 3, 3, 2)).astype("float32")


def test_the_deviation_of_each_group_is_a_channel():
    found = ops.convert_to_numpy(MinibatchStandardDeviation(4)(X))
    assert found.shape == (10, 3, 3, 3)
    np.testing.assert_array_equal(found[..., :2], X)
    for start, end in ((0, 4), (4, 8), (8, 10)):  # the last group has what is left
        expected = X[start:end].std(0).mean()
        np.testing.assert_allclose(found[start:end, ..., 2], np.full((end - start, 3, 3), expected), rtol=1e-4)
    whole = ops.convert_to_numpy(MinibatchStandardDeviation(10)(X.reshape(10, 18)))
    np.testing.assert_allclose(whole[:, 18], np.full(10, X.std(0).mean()), rtol=1e-4)
    np.testing.assert_allclose(ops.convert_to_numpy(MinibatchStandardDeviation(4)(X[:1]))[..., 2], 1e-4, rtol=1e-3)


def test_discrimination_is_its_formula():
    layer = MinibatchDiscrimination(3, 2, group=6)
    x = X.reshape(10, 18)
    found = ops.convert_to_numpy(layer(x))
    m = (x @ layer.get_weights()[0]).reshape(10, 3, 2)
    near = np.zeros((10, 3))
    for i in range(10):
        for j in range(10):
            if i != j and i // 6 == j // 6:
                near[i] += np.exp(-np.abs(m[i] - m[j]).sum(-1))
    np.testing.assert_allclose(found[:, 18:], near, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(found[:, :18], x)
    with pytest.raises(ValueError, match="group: expected an integer of at least 1, received 0"):
        MinibatchDiscrimination(group=0)


def test_normalisation_by_class_has_a_scale_and_a_shift_of_each():
    layer, classes = ConditionalBatchNormalization(), np.eye(3, dtype="float32")[RNG.integers(0, 3, 10)]
    layer([X, classes])
    np.testing.assert_allclose(ops.convert_to_numpy(layer([X, classes])), X / (1 + 1e-5) ** 0.5, atol=1e-5)
    scale, shift = RNG.normal(size=(2, 3, 2)).astype("float32")
    layer.scale.kernel.assign(scale)
    layer.shift.kernel.assign(shift)
    found = ops.convert_to_numpy(layer([X, classes], training=True))
    normal = (X - X.mean((0, 1, 2))) / np.sqrt(X.var((0, 1, 2)) + 1e-5)
    expected = normal * (1 + classes @ scale)[:, None, None] + (classes @ shift)[:, None, None]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_text_is_the_mean_of_the_tokens_that_count():
    layer = TextEmbedding(7, 4)
    tokens = np.array([[1, 2, 3], [1, 2, 6], [4, 4, 4]], "int32")
    mask = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 0]], "float32")
    found = ops.convert_to_numpy(layer([tokens, mask]))
    np.testing.assert_array_equal(found[0], found[1])  # what is masked changes nothing
    table, kernel, bias = (
        ops.convert_to_numpy(w) for w in (layer.tokens.embeddings, layer.project.kernel, layer.project.bias)
    )
    h = table[[1, 2]].mean(0) @ kernel + bias
    np.testing.assert_allclose(found[0], np.where(h > 0, h, 0.2 * h), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found[2], np.where(bias > 0, bias, 0.2 * bias), atol=1e-6)
