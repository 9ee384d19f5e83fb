"""What a composite keeps of a model that was trained before."""


def frozen_copy(autoencoder):
    """A copy that is not trained and has no optimizer: the caller's own goes on as it was.

    Raises:
        TypeError: it has no latents.
    """
    if not hasattr(autoencoder, "latent_rows"):
        raise TypeError(f"autoencoder: expected a trained kgen.vae.VAE or kgen.vae.VQVAE, received {autoencoder!r}.")
    copy = type(autoencoder).from_config(autoencoder.get_config())
    copy.set_weights(autoencoder.get_weights())
    copy.trainable = False
    return copy
