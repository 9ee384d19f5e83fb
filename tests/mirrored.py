"""Two replicas on TensorFlow, for a process of its own: its devices are settled before anything is computed."""

import tensorflow as tf


def scope():
    """The ``scope`` of a strategy of two replicas on the CPU. Graphs are run a few times: they are not rewritten first, as in conftest."""
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    devices = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], devices)
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope
