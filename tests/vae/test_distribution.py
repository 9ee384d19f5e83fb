"""A VAE trained on two replicas has the weights of one trained on one device."""

import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from vae.distributed import trained


@pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="tf.distribute is TensorFlow's")
def test_two_mirrored_replicas(tmp_path):
    script = pathlib.Path(__file__).with_name("distributed.py")
    done = subprocess.run([sys.executable, str(script), str(tmp_path / "out.npz")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    several, single = dict(np.load(tmp_path / "out.npz")), trained()
    assert several.keys() == single.keys() and len(single) > 20
    for name, value in single.items():
        np.testing.assert_allclose(several[name], value, atol=1e-5, rtol=1e-5, err_msg=name)
