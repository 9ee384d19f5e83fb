"""Systems whose rows are coupled, trained on two replicas, have the weights of one device with the whole batch.

Three stand for the others: a discrepancy, through whose gathered rows gradients flow back to each replica; a GAN that ranks the rows of the
whole batch, looks ahead by steps of the whole batch, takes its statistics and embeds labels; a diffusion model, whose times stand in strata of
the whole batch and whose labels are hidden by draws of each row. ``replicas.py`` trains all that are new by name.
"""

import keras
import pytest
import two_devices
from hybrid.replicas import BATCH, VECTOR, VECTORS, compare, players

from kgen import gan

pytestmark = pytest.mark.two_devices


@pytest.mark.skipif(keras.config.backend() == "torch", reason="kgen runs one torch process")
@pytest.mark.parametrize("system", ["together", "WAE", "DDPM"])
def test_two_replicas_train_as_one_device(system):
    compare(system)


@pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="tf.distribute is TensorFlow's")
def test_statistics_of_each_replica_are_refused():
    layers = [keras.layers.Dense(4), keras.layers.BatchNormalization(), keras.layers.Dense(3)]
    with two_devices.replicas() as scope, scope():
        model = gan.GAN(VECTOR, 2, **{**players(), "generator": keras.Sequential([keras.Input((2,)), *layers])})
        model.compile(jit_compile=False)
    with pytest.raises(ValueError, match="on several replicas each would have the statistics of its part"):
        model.fit(VECTORS, batch_size=BATCH, verbose=0)
