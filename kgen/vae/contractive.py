"""The contractive autoencoder: an encoder that answers little to small changes of x.

Reference:
    Rifai et al., Contractive auto-encoders: explicit invariance during feature extraction, ICML 2011, Eq. 7.
"""

import keras
from keras import ops

from kgen import backend
from kgen.core import checks, random
from kgen.vae.deterministic import Autoencoder


@keras.saving.register_keras_serializable(package="kgen")
class ContractiveAutoencoder(Autoencoder):
    """An autoencoder with the penalty ``contraction`` * |dz/dx|_F^2, the squared Jacobian of its encoder.

    The norm is estimated without bias by |v^T dz/dx|^2 with random signs v (Hutchinson 1990): one more backward pass, whatever the
    length of the code.

    Args:
        contraction: weight of the penalty.
        **kwargs: as in ``Autoencoder``. An encoder with BatchNorm mixes rows, and its Jacobian is not one of a row.
    Raises:
        ValueError: the encoder has BatchNorm.
    """

    log_names = ("loss", "reconstruction", "jacobian")

    def __init__(self, shape, latent_dim=16, *, contraction=0.1, name="contractive_autoencoder", **kwargs):
        super().__init__(shape, latent_dim, name=name, **kwargs)
        checks.unmixed_rows("encoder", "the Jacobian's penalty", self.encoder)
        self.contraction = checks.in_range("contraction", contraction, 0.0, 1e6)

    def penalty(self, parameters, z, batch, training):
        encoder = self.network_for(training, "encoder")
        signs = 2.0 * ops.cast(random.uniform(batch.seeds, (self.latent_dim,), draw=2) < 0.5, "float32") - 1.0

        def along(x):
            code = encoder(self.network_inputs(x, batch.conditions), training=training)
            return ops.sum(ops.cast(code, "float32") * signs, axis=-1)

        slope = backend.grad(along, ops.cast(batch.x, "float32"))
        jacobian = ops.sum(ops.reshape(ops.square(slope), (ops.shape(z)[0], -1)), axis=-1)
        return self.contraction * jacobian, {"jacobian": jacobian}

    def get_config(self):
        return {**super().get_config(), "contraction": self.contraction}
