"""Operators: each against its matrix, and forward as backward."""

import keras
import numpy as np
import pytest
from keras import ops

from kgen import backend
from kgen.diffusion import AveragePooling, GaussianBlur, Grey, Masking

SHAPE = (4, 2, 3)
MASK = np.array([[True, False], [False, True], [True, True], [False, False]])


def expected(operator, x):
    """A x, pixel by pixel."""
    if isinstance(operator, Masking):
        return np.where(MASK[..., None], x, 0.0)
    if isinstance(operator, AveragePooling):
        return x.reshape(-1, 2, 2, 1, 2, 3).mean((2, 4))
    if isinstance(operator, Grey):
        return (x * [0.299, 0.587, 0.114]).sum(-1, keepdims=True)
    found = np.zeros_like(x)
    for i in range(4):
        for j in range(2):
            weights = np.array(
                [[np.exp(-((i - k) ** 2 + (j - l) ** 2) / 2 / 0.8**2) for l in range(2)] for k in range(4)]
            )
            found[:, i, j] = np.einsum("hw,bhwc->bc", weights / weights.sum(), x)
    return found


@pytest.mark.parametrize(
    "operator", [Masking(MASK), AveragePooling(2), GaussianBlur(0.8), Grey()], ids=lambda o: type(o).__name__
)
def test_what_it_is_its_adjoint_and_its_configuration(operator):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, *SHAPE)).astype("float32")
    y, back = backend.vjp(operator, ops.convert_to_tensor(x))
    assert y.shape[1:] == operator.shape(SHAPE)
    np.testing.assert_allclose(ops.convert_to_numpy(y), expected(operator, x), atol=1e-5)
    z = rng.normal(size=y.shape).astype("float32")
    adjoint = ops.convert_to_numpy(back(ops.convert_to_tensor(z)))
    other = rng.normal(size=x.shape).astype("float32")
    np.testing.assert_allclose((adjoint * other).sum(), (z * expected(operator, other)).sum(), rtol=1e-4)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(operator))
    assert again == operator and hash(again) == hash(operator)


def test_wrong_images():
    with pytest.raises(ValueError, match=r"factor: expected a divisor of both sides of \(4, 2, 3\), received 3"):
        AveragePooling(3).shape(SHAPE)
    with pytest.raises(ValueError, match=r"operator: Grey\(\) is of images with red, green and blue"):
        Grey().shape((4, 2, 1))
    with pytest.raises(ValueError, match=r"mask: expected bools of shape \(H, W\), received float64 of shape \(2,\)"):
        Masking(np.ones(2))
