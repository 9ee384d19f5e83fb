"""The sparse autoencoder: codes of which few are away from zero.

Reference:
    Olshausen & Field, Emergence of simple-cell receptive field properties by learning a sparse code for natural images, 1996;
    Ng, Sparse autoencoder, CS294A lecture notes, 2011 (with another penalty).
"""

import keras
from keras import ops

from kgen.core import checks
from kgen.vae.deterministic import Autoencoder


@keras.saving.register_keras_serializable(package="kgen")
class SparseAutoencoder(Autoencoder):
    """An autoencoder with the penalty ``sparsity`` * sum_i |z_i| on its code. A code wider than the data is of use here.

    The decoder's weights are to be kept from growing, or small codes cost nothing: pass ``AdamW`` with a weight decay.

    Args:
        sparsity: nats that a code of length 1 costs.
        **kwargs: as in ``Autoencoder``.
    """

    log_names = ("loss", "reconstruction", "sparsity")

    def __init__(self, shape, latent_dim=16, *, sparsity=0.1, name="sparse_autoencoder", **kwargs):
        super().__init__(shape, latent_dim, name=name, **kwargs)
        self.sparsity = checks.in_range("sparsity", sparsity, 0.0, 1e6)

    def penalty(self, parameters, z, batch, training):
        cost = self.sparsity * ops.sum(ops.abs(z), axis=-1)
        return cost, {"sparsity": cost}

    def get_config(self):
        return {**super().get_config(), "sparsity": self.sparsity}
