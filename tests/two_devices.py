"""Two devices of the CPU in the process of the tests, and replicas on them."""

import contextlib
import functools
import os

FLAG = "--xla_force_host_platform_device_count=2"


def make():
    """Makes them, before anything is computed: conftest calls it before Keras is imported, for ``pytest -n 0 -m two_devices``.

    Not for every test: with two TensorFlow places each operation for longer.
    """
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if backend == "jax":
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FLAG}".strip()
    elif backend == "tensorflow":
        import tensorflow as tf

        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


@functools.cache  # a second one of a process would number its sums as the first
def mirrored():
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


@contextlib.contextmanager
def replicas():
    """Gives the ``scope`` to make and compile a model in, which is then trained on both."""
    import keras

    if keras.config.backend() == "tensorflow":
        yield mirrored().scope
        return
    assert len(keras.distribution.list_devices()) == 2
    keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
    try:
        yield contextlib.nullcontext
    finally:
        keras.distribution.set_distribution(None)
