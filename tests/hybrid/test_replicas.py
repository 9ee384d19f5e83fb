"""Systems whose rows are coupled, trained on two replicas, have the weights of one device with the whole batch.

Three stand for the others: a discrepancy, through whose gathered rows gradients flow back to each replica; a GAN that ranks the rows of the
whole batch, looks ahead by steps of the whole batch, takes its statistics and embeds labels; a diffusion model, whose times stand in strata of
the whole batch and whose labels are hidden by draws of each row. ``replicas.py`` trains all that are new by name.
"""

import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from hybrid.replicas import trained

BACKEND = keras.config.backend()
SYSTEMS = ("together", "WAE", "DDPM")


@pytest.mark.skipif(BACKEND == "torch", reason="kgen runs one torch process")
def test_two_replicas_train_as_one_device(tmp_path):
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": BACKEND}
    environment["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
    mode = "mirrored" if BACKEND == "tensorflow" else "parallel"
    script, out = pathlib.Path(__file__).with_name("replicas.py"), tmp_path / "out.npz"
    command = [sys.executable, str(script), mode, str(out), *SYSTEMS]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    several = dict(np.load(out))
    for name in SYSTEMS:
        single = trained(name)
        assert len(single) > 6
        for path, value in single.items():
            np.testing.assert_allclose(several[path], value, atol=1e-5, err_msg=path)
    if BACKEND == "tensorflow":
        assert "on several replicas each would have the statistics of its part" in str(several["refused"])
