"""Inpainting with a class and a picture at once: holes drawn from row seeds, known pixels kept, classes heard."""

import keras
import numpy as np
import pytest
from keras import ops

import kgen
from kgen.core import random
from kgen.core.conditions import LabelCondition
from kgen.diffusion import DDIMSampler, InpaintingModel, KnownRegion
from kgen.networks import UNet
from kgen.serving.picture_inputs import images_of

COMPILE = {"jit_compile": False} if keras.config.backend() == "tensorflow" else {}
Y = np.random.default_rng(0).integers(0, 2, 256).astype("int32")
X = (np.where(Y, 0.7, -0.7)[:, None, None, None] * np.ones((1, 4, 4, 1))).astype("float32")


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    conditions = [LabelCondition(2, dropout=0.1), KnownRegion((4, 4, 2))]
    network = UNet((4, 4, 1), (16,), 1, (False,), groups=4, conditions=conditions)
    model = InpaintingModel(
        (4, 4, 1), network=network, num_classes=2, prediction="data", sampler=DDIMSampler(4), ema=None
    )
    model.compile(keras.optimizers.Adam(5e-3), **COMPILE)
    model.fit(X, Y, epochs=20, batch_size=64, verbose=0)
    return model


def test_holes_are_rectangles_of_the_rows_own():
    seeds = ops.convert_to_tensor(random.row_seeds(0, 200))
    x = ops.ones((200, 4, 6, 1))
    made = ops.convert_to_numpy(KnownRegion((4, 6, 2)).made(x, seeds)["known"])
    hole = made[..., 1] == 0
    assert (made[..., 0] == made[..., 1]).all() and hole.any((1, 2)).all() and 0.1 < hole.mean() < 0.6
    for h in hole:  # a rectangle is the product of its sides
        np.testing.assert_array_equal(h, np.outer(h.any(1), h.any(0)))
    few = ops.convert_to_numpy(KnownRegion((4, 6, 2)).made(x[:5], seeds[:5])["known"])
    np.testing.assert_array_equal(few, made[:5])


def test_known_pixels_stay_and_the_rest_fits(model):
    mask = np.zeros((4, 4), bool)
    mask[:, :2] = True
    filled = model.inpaint(X[:8], mask, labels=Y[:8], seed=0)
    np.testing.assert_array_equal(filled[:, :, :2], X[:8, :, :2])
    np.testing.assert_allclose(filled[:, :, 2:], X[:8, :, 2:], atol=0.35)
    nothing = np.zeros((4, 4), bool)  # only the class says what is there
    means = [model.inpaint(X[:4], nothing, labels=k, seed=0).mean() for k in (0, 1)]
    assert means[1] - means[0] > 0.7


def test_saved_and_refused(model, tmp_path):
    model.save(tmp_path / "m.keras")
    again = kgen.load(tmp_path / "m.keras")
    mask = np.eye(4, dtype=bool)
    both = [m.inpaint(X[:2], mask, labels=1, seed=3) for m in (model, again)]
    np.testing.assert_allclose(*both, atol=1e-5)
    sample, _, inpaint = model.endpoints()
    assert list(sample.inputs) == ["seed", "label", "known", "guidance", "steps"]
    assert images_of(sample) == () and images_of(inpaint) == ("x",)  # a file of "known" would say nothing of the hole
    inputs = {"x": X[:2], "mask": np.stack([mask, mask]), "seed": random.row_seeds(3, 2), "label": [1, 1]}
    inputs |= {"guidance": [1.0, 1.0], "steps": [4, 4]}
    served = inpaint.function(**{k: ops.convert_to_tensor(v) for k, v in inputs.items()})["images"]
    np.testing.assert_allclose(ops.convert_to_numpy(served), both[0], atol=1e-5)
    with pytest.raises(ValueError, match=r"mask: expected bools of shape \(4, 4\) or \(2, 4, 4\), .* received float64"):
        model.inpaint(X[:2], np.ones((4, 4)))
    for x, told in (
        (X[:4, ..., 0], r"expected shape \(N, 4, 4, 1\), received \(4, 4, 4\)"),
        (X[0], r"received \(4, 4, 1\).* add the batch dimension"),
        (np.zeros((2, 5, 5, 1), "float32"), r"received \(2, 5, 5, 1\)"),
        (X[:2] * 3, r"expected values in \[-1, 1\]"),
    ):
        with pytest.raises(ValueError, match=f"x: .*{told}"):
            model.inpaint(x, ~mask)
