"""A VAE trained on two replicas has the weights of one trained on one device."""

import keras
import numpy as np
import pytest
import two_devices
from vae.distributed import trained


@pytest.mark.two_devices
@pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="tf.distribute is TensorFlow's")
def test_two_mirrored_replicas():
    single = trained()
    with two_devices.replicas() as scope:
        several = trained(scope)
    assert several.keys() == single.keys() and len(single) > 20
    for name, value in single.items():
        np.testing.assert_allclose(several[name], value, atol=1e-5, rtol=1e-5, err_msg=name)
