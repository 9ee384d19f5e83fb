"""What every test shares: quiet logs, one seed, and what tests import: ``contract``, and the small models in ``tests/core`` as ``core.<name>``."""

import contextlib
import gc
import importlib.util
import inspect
import os
import pathlib
import sys
import time

# Read when a framework is first imported. Tests are small: threads that wait for each other would cost them most of their time.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("OMP_NUM_THREADS", "1")
if os.environ.get("KERAS_BACKEND") != "torch":  # tests compile by XLA far more than they compute
    fast = "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1 --xla_cpu_use_fusion_emitters=false"
    os.environ.setdefault("XLA_FLAGS", fast)

sys.path.append(str(pathlib.Path(__file__).parent))
import two_devices

if "two_devices" in sys.argv:
    two_devices.make()

import keras
import pytest

from kgen.core import model as models

# What is imported stays, and is looked through no more; the rest seldom: collections took a tenth of the tests' time.
gc.freeze()
gc.set_threshold(gc.get_threshold()[0], gc.get_threshold()[1], 10 * gc.get_threshold()[2])


class Collection:
    """What it takes to free TensorFlow's graphs grows faster than their number (200,000 objects at once 19 s, in parts 3 s): every ten seconds."""

    last = time.monotonic()


def pytest_runtest_teardown():
    if keras.config.backend() == "tensorflow" and time.monotonic() - Collection.last > 10:
        gc.collect()
        Collection.last = time.monotonic()


pytest.register_assert_rewrite("contract")


# On TensorFlow XLA compiles a loop anew for every number of rows, for seconds each time: in tests loops are plain graphs, but where a test
# is marked as one of XLA. That XLA gives the same is held by test_same_everywhere and, for a model of every family, by tests/serving.
BY_XLA = models.compiler_of


def plain(model, jit_compile, loop):
    return "xla" if model.jit_compile else None


def rewritten(graphs):
    """Whether TensorFlow's optimizer of graphs (Grappler) rewrites each before its first run."""
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": not graphs})


if keras.config.backend() == "tensorflow":
    models.compiler_of = plain
    # A test runs a graph a few times: to rewrite it, and to note for each operation which lines of Python made it, takes longer than that.
    # Exports are run with all of it, in processes of their own.
    rewritten(False)
    with contextlib.suppress(ImportError, AttributeError):  # private, and nothing is lost without it but time
        from tensorflow.python.framework import ops as tf_ops

        creation = inspect.unwrap(tf_ops._create_c_op)
        if list(inspect.signature(creation).parameters)[-1] == "extract_traceback":
            creation.__defaults__ = (*creation.__defaults__[:-1], False)


@pytest.fixture(autouse=True)
def compilers(request, monkeypatch):
    """The compilers that users get, in tests marked with ``xla``."""
    marked = request.node.get_closest_marker("xla")
    if marked:
        monkeypatch.setattr(models, "compiler_of", BY_XLA)
    if marked and keras.config.backend() == "tensorflow":
        rewritten(True)
        yield
        rewritten(False)
    else:
        yield


# A worker takes a file at a time: the longest go first, so that no worker is left with one when the others are done.
LONGEST = (
    "callbacks/test_checkpoint.py",
    "diffusion/test_ddpm.py",
    "recipes/test_recipes.py",
    "serving/test_families.py",
    "serving/test_portable.py",
    "serving/test_together.py",
    "test_docs.py",
    "test_two_devices.py",
    "tools/test_comparing.py",
    "tools/test_demo.py",
)
# What these test is computed in NumPy, or asks an exported file: it is the same on every backend.
ON_ONE_BACKEND = (
    "data/test_arrays.py",
    "data/test_catalogue.py",
    "data/test_emoji.py",
    "data/test_folder.py",
    "data/test_images.py",
    "data/test_sprites.py",
    "metrics/test_distances.py",
    "metrics/test_fidelity.py",
    "metrics/test_images.py",
    "metrics/test_leaving_out.py",
    "metrics/test_memorization.py",
    "metrics/test_streaming.py",
    "serving/test_bundle.py",
    "serving/test_client.py",
    "serving/test_picture_inputs.py",
    "serving/test_soak.py",
    "serving/test_verifying.py",
    "test_docs.py",
    "tools/test_demo.py",
    "tools/test_demo_browser.py",
    "tools/test_judging.py",
)


def pytest_collection_modifyitems(items):
    for item in items:
        for marker in item.iter_markers("across"):
            missing = [name for name in marker.args if importlib.util.find_spec(name) is None]
            if missing:
                item.add_marker(
                    pytest.mark.skip(reason=f'{missing[0]} is not installed: pip install -e ".[{missing[0]}]"')
                )
    for item in items:
        once = item.get_closest_marker("once")
        if once and keras.config.backend() != once.kwargs.get("on", "tensorflow"):
            item.add_marker(pytest.mark.skip(reason=once.args[0]))
        elif item.path.as_posix().endswith(ON_ONE_BACKEND) and keras.config.backend() != "tensorflow":
            item.add_marker(pytest.mark.skip(reason="the same on every backend"))
    items.sort(key=lambda item: not item.path.as_posix().endswith(LONGEST))


@pytest.fixture
def trained(tmp_path_factory, monkeypatch):
    """Two runs in the place of those that come with kgen, whatever training has left there: ``rbm_digits`` and ``vae_digits``."""
    import kgen
    from kgen.core import loading

    folder = tmp_path_factory.mktemp("saved_models")
    kgen.Run(folder / "rbm_digits").save_preset(kgen.energy.RBM((4,), 3, chains=2))
    small = {"encoder": kgen.networks.MLP((4, 4, 1), (4,), widths=(8,))}
    small["decoder"] = kgen.networks.MLP((2,), (4, 4, 1), widths=(8,))
    kgen.Run(folder / "vae_digits").save_preset(kgen.vae.VAE((4, 4, 1), 2, **small))
    monkeypatch.setattr(loading, "SHIPPED", folder)
    return folder


@pytest.fixture(autouse=True)
def seed():
    """Fixes Python's, numpy's and the backend's seeds before each test."""
    keras.utils.set_random_seed(0)
