"""Training on several devices is training on one."""

import os
import pathlib
import socket
import subprocess
import sys

import keras
import numpy as np
import pytest
import two_devices
from core import distributed
from keras import ops

BACKEND = keras.config.backend()
pytestmark = pytest.mark.two_devices


@pytest.fixture(scope="module")
def single():
    return distributed.trained()


def assert_alike(several, single, names):
    compared = [k for k in single if k.split("/")[0] in names]
    assert len(compared) > 10
    for k in compared:
        np.testing.assert_allclose(several[k], single[k], atol=1e-5, err_msg=k)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="tf.distribute is TensorFlow's")
def test_two_mirrored_replicas(single):
    with two_devices.replicas() as scope:
        several = distributed.trained(scope)
    assert_alike(several, single, ["Location", "Duel", "uneven"])
    # Its dropout draws other numbers on each replica: alike, not equal.
    assert several["OneLoss/fit/loss"] == pytest.approx(single["OneLoss/fit/loss"], rel=0.5)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="tf.distribute is TensorFlow's")
def test_a_bad_batch_of_one_replica_changes_nothing_on_either():
    with two_devices.replicas() as scope:
        after = distributed.bad_batch(scope)
    assert not after["good/stopped"] and after["bad/stopped"]
    kept = [k for k in after if k.startswith("good/state")]
    assert len(kept) > 4
    for k in kept:
        np.testing.assert_array_equal(after[k.replace("good", "bad")], after[k], err_msg=k)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="tf.distribute is TensorFlow's")
def test_rows_are_counted_over_replicas():
    with two_devices.replicas() as scope:
        firsts = distributed.rows_before(scope)
    assert firsts == {"3+5": [0, 3], "4+4": [0, 4], "2+0": [0, 2], "0+7": [0, 0]}


@pytest.mark.skipif(BACKEND == "torch", reason="kgen runs one torch process")
def test_batches_that_two_devices_cannot_share_are_refused_before_any_work():
    x = np.zeros((21, 2), "float32")
    with two_devices.replicas() as scope:
        with scope():
            model = distributed.Location(2)
            model.compile("adam")
        refused = [
            (lambda: model.fit(x[:7], verbose=0), "fit: on 2 devices .* received one of 7"),
            (lambda: model.fit(x, batch_size=15, verbose=0), "fit: .* multiple of 2, received one of 15"),
        ]
        if BACKEND == "jax":  # TensorFlow's replicas take what is left over in unequal parts
            refused += [
                (
                    lambda: model.fit(x, batch_size=8, verbose=0),
                    "fit: .* received one of 5. .* leave out 1 of the rows",
                ),
                (
                    lambda: model.fit(x[:16], validation_data=(x[:3],), verbose=0),
                    "validation_data: .* received one of 3",
                ),
                (lambda: model.evaluate(x[:7], verbose=0), "evaluate: .* received one of 7"),
            ]
        for call, told in refused:
            with pytest.raises(ValueError, match=told):
                call()
        assert int(ops.convert_to_numpy(model.optimizer.iterations)) == 0


@pytest.mark.skipif(BACKEND != "jax", reason="keras.distribution runs on JAX")
def test_data_parallel_on_two_devices(single):
    with two_devices.replicas() as scope:
        several = distributed.trained(scope)
    assert_alike(several, single, ["Location", "Duel", "OneLoss"])


@pytest.mark.skipif(BACKEND != "jax", reason="keras.distribution runs on JAX")
def test_data_parallel_on_two_processes(single, tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    script, outs = pathlib.Path(distributed.__file__), [tmp_path / f"{k}.npz" for k in range(2)]
    environment = {**os.environ, "XLA_FLAGS": os.environ["XLA_FLAGS"].replace(two_devices.FLAG, "")}  # one device each
    processes = [
        subprocess.Popen(
            [sys.executable, str(script), str(out), str(k), str(port)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for k, out in enumerate(outs)
    ]
    for process, out in zip(processes, outs, strict=True):
        text, _ = process.communicate(timeout=300)
        assert process.returncode == 0, text[-4000:]
        assert_alike(dict(np.load(out)), single, ["Location", "Duel", "OneLoss"])
