import numpy as np
from keras import ops

from kgen.layers import SubPixel


def test_channels_become_pixels():
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 8)).astype("float32")
    y = ops.convert_to_numpy(SubPixel(2)(x))
    assert y.shape == (2, 6, 8, 2)
    for i in range(3):
        for a in range(2):
            for b in range(2):
                np.testing.assert_array_equal(y[:, 2 * i + a, b::2], x[:, i, :, (2 * a + b) * 2 : (2 * a + b) * 2 + 2])
