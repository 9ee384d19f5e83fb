"""Run by test_quantizer in a process of its own: a quantiser on two replicas of one step is that of one device with both their rows."""

import numpy as np
import tensorflow as tf

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)

from kgen.layers import VectorQuantizer  # noqa: E402


def learnt(ema, strategy=None):
    """Codebook and counts after three batches of 40 rows, of which the first replica has 24, 16, and in the last all."""
    rng = np.random.default_rng(0)
    with strategy.scope() if strategy else tf.device("CPU:0"):
        layer = VectorQuantizer(6, 2, ema=ema, revive_below=0.5)
        layer.seed_generator.state.assign([3, 0])
    for here in (24, 16, 40):
        z = rng.normal(size=(40, 2)).astype("float32")
        if strategy is None:
            layer(z, training=True)
            continue
        parts = [tf.constant(z[:here]), tf.constant(z[here:])]
        rows = strategy.experimental_distribute_values_from_function(lambda c, p=parts: p[c.replica_id_in_sync_group])
        step = tf.function(lambda rows: layer(rows, training=True)[2])
        strategy.run(step, args=(rows,))
    return np.array(layer.codebook), np.array(layer.counts)


for ema in (0.9, None):
    alone, together = learnt(ema), learnt(ema, tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
print("as one")
