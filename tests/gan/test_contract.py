"""The contract of every model, over this family's."""

import keras
from gan.parts import Jitter
from keras import layers

from kgen.gan import DCGAN, GAN, R1, WGANGP, ConditionalGAN, Discriminator

from contract import *
from contract import Case, X, Y, trained_models

SHAPE = X.shape[1:]


def least_squares():
    parts = {"regularizers": R1(0.1, every=2), "augmentation": Jitter()}
    return GAN(SHAPE, 3, adversarial_loss="least_squares", ema=0.9, **parts)


def wgan_gp():
    # The Wasserstein loss has no gradient for a constant added to the critic: its last layer has none.
    critic = [layers.Input(SHAPE), layers.Flatten(), layers.Dense(16), layers.LayerNormalization()]
    return WGANGP(
        SHAPE,
        3,
        discriminator=keras.Sequential([*critic, layers.Activation("silu"), layers.Dense(1, use_bias=False)]),
        n_critic=2,
    )


def conditional():
    discriminator = Discriminator(SHAPE, [8], spectral=True, num_classes=3)
    return ConditionalGAN(SHAPE, 3, latent_dim=4, discriminator=discriminator, ema=0.9)


players = {"falls": None, "log_prob": None}
classes = {**players, "data": (X, Y), "sample": {"labels": 1}}
trained = trained_models(
    {
        "gan": Case(least_squares, **players),
        "dcgan": Case(lambda: DCGAN(SHAPE, 3, widths=[4, 8], ema=None), **players),
        "wgan_gp": Case(wgan_gp, **players),
        "conditional": Case(conditional, **classes),
    }
)
