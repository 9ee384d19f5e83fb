"""kgen's side of the comparisons of a step without weights in common: GANs, VAEs and VQ-VAE, spline flow."""

import time

import keras
import numpy as np

from benchmarks import sizes
from benchmarks.timing import FitJob
from benchmarks.vae import networks as vae_networks
from kgen.gan import DCGAN, StyleGAN2
from kgen.networks import LadderDecoder, LadderEncoder, SpatialDecoder, SpatialEncoder
from kgen.vae import VAE, VQVAE, HierarchicalVAE
from kgen.vae.likelihoods import GaussianLikelihood


def _job(model, x, batch, jit_compile):
    model.compile(keras.optimizers.Adam(sizes.LEARNING_RATE), jit_compile=jit_compile)
    return FitJob(model, x, batch)


def gan_train(batch, steps, jit_compile="auto"):
    model = DCGAN(sizes.VAE_IMAGE, sizes.GAN_LATENT, widths=sizes.GAN_WIDTHS, ema=None)
    return _job(model, sizes.images((steps + 1) * batch, sizes.VAE_IMAGE), batch, jit_compile)


def stylegan2_train(batch, steps, jit_compile="auto"):
    model = StyleGAN2(
        sizes.STYLE_IMAGE,
        sizes.STYLE_LATENT,
        width=sizes.STYLE_WIDTH,
        depth=sizes.STYLE_DEPTH,
        regularizers=(),
        generator_regularizers=(),
        ema=None,
    )
    return _job(model, sizes.images((steps + 1) * batch, sizes.STYLE_IMAGE), batch, jit_compile)


def vae_train(batch, steps, jit_compile="auto"):
    model = VAE(
        sizes.VAE_IMAGE, sizes.VAE_LATENT, observation=GaussianLikelihood(scale=sizes.VAE_SCALE), **vae_networks()
    )
    return _job(model, sizes.images((steps + 1) * batch, sizes.VAE_IMAGE), batch, jit_compile)


def vqvae_train(batch, steps, jit_compile="auto"):
    encoder = SpatialEncoder(sizes.VAE_IMAGE, sizes.VQ_DIM, sizes.VAE_CHANNELS)
    decoder = SpatialDecoder((7, 7, sizes.VQ_DIM), sizes.VAE_IMAGE[-1], sizes.VAE_CHANNELS)
    model = VQVAE(sizes.VAE_IMAGE, sizes.VQ_CODES, sizes.VQ_DIM, encoder=encoder, decoder=decoder)
    return _job(model, sizes.images((steps + 1) * batch, sizes.VAE_IMAGE), batch, jit_compile)


def hierarchical_train(batch, steps, jit_compile="auto"):
    model = HierarchicalVAE(
        sizes.VAE_IMAGE,
        observation=GaussianLikelihood(scale=sizes.VAE_SCALE),
        encoder=LadderEncoder(sizes.VAE_IMAGE, sizes.LADDER_LATENTS, sizes.LADDER_CHANNELS),
        decoder=LadderDecoder(sizes.LADDER_LATENTS, sizes.VAE_IMAGE, sizes.LADDER_CHANNELS),
    )
    return _job(model, sizes.images((steps + 1) * batch, sizes.VAE_IMAGE), batch, jit_compile)


def _flow():
    from kgen.flow import NeuralSplineFlow  # not on torch

    return NeuralSplineFlow((2,), autoregressive=True, **sizes.FLOW)


def flow_train(batch, steps, jit_compile="auto"):
    x = np.random.default_rng(0).standard_normal(((steps + 1) * batch, 2)).astype("float32")
    return _job(_flow(), x, batch, jit_compile)


def flow_sample(batch):
    model = _flow()

    def run(_):
        start = time.perf_counter()
        model.sample(batch, seed=0, batch_size=batch)
        return time.perf_counter() - start

    return run
