"""Training on several devices is training on one: several run ``distributed.py`` in processes of their own."""

import os
import pathlib
import socket
import subprocess
import sys

import keras
import numpy as np
import pytest
from core import distributed

BACKEND = keras.config.backend()
SCRIPT = pathlib.Path(__file__).with_name("distributed.py")


def start(mode, out, *arguments, **environment):
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": BACKEND, **environment}
    command = [sys.executable, str(SCRIPT), mode, str(out), *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def results(process, out):
    text, _ = process.communicate(timeout=300)
    assert process.returncode == 0, text[-4000:]
    return dict(np.load(out))


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    out = tmp_path_factory.mktemp("single") / "out.npz"
    distributed.main("single", out)
    return dict(np.load(out))


def assert_alike(several, single, names):
    compared = [k for k in single if k.split("/")[0] in names]
    assert len(compared) > 10
    for k in compared:
        np.testing.assert_allclose(several[k], single[k], atol=1e-5, err_msg=k)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="tf.distribute is TensorFlow's")
def test_two_mirrored_replicas(single, tmp_path):
    several = results(start("mirrored", tmp_path / "out.npz"), tmp_path / "out.npz")
    assert_alike(several, single, ["Location", "Duel", "uneven"])
    # Its dropout draws other numbers on each replica: alike, not equal.
    assert several["OneLoss/fit/loss"] == pytest.approx(single["OneLoss/fit/loss"], rel=0.5)
    assert not several["good/stopped"] and several["bad/stopped"]
    kept = [k for k in several if k.startswith("good/state")]
    assert len(kept) > 4
    for k in kept:
        np.testing.assert_array_equal(several[k.replace("good", "bad")], several[k], err_msg=k)
    firsts = {k.split("/")[1]: v.tolist() for k, v in several.items() if k.startswith("first_row")}
    assert firsts == {"3+5": [0, 3], "4+4": [0, 4], "2+0": [0, 2], "0+7": [0, 0]}


@pytest.mark.skipif(BACKEND != "jax", reason="keras.distribution runs on JAX")
def test_data_parallel_on_two_devices(single, tmp_path):
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
    several = results(start("parallel", tmp_path / "out.npz", XLA_FLAGS=flags), tmp_path / "out.npz")
    assert_alike(several, single, ["Location", "Duel", "OneLoss"])


@pytest.mark.skipif(BACKEND != "jax", reason="keras.distribution runs on JAX")
def test_data_parallel_on_two_processes(single, tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    outs = [tmp_path / f"{k}.npz" for k in range(2)]
    processes = [start("processes", out, k, port) for k, out in enumerate(outs)]
    for process, out in zip(processes, outs, strict=True):
        assert_alike(results(process, out), single, ["Location", "Duel", "OneLoss"])
