"""Batch normalisation of a batch that lies on several replicas."""

import keras

from kgen import backend


@keras.saving.register_keras_serializable(package="kgen")
class BatchNormalization(keras.layers.BatchNormalization):
    """Keras's layer, with the same weights and options, whose mean and variance are of the whole batch, on replicas too.

    ``keras.layers.BatchNormalization(synchronized=True)`` says the same, on TensorFlow alone, and takes the variance as E x^2 - (E x)^2, on one
    device too, where it loses digits; here that is done on replicas alone.
    """

    @property
    def synchronized(self):
        return self._synchronized or backend.share() != 1.0

    @synchronized.setter
    def synchronized(self, value):
        self._synchronized = value

    def get_config(self):
        return {**super().get_config(), "synchronized": self._synchronized}
