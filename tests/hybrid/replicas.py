"""Systems of several rooms trained on one device and on two replicas, with gradients clipped by the norm of each.

The tests take those that stand for the others. Run as ``replicas.py [SYSTEM ...]`` it compares those named, or all, which takes minutes.
"""

import contextlib
import pathlib
import sys

sys.path.append(str(pathlib.Path(__file__).parent.parent))
import two_devices

if __name__ == "__main__":
    two_devices.make()

import keras
import numpy as np
from gan.parts import dense
from keras import layers

from kgen import diffusion, gan, hybrid, vae
from kgen.core.conditions import LabelCondition
from kgen.data import Unpaired
from kgen.layers import BatchNormalization, FiniteScalarQuantizer, MinibatchDiscrimination
from kgen.networks import MLP, ResidualMLP, SpatialDecoder, SpatialEncoder

RNG = np.random.default_rng(0)
ROWS, BATCH = 32, 16
VECTORS = RNG.normal(size=(ROWS, 3)).astype("float32")
IMAGES = RNG.uniform(-1, 1, (ROWS, 4, 4, 1)).astype("float32")
LARGE = RNG.uniform(-1, 1, (ROWS, 8, 8, 1)).astype("float32")
LABELS = RNG.integers(0, 3, ROWS).astype("int32")
IMAGE, VECTOR = IMAGES.shape[1:], VECTORS.shape[1:]


def players(shape=VECTOR):
    size = int(np.prod(shape))
    generator = dense((2,), size, "generator", shape if len(shape) > 1 else None)
    return {"generator": generator, "discriminator": dense(shape, 1, "discriminator")}


def codes(kind, size=4, **kwargs):
    networks = {"encoder": MLP(VECTOR, (size,), widths=(8,)), "decoder": MLP((2,), VECTOR, widths=(8,))}
    return kind(VECTOR, 2, **networks, **kwargs)


def together():
    """Top-k, unrolled steps and batch statistics, each of the whole batch, and an embedding, whose gradient is sparse on TensorFlow."""
    z, label = keras.Input((2,)), keras.Input((), dtype="int32")
    h = layers.Dense(4)(keras.ops.concatenate([z, keras.ops.one_hot(label, 3)], axis=-1))
    generator = keras.Model([z, label], layers.Dense(3)(BatchNormalization()(h)))
    given = {"adversarial_loss": gan.TopK(share=0.3), "unrolled": gan.Unrolling(1, 0.1), "num_classes": 3}
    return gan.GAN(VECTOR, 2, generator=generator, discriminator=gan.Discriminator(VECTOR, [8], num_classes=3), **given)


def in_groups():
    discriminator = [
        keras.Input(VECTOR),
        layers.Dense(4, "tanh"),
        MinibatchDiscrimination(2, 2, group=4),
        layers.Dense(1),
    ]
    return gan.GAN(VECTOR, 2, **{**players(), "discriminator": keras.Sequential(discriminator)})


def remedies():
    regularizers = [gan.DRAGAN(), gan.LeCam(), gan.Consistency(augmentation=gan.DiffAugment("flip")), "r1", "r2"]
    given = {"regularizers": regularizers, "augmentation": gan.ADA(images=200, p=0.4, target=0.2)}
    return gan.GAN(IMAGE, 2, adversarial_loss="relativistic", ema=0.9, **players(IMAGE), **given)


def cycle_gan():
    translators = {name: dense(IMAGE, 16, name, IMAGE) for name in ("a_to_b", "b_to_a")}
    discriminators = {name: dense(IMAGE, 1, name) for name in ("discriminator_a", "discriminator_b")}
    return gan.CycleGAN(IMAGE, pool_size=20, **translators, **discriminators)


def pix2pix():
    return gan.Pix2Pix(
        IMAGE, generator=dense(IMAGE, 16, "generator", IMAGE), discriminator=dense((4, 4, 2), 1, "discriminator")
    )


def srgan():
    parts = {
        "generator": dense(IMAGE, 64, "generator", (8, 8, 1)),
        "discriminator": dense((8, 8, 1), 1, "discriminator"),
    }
    return gan.SRGAN((8, 8, 1), 2, features=dense((8, 8, 1), 5, "features"), **parts)


