"""An AutoencoderKL of Fashion-MNIST: images as 7x7 maps of four numbers, which latent diffusion works on."""

import time

import keras
import numpy as np

import kgen


def main(
    data="fashion_mnist",
    epochs=3,
    batch_size=64,
    seed=0,
    out="saved_models/autoencoder_kl_fashion_mnist",
    image_size=None,
    resume=False,
):
    keras.utils.set_random_seed(seed)

    x, _ = kgen.data.load(data, split="train", image_size=image_size)
    x_test, _ = kgen.data.load(data, split="test", image_size=image_size)
    shape = x.shape[1:]
    classifier = kgen.metrics.load_classifier(data) if data in kgen.metrics.classifiers() else None
    features = None
    if classifier is not None and min(shape[:2]) >= max(classifier.shape[:2]):
        features = classifier.maps_of(shape)

    # The discriminator of patches begins when there is something to judge, and says little: it is to sharpen, not to invent.
    steps = epochs * -(-len(x) // batch_size)
    model = kgen.hybrid.AutoencoderKL(
        shape,
        latent_channels=4,
        features=features,
        perceptual=0.2,
        adversarial_weight=0.01,
        discriminator_start=steps // 3,
        beta=1e-3,  # of all values of an image together; it holds the codes near the origin
        ema=0.999,
    )
    learning_rate = keras.optimizers.schedules.CosineDecay(1e-3, steps)
    model.compile(
        {
            "autoencoder": keras.optimizers.Adam(learning_rate, beta_1=0.5),
            "discriminator": keras.optimizers.Adam(2e-4, 0.5),
        }
    )

    stop = kgen.callbacks.GracefulStop()  # Ctrl-C ends training; the rest still runs
    checkpoint = kgen.callbacks.Checkpoint(f"{out}/checkpoints", every=500, resume=resume)  # kgen train --resume
    start = time.perf_counter()
    history = model.fit(x, epochs=epochs, batch_size=batch_size, callbacks=[stop, checkpoint])
    train_seconds = time.perf_counter() - start

    run = kgen.Run(out)
    run.save_model(model)
    run.save_preset(model, dtype="float16")  # half the size, the same figures
    run.save_curves(history)
    columns = min(10, len(x_test))
    shown = x_test[: min(5, len(x_test) // columns) * columns]
    # Rows of test images, each above the row of their reconstructions.
    pairs = np.stack([shown, model.reconstruct(shown)]).reshape(2, -1, columns, *shape).swapaxes(0, 1)
    run.save_samples(pairs.reshape(-1, *shape), columns=columns)
    half = min(8, len(x_test) // 2)
    between = model.interpolate(x_test[:half], x_test[half : 2 * half], steps=10)
    run.save_picture("interpolations", between.reshape(-1, *shape), columns=10)

    reconstructions = model.reconstruct(x_test)
    error = float(np.square(reconstructions - x_test).mean())
    codes = model.encode(x_test)
    figures = {
        "mean_squared_error": {"value": error, "unit": "of values in [-1, 1]", "samples": len(x_test)},
        "psnr": {"value": float(10 * np.log10(4 / error)), "unit": "dB", "samples": len(x_test)},
        "latent_deviation": {
            "value": float(codes.std()),
            "unit": "standard deviation of the codes' means",
            "samples": len(x_test),
        },
    }
    if classifier is not None:
        copies = model.reconstruct(x[: len(x_test)])  # of training images: the test images are the reference
        report = kgen.metrics.fidelity_report(copies, train=x, test=x_test, extractor=classifier)
        figures.update({f"reconstruction_{name}": figure for name, figure in report.items()})
    if features is not None:
        figures["perceptual_distance"] = {
            "value": float(kgen.metrics.perceptual_distance(reconstructions, x_test, classifier).mean()),
            "unit": f"from test pictures, by the maps of the {data} classifier",
            "samples": len(x_test),
        }
    run.save_metrics(
        figures,
        data=data,
        seed=seed,
        epochs=stop.epochs,
        interrupted=stop.interrupted,
        batch_size=batch_size,
        training_steps=int(model.optimizer["autoencoder"].iterations),
        parameters=model.encoder.count_params() + model.decoder.count_params(),
        train_seconds=round(train_seconds, 1),
    )
    run.write_card(
        f"An autoencoder of {data} (Rombach et al. 2022): maps of latents {model.latent_shape}, a perceptual distance and a discriminator of patches."
        " samples.png shows test images, each row above its reconstructions: what draws codes is another model, such as "
        "latent_diffusion_fashion_mnist. The perceptual distance is of the same classifier's maps as the figures of the reconstructions."
    )
    run.export(model)
    if not stop.interrupted:
        checkpoint.clear()


if __name__ == "__main__":
    main()
