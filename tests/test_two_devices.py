"""What is trained on two devices, in one process of pytest's own: how many devices there are is settled before anything is computed."""

import pathlib
import subprocess
import sys

import keras
import pytest


@pytest.mark.skipif(keras.config.backend() == "torch", reason="kgen runs one torch process")
def test_on_two_devices():
    found = pathlib.Path(__file__).parent.rglob("test_*.py")
    files = [str(path) for path in found if "mark.two_devices" in path.read_text() and path != pathlib.Path(__file__)]
    assert len(files) > 4
    command = [sys.executable, "-m", "pytest", "-n", "0", "-m", "two_devices", *files]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-8000:]
