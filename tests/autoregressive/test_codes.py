"""PixelCNN of codes: probabilities that sum to 1 over all levels, what sees what, generation by what is kept, the contract."""

import itertools

import keras
import numpy as np
import pytest
from keras import ops

from kgen import backend
from kgen.autoregressive import CodePixelCNN
from kgen.core import Batch, random

from contract import *  # noqa: F403
from contract import Case, trained_models

RNG = np.random.default_rng(0)
CODES = np.repeat(RNG.integers(0, 3, (64, 1)), 4, axis=1)
CODES[:, 2:] = (CODES[:, 2:] + RNG.integers(0, 2, (64, 2))) % 3


def small(shapes=((1, 1), (2, 2)), **kwargs):
    return CodePixelCNN(shapes, 3, **{"channels": 4, "blocks": 1, "width": 3} | kwargs)


trained = trained_models(
    {"code pixelcnn": Case(lambda: small(((2, 2),), ema=0.9), (CODES.astype("int32"),), output="codes")}
)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    model = small(num_classes=2, ema=None)
    rng = np.random.default_rng(1)  # far from the start, where all codes are as likely
    model.set_weights([w + 0.3 * rng.normal(size=w.shape).astype(w.dtype) for w in model.get_weights()])
    return model


def test_probabilities_sum_to_one_and_the_levels_bits_add_up(model):
    rows = np.array(list(itertools.product(range(3), repeat=5)), "int32")
    batch = Batch(ops.convert_to_tensor(rows), conditions={"label": ops.zeros((len(rows),), "int32")})
    losses, logs = backend.jit(lambda: model.objective(batch, training=False), model.variables)()
    p = np.exp(-ops.convert_to_numpy(losses).astype("float64"))
    logs = {k: ops.convert_to_numpy(v) for k, v in logs.items()}
    assert abs(p.sum() - 1) < 1e-5 and p.max() > 3 * p.min()
    np.testing.assert_allclose(logs["bits_0"] + logs["bits_1"], -np.log2(p), rtol=1e-4)
    np.testing.assert_allclose(logs["bits"], -np.log2(p), rtol=1e-4)
    # p(top) is what is left of p when all codes below are summed over.
    np.testing.assert_allclose(2.0 ** -logs["bits_0"], np.repeat(p.reshape(3, -1).sum(1), 81), rtol=1e-4)


def test_a_code_sees_those_before_it_and_all_levels_above_and_is_drawn_so(model):
    seeds, label = random.row_seeds(3, 16), np.array([0, 1] * 8, "int32")

    def run(seeds, label):
        codes = model.network.generate(seeds, label)
        changed = ops.concatenate([(codes + ops.eye(5, dtype="int32")[j]) % 3 for j in range(5)], axis=0)
        noise = [random.gumbel(random.fold_in(seeds, i), (n, 3)) for i, n in enumerate((1, 4))]
        more = model.network([changed, ops.tile(label, [5])])
        return codes, model.network([codes, label]), ops.concatenate(noise, axis=1), more

    compiled = backend.jit(run, model.variables)
    codes, logits, noise, changed = map(ops.convert_to_numpy, compiled(*map(ops.convert_to_tensor, (seeds, label))))
    assert len(np.unique(codes, axis=0)) > 2
    # Code by code by what is kept, as by the whole network: each is the best of its logits and noise, given those before it.
    np.testing.assert_array_equal((logits + noise).argmax(-1), codes)
    moved = np.abs(changed.reshape(5, 16, 5, 3) - logits).max((1, 3)) > 1e-6
    for j in range(5):
        assert not moved[j, : j + 1].any()
    assert moved[0, 1:].all() and moved[1, 2:4].all()


def test_codes_below_are_drawn_given_those_above(model):
    plain = model.sample(6, seed=0, labels=1)
    again = model.sample(6, seed=0, labels=1, above=plain[:, :1])
    np.testing.assert_array_equal(again, plain)  # the noise of a level is its own
    tops = np.array([[0], [1], [2]] * 400)
    drawn = model.sample(1200, seed=1, labels=0, above=tops)
    np.testing.assert_array_equal(drawn[:, :1], tops)
    rows = np.array(list(itertools.product(range(3), repeat=5)), "int32")
    p = np.exp(model.log_prob(rows, labels=0).astype("float64")).reshape(3, 81)
    for top in range(3):
        counts = np.bincount(drawn[top::3, 1:] @ 3 ** np.arange(3, -1, -1), minlength=81)
        np.testing.assert_allclose(counts / 400, p[top] / p[top].sum(), atol=0.08)


@pytest.mark.once("the sizes of a network are no backend's")
def test_levels_have_networks_of_their_own_sizes():
    levels = CodePixelCNN(((2, 2), (4, 4)), 3, channels=(8, 4), blocks=(2, 1), width=3, ema=None)
    for i, (channels, blocks) in enumerate(((8, 2), (4, 1))):
        alike = CodePixelCNN(((2, 2), (4, 4)), 3, channels=channels, blocks=blocks, width=3, ema=None)
        assert levels.network.pixels[i].count_params() == alike.network.pixels[i].count_params()
    again = CodePixelCNN.from_config(levels.get_config())
    assert [w.shape for w in again.weights] == [w.shape for w in levels.weights]


def test_wrong_arguments(model):
    cases = [
        (lambda: small(channels=(4, 4, 4)), r"channels: expected an int, or one for each of the 2 levels"),
        (
            lambda: model.sample(2, labels=0, above=np.zeros((2, 2), "int32")),
            r"above: expected integer codes \(2, m\) of the first levels, m among \[1\]; received int32 of shape \(2, 2\)",
        ),
        (lambda: model.sample(2, labels=0, above=np.full((2, 1), 3)), r"above: expected codes in \[0, 3\)"),
        (lambda: CodePixelCNN(((2, 2), (3, 3)), 4), "code_shapes: expected maps from the top, whose sides divide"),
        (lambda: model.log_prob(np.zeros((2, 4), "int32"), labels=0), r"x: expected integer codes of shape \(N, 5\)"),
        (lambda: model.log_prob(np.full((2, 5), 3), labels=0), r"x: expected codes in \[0, 3\)"),
        (lambda: model.sample(1), "labels: this model has 2 classes"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()
