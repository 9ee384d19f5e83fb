"""The maximum mean discrepancy against plain loops, and the models that hold their codes to the prior by it."""

import keras
import numpy as np
import pytest
from keras import ops

from kgen import backend
from kgen.core import Batch
from kgen.core.random import row_seeds
from kgen.networks import MLP
from kgen.vae import WAE, InfoVAE
from kgen.vae.losses import SCALES, mean_discrepancy

RNG = np.random.default_rng(0)


def test_it_is_the_unbiased_estimate_of_the_paper():
    a, b = RNG.normal(size=(2, 7, 3)).astype("float32")

    def kernel(x, y):
        return sum(6.0 * s / (6.0 * s + np.square(x - y).sum()) for s in SCALES)

    apart = [(i, j) for i in range(7) for j in range(7) if i != j]
    within = sum(np.mean([kernel(v[i], v[j]) for i, j in apart]) for v in (a, b))
    wanted = within - 2 * np.mean([kernel(x, y) for x in a for y in b])
    found = mean_discrepancy(ops.convert_to_tensor(a), ops.convert_to_tensor(b))
    np.testing.assert_allclose(float(ops.convert_to_numpy(found)), wanted, rtol=1e-4)
    same = RNG.normal(size=(2, 1000, 2)).astype("float32")
    near, far = (mean_discrepancy(*map(ops.convert_to_tensor, (same[0], same[1] + d))) for d in (0.0, 1.0))
    assert abs(float(ops.convert_to_numpy(near))) < 0.01 < 0.3 < float(ops.convert_to_numpy(far))


@pytest.mark.once("test_same_everywhere holds the training of every backend to the same numbers")
def test_codes_become_those_of_the_prior():
    keras.utils.set_random_seed(0)
    x = (RNG.normal(size=(256, 2)) * [1.5, 0.7]).astype("float32")
    model = WAE((2,), 2, encoder=MLP((2,), (2,), widths=()), decoder=MLP((2,), (2,), widths=()), discrepancy=300.0)
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(5e-2, 200)))
    model.fit(np.tile(x, (200, 1)), batch_size=256, shuffle=False, verbose=0)
    z = model.encode(x)
    np.testing.assert_allclose(z.mean(0), 0.0, atol=0.2)
    np.testing.assert_allclose(np.cov(z.T), np.eye(2), atol=0.3)
    np.testing.assert_allclose(np.cov(model.sample(2000, seed=0).T), np.cov(x.T), atol=0.8)


def test_its_weights_are_those_of_the_paper():
    x = RNG.normal(size=(64, 2)).astype("float32")
    networks = {"encoder": MLP((2,), (4,), widths=()), "decoder": MLP((2,), (2,), widths=())}
    model = InfoVAE((2,), 2, alpha=0.25, discrepancy=5.0, **networks)
    model.compile("sgd")
    logs = model.evaluate(x, batch_size=64, verbose=0, return_dict=True)
    wanted = logs["reconstruction"] + 0.75 * logs["kl"] + 4.25 * logs["discrepancy"]
    np.testing.assert_allclose(logs["loss"], wanted, rtol=1e-5)


def test_weights_of_rows_are_their_shares():
    a, b = (ops.convert_to_tensor(v) for v in RNG.normal(size=(2, 7, 3)).astype("float32"))
    weight = np.array([1, 0, 1, 1, 0, 1, 1], "float32")
    kept = ops.convert_to_tensor(ops.convert_to_numpy(a)[weight > 0])

    def direct(x, y):  # by loops, of sets of different sizes
        x, y = ops.convert_to_numpy(x), ops.convert_to_numpy(y)
        k = lambda u, v: sum(6.0 * s / (6.0 * s + np.square(u - v).sum()) for s in SCALES)  # noqa: E731
        within = [np.mean([k(v[i], v[j]) for i in range(len(v)) for j in range(len(v)) if i != j]) for v in (x, y)]
        return sum(within) - 2 * np.mean([k(u, v) for u in x for v in y])

    for scale in (1.0, 3.0):
        found = mean_discrepancy(a, b, ops.convert_to_tensor(scale * weight))
        np.testing.assert_allclose(float(ops.convert_to_numpy(found)), direct(kept, b), rtol=1e-4)
    # A row that is weighed by 0 is as if it were not there: its code has no gradient.
    model = WAE((3,), 3, encoder=MLP((3,), (3,), widths=()), decoder=MLP((3,), (3,), widths=()))
    slope = backend.grad(
        lambda z: ops.broadcast_to(model.penalty(z, z, _batch(weight), True)[0], (7,)) / 7, ops.convert_to_tensor(a)
    )
    assert [bool(np.abs(row).max() > 0) for row in ops.convert_to_numpy(slope)] == [bool(w) for w in weight]


def _batch(weight):
    seeds = ops.convert_to_tensor(row_seeds(0, len(weight)))
    return Batch(None, weight=ops.convert_to_tensor(weight), seeds=seeds, conditions={})


def test_no_divergence_is_free():
    with pytest.raises(ValueError, match="free_bits: expected 0; beside the aggregate's divergence"):
        InfoVAE((3,), 3, free_bits=1.0)
