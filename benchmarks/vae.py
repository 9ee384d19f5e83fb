"""kgen's side of the VAE comparison."""

import keras
import numpy as np

from benchmarks import sizes, weights
from benchmarks.timing import FitJob
from kgen.networks import ConvDecoder, ConvEncoder
from kgen.vae import VAE
from kgen.vae.likelihoods import GaussianLikelihood


def networks():
    """The encoder and the decoder, by argument: those that the peers have layer by layer."""
    shape = {"channels": sizes.VAE_CHANNELS, "dense": sizes.VAE_DENSE}
    return {
        "encoder": ConvEncoder(sizes.VAE_IMAGE, 2 * sizes.VAE_LATENT, **shape),
        "decoder": ConvDecoder(sizes.VAE_LATENT, sizes.VAE_IMAGE, **shape),
    }


def model():
    """The VAE with its weights, and the encoder's and the decoder's by name."""
    vae = VAE(sizes.VAE_IMAGE, sizes.VAE_LATENT, observation=GaussianLikelihood(scale=sizes.VAE_SCALE), **networks())
    return vae, weights.randomise(vae.encoder, 0), weights.randomise(vae.decoder, 1)


def train(batch, steps, jit_compile="auto"):
    vae, _, _ = model()
    vae.compile(optimizer=keras.optimizers.Adam(sizes.LEARNING_RATE), jit_compile=jit_compile)
    return FitJob(vae, sizes.images((steps + 1) * batch, sizes.VAE_IMAGE), batch)


def reference(path):
    """Writes weights, inputs and what comes out to an ``.npz`` file, for the peer to be compared with."""
    vae, encoder, decoder = model()
    x = sizes.images(2, sizes.VAE_IMAGE)
    z = np.random.default_rng(1).standard_normal((2, sizes.VAE_LATENT)).astype("float32")
    outputs = {
        "encoder output": keras.ops.convert_to_numpy(vae.encoder(keras.ops.convert_to_tensor(x))),
        "decoder output": keras.ops.convert_to_numpy(vae.decoder(keras.ops.convert_to_tensor(z))),
    }
    named = {f"weight:encoder/{k}": v for k, v in encoder.items()} | {
        f"weight:decoder/{k}": v for k, v in decoder.items()
    }
    np.savez(path, x=x, z=z, **outputs, **named)
    return list(outputs)
