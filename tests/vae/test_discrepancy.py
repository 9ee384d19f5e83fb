"""The maximum mean discrepancy against plain loops, and the models that hold their codes to the prior by it."""

import keras
import numpy as np
from keras import ops

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
