"""The contract of every model, over this family's."""

import keras
from gan.parts import Jitter, dense
from keras import layers

from kgen.gan import (
    ACGAN,
    DCGAN,
    GAN,
    R1,
    WGAN,
    WGANGP,
    ConditionalGAN,
    Discriminator,
    Generator,
    InfoGAN,
    ProgressiveGAN,
    StyleGAN2,
)

from contract import *
from contract import Case, X, Y, trained_models

SHAPE = X.shape[1:]


def least_squares():
    parts = {"regularizers": R1(0.1, every=2), "augmentation": Jitter()}
    return GAN(SHAPE, 3, adversarial_loss="least_squares", ema=0.9, **parts)


def wgan_gp():
    # The Wasserstein loss has no gradient for a constant added to the discriminator: its last layer has none.
    discriminator = [layers.Input(SHAPE), layers.Flatten(), layers.Dense(16), layers.LayerNormalization()]
    return WGANGP(
        SHAPE,
        3,
        discriminator=keras.Sequential([*discriminator, layers.Activation("silu"), layers.Dense(1, use_bias=False)]),
        n_critic=2,
    )


def conditional():
    discriminator = Discriminator(SHAPE, [8], spectral=True, num_classes=3)
    return ConditionalGAN(SHAPE, 3, latent_dim=4, discriminator=discriminator, ema=0.9)


def wgan():
    discriminator = keras.Sequential(
        [layers.Input(SHAPE), layers.Flatten(), layers.Dense(8, "tanh"), layers.Dense(1, use_bias=False)]
    )
    return WGAN(
        SHAPE, 3, generator=dense((3,), 16, "generator", SHAPE), discriminator=discriminator, n_critic=2, clip=0.1
    )


def infogan():
    networks = {"generator": dense((7,), 16, "generator", SHAPE), "discriminator": reading((3, 2))}
    return InfoGAN(SHAPE, 3, categories=3, codes=1, **networks)


def acgan():
    return ACGAN(SHAPE, 3, 3, generator=Generator(3, SHAPE, [4], num_classes=3), discriminator=reading((3,)), ema=0.9)


def reading(sizes):
    return Discriminator(SHAPE, [4], readings=sizes)


def stylegan2():
    lazy = {"regularizers": R1(0.1, every=2)}
    return StyleGAN2(SHAPE, 3, width=8, depth=1, discriminator=dense(SHAPE, 1, "discriminator"), ema=0.9, **lazy)


eager = ("torch",)  # where a model costs least: what a step does on the others is that of its relatives here
players = {"falls": None, "log_prob": None}
classes = {**players, "data": (X, Y), "sample": {"labels": 1}}
trained = trained_models(
    {
        "gan": Case(least_squares, **players),
        "dcgan": Case(lambda: DCGAN(SHAPE, 3, widths=[4, 8], ema=None), **players),
        "wgan_gp": Case(wgan_gp, **players),
        "conditional": Case(conditional, **classes),
        "infogan": Case(infogan, **players),
        "stylegan2": Case(stylegan2, **players, sample={"truncation": 0.7}, backends=("tensorflow", "torch")),
        "wgan": Case(wgan, **players, backends=eager),
        "acgan": Case(acgan, **classes, backends=eager),
        "progressive": Case(
            lambda: ProgressiveGAN(SHAPE, 3, width=8, levels=1, stage_steps=4, ema=0.9), **players, backends=eager
        ),
    }
)
