import numpy as np
from keras import ops

from kgen.layers import PlaceBias


def test_each_place_has_its_own_bias():
    layer, x = PlaceBias(), np.ones((3, 2, 2, 1), "float32")
    np.testing.assert_array_equal(ops.convert_to_numpy(layer(x)), x)
    layer.bias.assign(np.arange(4, dtype="float32").reshape(2, 2, 1))
    np.testing.assert_array_equal(ops.convert_to_numpy(layer(x))[2, :, :, 0], [[1, 2], [3, 4]])