def style():
    lazy = {"regularizers": gan.R1(1.0, every=2), "generator_regularizers": gan.PathLength(every=2)}
    return gan.StyleGAN2((8, 8, 1), 4, width=8, depth=1, ema=0.9, **lazy)


def conditional_vae():
    return vae.ConditionalVAE(VECTOR, 2, conditions=[LabelCondition(3)])


def scalar_codes():
    networks = {"encoder": SpatialEncoder(IMAGE, 2, channels=(4,), blocks=1)}
    networks["decoder"] = SpatialDecoder((2, 2, 2), 1, channels=(4,), blocks=1)
    return vae.VQVAE(IMAGE, quantizer=FiniteScalarQuantizer((3, 4)), **networks)


def book():
    networks = {"encoder": SpatialEncoder(IMAGE, 3, channels=(4,), blocks=1)}
    networks["decoder"] = SpatialDecoder((2, 2, 3), 1, channels=(4,), blocks=1)
    return vae.VQVAE(IMAGE, num_codes=5, code_dim=3, **networks)


def map_shaped(**kwargs):
    x, z = keras.Input(IMAGE), keras.Input((2, 2, 2))
    encoder = keras.Model(x, layers.Conv2D(4, 2, strides=2)(x))
    decoder = keras.Model(z, layers.Conv2D(1, 1)(layers.Conv2DTranspose(2, 2, strides=2)(z)))
    discriminator = keras.Model(x, layers.Conv2D(1, 2, strides=2)(x))
    return hybrid.AutoencoderKL(IMAGE, 2, encoder=encoder, decoder=decoder, discriminator=discriminator, **kwargs)


def latent_diffusion():
    autoencoder = map_shaped()
    model = hybrid.LatentDiffusion(autoencoder, network=MLP((2, 2, 2), (2, 2, 2), widths=(8,), time=True))
    model.adapt(IMAGES)
    return model


def classes_of_points():
    network = ResidualMLP(3, width=8, blocks=1, conditions=[LabelCondition(3)])
    return diffusion.DDPM(VECTOR, network=network, num_classes=3, label_dropout=0.3, ema=0.9)


def vae_gan():
    return codes(hybrid.VAEGAN, features=MLP(VECTOR, (4,), widths=(8,)))


def refitted():
    keras.utils.set_random_seed(1)
    prior = vae.VAE((2,), 2, encoder=MLP((2,), (4,), widths=(8,)), decoder=MLP((2,), (2,), widths=(8,)))
    return hybrid.PriorRefit(codes(vae.VAE), prior)


