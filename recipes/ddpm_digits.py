"""Denoising diffusion on 8x8 digits, conditioned on the class: about five minutes on two cores, with all that follows the training."""

import time

import keras

import kgen


def main(
    data="digits", epochs=75, batch_size=64, seed=0, out="saved_models/ddpm_digits", image_size=None, resume=False
):
    keras.utils.set_random_seed(seed)

    # Images in [-1, 1] and labels (None for data without classes); the test split is held out by a fixed permutation.
    x, y = kgen.data.load(data, split="train", image_size=image_size)
    x_test, y_test = kgen.data.load(data, split="test", image_size=image_size)
    num_classes = None if y is None else int(y.max()) + 1

    network = kgen.networks.UNet(
        x.shape[1:], channels=(24, 48), blocks=1, attention=(False, True), num_classes=num_classes, dropout=0.1
    )
    model = kgen.diffusion.DDPM(
        x.shape[1:],
        network=network,
        schedule="cosine",
        prediction="velocity",
        num_classes=num_classes,
        sampler="ddim",
        ema=0.998,
    )
    steps = epochs * -(-len(x) // batch_size)
    learning_rate = keras.optimizers.schedules.CosineDecay(0.0, steps, warmup_target=2e-3, warmup_steps=steps // 20)
    model.compile(optimizer=keras.optimizers.AdamW(learning_rate, weight_decay=1e-4, clipnorm=1.0))

    stop = kgen.callbacks.GracefulStop()  # Ctrl-C ends training; the rest still runs
    checkpoint = kgen.callbacks.Checkpoint(f"{out}/checkpoints", every=500, resume=resume)  # kgen train --resume
    start = time.perf_counter()
    history = model.fit(x, y, epochs=epochs, batch_size=batch_size, callbacks=[stop, checkpoint])
    train_seconds = time.perf_counter() - start

    run = kgen.Run(out)
    run.save_model(model)
    run.save_preset(model, dtype="float16")  # half the size, the same figures
    levels = 17 if data == "digits" else 256
    # What kgen demo shows of the data.
    run.save_facts(model, kgen.data.at_levels(x_test, levels), log_prob={"levels": levels})
    run.save_curves(history)
    labels = None if y is None else [i % num_classes for i in range(64)]
    run.save_samples(model.sample(64, seed=0, labels=labels), columns=10)
    path = model.trajectory(8, seed=0, labels=labels and labels[:8])
    run.save_picture("denoising", path.reshape(-1, *x.shape[1:]), columns=path.shape[1])

    # As many samples as there are training images, with the same labels: so the figure and its floor differ in nothing else.
    start = time.perf_counter()
    samples = model.sample(len(x), seed=1, labels=y)
    sample_seconds = time.perf_counter() - start
    figures = {}
    if data in kgen.metrics.classifiers():
        classifier = kgen.metrics.load_classifier(data)
        figures = kgen.metrics.fidelity_report(
            samples, train=x, test=x_test, extractor=classifier, labels=y, test_labels=y_test
        )
    bits = model.bits_per_dim(kgen.data.at_levels(x_test, levels), labels=y_test, levels=levels)
    figures["bits_per_dim"] = {
        "value": float(bits.mean()),
        "unit": f"bits/dim, upper bound, {levels} levels",
        "samples": len(x_test),
        "standard_error": float(bits.std() / len(bits) ** 0.5),
    }
    run.save_metrics(
        figures,
        data=data,
        seed=seed,
        epochs=stop.epochs,
        interrupted=stop.interrupted,
        batch_size=batch_size,
        parameters=model.network.count_params(),
        final_loss=history.history["loss"][-1],
        train_seconds=round(train_seconds, 1),
        seconds_per_1000_samples=round(sample_seconds / len(x) * 1000, 2),
    )
    run.write_card(
        f"A class-conditional diffusion model (velocity prediction, cosine schedule) of {data}. Samples are in [-1, 1]; they are "
        "drawn by DDIM in 50 steps."
    )
    run.export(model)
    if not stop.interrupted:
        checkpoint.clear()


if __name__ == "__main__":
    main()
