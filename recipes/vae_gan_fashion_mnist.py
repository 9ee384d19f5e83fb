"""A VAE-GAN of Fashion-MNIST: an autoencoder that a discriminator's features tell what is alike."""

import time

import keras
import numpy as np

import kgen


def main(
    data="fashion_mnist",
    epochs=4,
    batch_size=64,
    seed=0,
    out="saved_models/vae_gan_fashion_mnist",
    image_size=None,
    resume=False,
):
    keras.utils.set_random_seed(seed)

    x, _ = kgen.data.load(data, split="train", image_size=image_size)
    x_test, _ = kgen.data.load(data, split="test", image_size=image_size)
    shape = x.shape[1:]

    encoder = kgen.networks.ConvEncoder(shape, 2 * 24, channels=(32, 64), dense=128, convs=0)
    decoder = kgen.networks.ConvDecoder(24, shape, channels=(32, 64), dense=128, convs=0)
    # Maps of features, whose places tell where something is. 4x4 convolutions of stride 2 give every pixel as much to say (3x3 ones print
    # a grid into what the decoder makes); spectral normalisation keeps the discriminator's word gentle, the last one its features' scale.
    features = [keras.Input(shape)]
    for width in (32, 64):
        convolution = keras.layers.Conv2D(width, 4, strides=2, padding="same")
        features += [kgen.layers.SpectralNormalization(convolution), keras.layers.LeakyReLU(0.1)]
    normalisation = keras.layers.LayerNormalization(epsilon=1e-9, center=False, scale=False)
    features = keras.Sequential([*features, keras.layers.Flatten(), normalisation], name="features")
    model = kgen.hybrid.VAEGAN(
        shape,
        latent_dim=24,
        encoder=encoder,
        decoder=decoder,
        features=features,
        beta=5.0,  # the features are many, and their neighbours say the same
        similarity=0.01,
        ema=0.999,
    )
    model.compile(keras.optimizers.Adam(5e-4, beta_1=0.5))

    stop = kgen.callbacks.GracefulStop()  # Ctrl-C ends training; the rest still runs
    checkpoint = kgen.callbacks.Checkpoint(f"{out}/checkpoints", every=500, resume=resume)  # kgen train --resume
    start = time.perf_counter()
    history = model.fit(x, epochs=epochs, batch_size=batch_size, callbacks=[stop, checkpoint])
    train_seconds = time.perf_counter() - start

    # As of any autoencoder, its codes are no standard normal: a mixture of them is what is sampled.
    components = min(60, max(1, len(x) // 30))
    refit = kgen.hybrid.PriorRefit(model, kgen.vae.GaussianMixture(model.latent_shape, components))
    refit.fit(x)

    run = kgen.Run(out)
    run.save_model(refit)
    run.save_preset(refit, dtype="float16")  # half the size, the same figures
    run.save_curves(history)
    run.save_samples(refit.sample(100, seed=0), columns=10)
    run.save_picture("standard_normal", model.sample(100, seed=0), columns=10)
    columns = min(10, len(x_test))
    shown = x_test[: min(3, len(x_test) // columns) * columns]
    pairs = np.stack([shown, model.reconstruct(shown)]).reshape(2, -1, columns, *shape).swapaxes(0, 1)
    run.save_picture("reconstructions", pairs.reshape(-1, *shape), columns=columns)

    figures = {}
    if data in kgen.metrics.classifiers():
        classifier = kgen.metrics.load_classifier(data)
        count = min(10_000, len(x))
        figures, normal, copies = (
            kgen.metrics.fidelity_report(images, train=x, test=x_test, extractor=classifier)
            for images in (refit.sample(count, seed=1), model.sample(count, seed=1), model.reconstruct(x[:count]))
        )
        figures["standard_normal_frechet_distance"] = normal["frechet_distance"]
        figures["reconstructions_frechet_distance"] = copies["frechet_distance"]
    error = np.square(model.reconstruct(x_test) - x_test).mean()
    figures["mean_squared_error"] = {"value": float(error), "unit": "of values in [-1, 1]", "samples": len(x_test)}
    run.save_metrics(
        figures,
        data=data,
        seed=seed,
        epochs=stop.epochs,
        interrupted=stop.interrupted,
        batch_size=batch_size,
        training_steps=int(model.optimizer["decoder"].iterations),
        parameters=sum(n.count_params() for n in (model.encoder, model.decoder, model.features, model.discriminator)),
        train_seconds=round(train_seconds, 1),
    )
    run.write_card(
        f"A VAE-GAN (Larsen et al. 2016) of {data} with 24 latent dimensions; its prior is a mixture of {components} Gaussians fitted to the codes "
        "of the training images. reconstructions.png shows test images, each row above its reconstructions. Samples are in [-1, 1]."
    )
    run.export(refit)
    if not stop.interrupted:
        checkpoint.clear()


if __name__ == "__main__":
    main()
