"""What every test shares: quiet logs, one seed, and what tests import: ``contract``, and the small models in ``tests/core`` as ``core.<name>``."""

import os
import pathlib
import sys

# Read when a framework is first imported. Tests are small: threads that wait for each other would cost them most of their time.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("OMP_NUM_THREADS", "1")
if os.environ.get("KERAS_BACKEND") != "torch":  # tests compile by XLA far more than they compute
    os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import keras
import pytest

sys.path.append(str(pathlib.Path(__file__).parent))
pytest.register_assert_rewrite("contract")


@pytest.fixture(autouse=True)
def seed():
    """Fixes Python's, numpy's and the backend's seeds before each test."""
    keras.utils.set_random_seed(0)
