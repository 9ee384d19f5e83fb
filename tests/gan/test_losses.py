"""Each loss against its formula."""

import numpy as np
import pytest
from keras import ops

from kgen.gan import (
    GAN,
    HingeLoss,
    LeastSquaresLoss,
    MinimaxLoss,
    NonSaturatingLoss,
    RelativisticLoss,
    WassersteinLoss,
    losses,
)

REAL = np.array([-3.0, -0.5, 0.0, 0.7, 30.0], "float32")
FAKE = np.array([2.0, -1.5, 0.0, -30.0, 0.4], "float32")


def s(logits):
    return 1 / (1 + np.exp(-logits.astype("float64")))


FORMULAS = [
    (MinimaxLoss(), -np.log(s(REAL)) - np.log(s(-FAKE)), np.log(s(-FAKE))),
    (NonSaturatingLoss(), -np.log(s(REAL)) - np.log(s(-FAKE)), -np.log(s(FAKE))),
    (LeastSquaresLoss(), 0.5 * (REAL - 1) ** 2 + 0.5 * FAKE**2, 0.5 * (FAKE - 1) ** 2),
    (HingeLoss(), np.maximum(0, 1 - REAL) + np.maximum(0, 1 + FAKE), -FAKE),
    (WassersteinLoss(), FAKE - REAL, -FAKE),
    (RelativisticLoss(), -np.log(s(REAL - FAKE)), -np.log(s(FAKE - REAL))),
]


@pytest.mark.parametrize(("loss", "discriminator", "generator"), FORMULAS, ids=lambda v: type(v).__name__)
def test_formula(loss, discriminator, generator):
    real, fake = ops.convert_to_tensor(REAL), ops.convert_to_tensor(FAKE)
    given = ops.convert_to_numpy(loss.discriminator(real, fake))
    np.testing.assert_allclose(given, discriminator, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ops.convert_to_numpy(loss.generator(fake, real)), generator, rtol=1e-5, atol=1e-6)


def test_names():
    assert {name: type(losses.get(name)) for name in losses.ALIASES} == losses.ALIASES
    hinge = losses.get("hinge")
    assert losses.get(hinge) is hinge
    with pytest.raises(
        ValueError, match="adversarial_loss: expected one of 'minimax'.*received 'hing'. Did you mean 'hinge'?"
    ):
        GAN((2,), adversarial_loss="hing")
    with pytest.raises(TypeError, match="adversarial_loss: expected 'minimax'.* or a Loss, received 3"):
        GAN((2,), adversarial_loss=3)