POINT = {"size": 2}
SYSTEMS = {
    "together": (together, VECTORS, LABELS),
    "WGAN": (lambda: gan.WGAN(VECTOR, 2, n_critic=2, **players()), VECTORS),
    "WGANGP": (lambda: gan.WGANGP(VECTOR, 2, n_critic=2, **players()), VECTORS),
    "SNGAN": (
        lambda: gan.SNGAN(VECTOR, 2, generator=players()["generator"], discriminator=spectral(), n_critic=2),
        VECTORS,
    ),
    "DCGAN": (lambda: gan.DCGAN(IMAGE, 2, widths=[4, 4]), IMAGES),
    "ConditionalGAN": (lambda: gan.ConditionalGAN(IMAGE, 3, 2, **classes("batch_norm", IMAGE)), IMAGES, LABELS),
    "ACGAN": (lambda: gan.ACGAN(VECTOR, 3, 2, **classes("concatenation", VECTOR, (3,))), VECTORS, LABELS),
    "InfoGAN": (lambda: gan.InfoGAN(VECTOR, 2, categories=3, codes=1, **reading((3, 2))), VECTORS),
    "Pix2Pix": (pix2pix, IMAGES, IMAGES[::-1].copy()),
    "SRGAN": (srgan, LARGE),
    "CycleGAN": (cycle_gan, lambda: Unpaired(IMAGES, IMAGES[::-1].copy(), batch_size=BATCH)),
    "ProgressiveGAN": (lambda: gan.ProgressiveGAN((8, 8, 1), 2, width=8, stage_steps=1), LARGE),
    "StyleGAN2": (style, LARGE),
    "MinibatchDiscrimination": (in_groups, VECTORS),
    "remedies": (remedies, IMAGES),
    "TopK": (lambda: gan.GAN(VECTOR, 2, adversarial_loss=gan.TopK(share=0.3), **players()), VECTORS),
    "Unrolling": (lambda: gan.GAN(VECTOR, 2, unrolled=gan.Unrolling(2, 0.1), **players()), VECTORS),
    "Autoencoder": (lambda: codes(vae.Autoencoder, **POINT), VECTORS),
    "SparseAutoencoder": (lambda: codes(vae.SparseAutoencoder, **POINT), VECTORS),
    "ContractiveAutoencoder": (lambda: codes(vae.ContractiveAutoencoder, **POINT), VECTORS),
    "DenoisingAutoencoder": (lambda: codes(vae.DenoisingAutoencoder, **POINT), VECTORS),
    "ConditionalVAE": (conditional_vae, VECTORS, LABELS),
    "WAE": (lambda: codes(vae.WAE, **POINT), VECTORS),
    "InfoVAE": (lambda: codes(vae.InfoVAE), VECTORS),
    "BetaTCVAE": (lambda: codes(vae.BetaTCVAE), VECTORS),
    "IWAE, VampPrior": (lambda: codes(vae.IWAE, doubly=True, prior=vae.VampPrior(VECTOR, 4)), VECTORS),
    "FiniteScalarQuantizer": (scalar_codes, IMAGES),
    "VQVAE": (book, IMAGES),
    "VQVAE2": (lambda: vae.VQVAE2((8, 8, 1), 5, 3, code_shapes=((2, 2), (4, 4))), LARGE),
    "HierarchicalVAE": (lambda: vae.HierarchicalVAE((8, 8, 1), ((2, 2, 1), (4, 4, 1)), free_bits=0.1), LARGE),
    "AutoencoderKL": (map_shaped, IMAGES),
    "LatentDiffusion": (latent_diffusion, IMAGES),
    "DDPM": (classes_of_points, VECTORS, LABELS),
    "FactorVAE": (lambda: codes(hybrid.FactorVAE), VECTORS),
    "AdversarialAutoencoder": (lambda: codes(hybrid.AdversarialAutoencoder, **POINT), VECTORS),
    "VAEGAN": (vae_gan, VECTORS),
    "PriorRefit": (refitted, VECTORS),
}


def spectral():
    return gan.Discriminator(VECTOR, [8], spectral=True)


def reading(sizes):
    networks = {"generator": dense((6,), 3, "generator")}
    return {**networks, "discriminator": gan.Discriminator(VECTOR, [8], readings=sizes)}


def classes(conditioning, shape, readings=()):
    generator = gan.Generator(2, shape, [4] if len(shape) == 3 else [8], num_classes=3, conditioning=conditioning)
    told = {"readings": readings} if readings else {"num_classes": 3}
    return {"generator": generator, "discriminator": gan.Discriminator(shape, [4], **told)}


def trained(name, scope=contextlib.nullcontext):
    """Dict from the place of each weight of a system to its value after two steps."""
    make, *data = SYSTEMS[name]
    keras.utils.set_random_seed(0)
    with scope():
        model = make()
        more = {"jit_compile": False} if keras.config.backend() == "tensorflow" else {}
        model.compile(keras.optimizers.Adam(0.01, epsilon=1e-3, clipnorm=0.1), **more)
    if callable(data[0]):
        model.fit(data[0](), shuffle=False, verbose=0)
    else:
        model.fit(*data, batch_size=BATCH, shuffle=False, verbose=0)
    return {f"{name}/{i}": keras.ops.convert_to_numpy(w) for i, w in enumerate(model.weights)}


def compare(name):
    """Asserts that each weight of a system is the same after two steps on one device and on two replicas."""
    single = trained(name)
    with two_devices.replicas() as scope:
        several = trained(name, scope)
    assert single.keys() == several.keys() and len(single) > 6
    for path, value in single.items():
        np.testing.assert_allclose(several[path], value, atol=1e-5, err_msg=path)


if __name__ == "__main__":
    for system in sys.argv[1:] or SYSTEMS:
        compare(system)
        print(system, flush=True)
