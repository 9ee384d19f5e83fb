"""Shifted convolutions against the sums that define them, whole and in parts."""

import itertools

import numpy as np
import pytest
from keras import ops

from kgen.layers import DownRightShiftedConv2D, DownShiftedConv2D

X = np.random.default_rng(0).standard_normal((2, 4, 5, 3)).astype("float32")


def built(layer):
    layer.build(X.shape)
    layer.bias.assign(np.arange(6, dtype="float32"))
    return layer


@pytest.mark.parametrize("layer", [DownShiftedConv2D, DownRightShiftedConv2D])
def test_they_are_their_sums(layer):
    conv = built(layer(6, (2, 3)))
    left, right = {DownShiftedConv2D: (1, 1), DownRightShiftedConv2D: (2, 0)}[layer]
    y, kernel = ops.convert_to_numpy(conv(ops.convert_to_tensor(X))), ops.convert_to_numpy(conv.kernel)
    padded = np.pad(X, ((0, 0), (1, 0), (left, right), (0, 0)))
    assert y.shape == (2, 4, 5, 6)
    for i, j in itertools.product(range(4), range(5)):
        expected = np.einsum("bhwc,hwcf->bf", padded[:, i : i + 2, j : j + 3], kernel) + np.arange(6)
        np.testing.assert_allclose(y[:, i, j], expected, atol=1e-5)


def test_parts_are_those_of_the_whole():
    rows = [ops.convert_to_tensor(X[:, i]) for i in range(4)]
    down, right = built(DownShiftedConv2D(6, (2, 3))), built(DownRightShiftedConv2D(6, (2, 2)))
    whole = ops.convert_to_numpy(down(ops.convert_to_tensor(X)))
    np.testing.assert_allclose(ops.convert_to_numpy(down.row(rows[1:3])), whole[:, 2], atol=1e-5)
    whole = ops.convert_to_numpy(right(ops.convert_to_tensor(X)))
    window = ops.concatenate([rows[2][:, 2], rows[2][:, 3]], axis=-1)
    pixel = right.above([rows[1]])[:, 3] + ops.matmul(window, right.beside())
    np.testing.assert_allclose(ops.convert_to_numpy(pixel), whole[:, 2, 3], atol=1e-5)
