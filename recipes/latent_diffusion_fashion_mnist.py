"""Latent diffusion on Fashion-MNIST: a class-conditional diffusion model of the codes of an AutoencoderKL."""

import pathlib
import time

import keras
import numpy as np

import kgen
import kgen.recipes.autoencoder_kl_fashion_mnist


def seconds_per_image(*models, count=64, rounds=3):
    """Seconds that one image takes each model in a batch of ``count``: medians of rounds in turns, compilation left out."""
    seconds = np.zeros((rounds + 1, len(models)))
    for i, j in np.ndindex(seconds.shape):
        start = time.perf_counter()
        models[j].sample(count, seed=i)
        seconds[i, j] = (time.perf_counter() - start) / count
    return np.median(seconds[1:], axis=0)


def main(
    data="fashion_mnist",
    epochs=32,
    batch_size=64,
    seed=0,
    out="saved_models/latent_diffusion_fashion_mnist",
    image_size=None,
    autoencoder=None,
    resume=False,
):
    keras.utils.set_random_seed(seed)

    x, y = kgen.data.load(data, split="train", image_size=image_size)
    x_test, y_test = kgen.data.load(data, split="test", image_size=image_size)
    classes = None if y is None else kgen.data.class_names(data, y)
    num_classes = None if y is None else len(classes)

    # The autoencoder comes first: the one that the recipe autoencoder_kl_fashion_mnist left, or one trained here on this data.
    if autoencoder is None:
        autoencoder = pathlib.Path("saved_models/autoencoder_kl_fashion_mnist")
        if data != "fashion_mnist" or image_size is not None or not (autoencoder / "config.json").exists():
            autoencoder = pathlib.Path(out) / "autoencoder"
            kgen.recipes.autoencoder_kl_fashion_mnist.main(data, seed=seed, out=autoencoder, image_size=image_size)
    autoencoder_kl = kgen.load(autoencoder)

    latent_shape = autoencoder_kl.latent_shape
    # A score of 3x3 convolutions see all of a 7x7 map: no attention.
    network = kgen.networks.UNet(latent_shape, channels=(64,), blocks=2, attention=(False,), num_classes=num_classes)
    model = kgen.hybrid.LatentDiffusion(
        autoencoder_kl,
        network=network,
        schedule="cosine",
        prediction="velocity",
        num_classes=classes,
        sampler=kgen.diffusion.DPMSolverMultistepSampler(20, stochastic=True),
        ema=0.999,
    )
    steps = epochs * -(-len(x) // batch_size)
    learning_rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps, warmup_target=1e-3, warmup_steps=min(500, steps // 5)
    )
    model.compile(optimizer=keras.optimizers.AdamW(learning_rate, weight_decay=1e-4, clipnorm=1.0))

    stop = kgen.callbacks.GracefulStop()  # Ctrl-C ends training; the rest still runs
    checkpoint = kgen.callbacks.Checkpoint(f"{out}/checkpoints", every=200, resume=resume)  # kgen train --resume
    start = time.perf_counter()
    history = model.fit(x, y, epochs=epochs, batch_size=batch_size, callbacks=[stop, checkpoint])
    train_seconds = time.perf_counter() - start

    run = kgen.Run(out)
    run.save_model(model)
    run.save_preset(model, dtype="float16")  # half the size, the same figures
    run.save_facts(model, x_test)  # what kgen demo shows of the data
    run.save_curves(history)
    labels = {} if y is None else {"labels": [i % num_classes for i in range(100)]}
    run.save_samples(model.sample(100, seed=0, **labels), columns=10)

    # 1,000 samples against 1,000 training images, both measured on the test images.
    count = min(1000, len(x))
    labels = None if y is None else y[:count]
    samples = model.sample(count, seed=1, labels=labels)
    figures = {}
    if data in kgen.metrics.classifiers():
        classifier = kgen.metrics.load_classifier(data)
        figures = kgen.metrics.fidelity_report(
            samples, train=x, test=x_test, extractor=classifier, labels=labels, test_labels=y_test
        )
        # What the autoencoder alone costs: its reconstructions of training images. Samples can hardly be better.
        report = kgen.metrics.fidelity_report(model.reconstruct(x[:count]), train=x, test=x_test, extractor=classifier)
        figures["autoencoder_frechet_distance"] = report["frechet_distance"]
    peer = pathlib.Path("saved_models/ddpm_fashion_mnist")
    peers = [kgen.load(peer)] if data == "fashion_mnist" and (peer / "config.json").exists() else []
    seconds = seconds_per_image(model, *peers)
    figures["seconds_per_image"] = {"value": float(seconds[0]), "unit": "seconds, in batches of 64"}
    if peers:
        figures["speed_over_pixels"] = {
            "value": float(seconds[1] / seconds[0]),
            "unit": f"times as fast as ddpm_fashion_mnist: {model.sampler!r} here, {peers[0].sampler!r} there",
        }
    run.save_metrics(
        figures,
        data=data,
        seed=seed,
        epochs=stop.epochs,
        interrupted=stop.interrupted,
        batch_size=batch_size,
        training_steps=int(model.optimizer.iterations),
        parameters=network.count_params(),
        autoencoder=str(autoencoder),
        final_loss=history.history["loss"][-1],
        train_seconds=round(train_seconds, 1),
    )
    run.write_card(
        f"A class-conditional latent diffusion model of {data}: velocity prediction and a cosine schedule on the {latent_shape} latents "
        "of an AutoencoderKL, which is in the file too. Samples are in [-1, 1]; they are drawn by SDE-DPM-Solver++ in 20 steps and decoded in the "
        "same compiled call. autoencoder frechet distance is that of reconstructed training images."
    )
    run.export(model)
    if not stop.interrupted:
        checkpoint.clear()


if __name__ == "__main__":
    main()
