"""Every system of the GANs, the autoencoders and what stands on them goes on from its file as if it had never stopped.

The contract shows it for a model of each kind on each backend; here are all of them, where a step costs least.
"""

import keras
import numpy as np
import pytest
from hybrid.replicas import BATCH, SYSTEMS
from keras import ops

import kgen

pytestmark = pytest.mark.once("the contract resumes a model of each kind on every backend", on="torch")


def fit(model, name):
    _, *data = SYSTEMS[name]
    if callable(data[0]):
        return model.fit(data[0](), shuffle=False, verbose=0)
    return model.fit(*data, batch_size=BATCH, shuffle=False, verbose=0)


def numbers(model):
    return [(v.path, ops.convert_to_numpy(v)) for v in model.variables + model.optimizer.variables]


@pytest.mark.parametrize("name", SYSTEMS)
def test_saved_it_goes_on_as_if_it_had_never_stopped(name, tmp_path):
    keras.utils.set_random_seed(0)
    model = SYSTEMS[name][0]()
    model.compile(keras.optimizers.Adam(1e-2))
    fit(model, name)
    model.save(tmp_path / "m.keras")
    resumed = kgen.load(tmp_path / "m.keras")
    before = numbers(model)
    for each in (model, resumed):
        fit(each, name)
    after = numbers(model)
    assert sum(not np.array_equal(a, b) for (_, a), (_, b) in zip(before, after, strict=True)) > 3
    for (path, a), (_, b) in zip(after, numbers(resumed), strict=True):
        np.testing.assert_array_equal(a, b, err_msg=path)
