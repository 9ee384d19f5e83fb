"""EDM (Karras et al. 2022) on emoji in colour, 32x32, conditioned on their group.

There are some 1,200 pictures to learn from, so the network sees them and their mirror images, and the figures say how near samples lie to them.
"""

import time

import keras
import numpy as np

import kgen


def main(
    data="emoji",
    epochs=335,
    batch_size=64,
    seed=0,
    out="saved_models/edm_emoji",
    image_size=None,
    resume=False,
):
    keras.utils.set_random_seed(seed)

    x, y = kgen.data.load(data, split="train", image_size=image_size)
    x_test, y_test = kgen.data.load(data, split="test", image_size=image_size)
    classes = None if y is None else kgen.data.class_names(data, y)
    num_classes = None if y is None else len(classes)

    mirrored = np.concatenate([x, x[:, :, ::-1]])
    labels = None if y is None else np.concatenate([y, y])

    network = kgen.networks.UNet(x.shape[1:], channels=(32, 64, 96), blocks=1, attention=(8,), num_classes=num_classes)
    # At more noise than the paper's mean of -1.2; not compared with it.
    model = kgen.diffusion.EDM(
        x.shape[1:],
        network=network,
        sigma_data=float(x.std()),
        num_classes=classes,
        times=kgen.diffusion.LogNormalTimes(-0.6, 1.2),
        sampler=kgen.diffusion.DPMSolverMultistepSampler(30, stochastic=True, grid="karras"),
        ema=0.999,
    )
    steps = epochs * -(-len(mirrored) // batch_size)
    learning_rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps, warmup_target=1e-3, warmup_steps=min(500, steps // 5)
    )
    model.compile(optimizer=keras.optimizers.AdamW(learning_rate, weight_decay=1e-4, clipnorm=1.0))

    stop = kgen.callbacks.GracefulStop()  # Ctrl-C ends training; the rest still runs
    checkpoint = kgen.callbacks.Checkpoint(f"{out}/checkpoints", every=200, resume=resume)  # kgen train --resume
    start = time.perf_counter()
    history = model.fit(mirrored, labels, epochs=epochs, batch_size=batch_size, callbacks=[stop, checkpoint])
    train_seconds = time.perf_counter() - start

    run = kgen.Run(out)
    run.save_model(model)
    run.save_preset(model, dtype="float16")  # half the size, the same figures
    run.save_curves(history)
    grid = {} if y is None else {"labels": [i // 10 for i in range(10 * num_classes)]}  # a row for each group
    run.save_samples(model.sample(10 * (num_classes or 10), seed=0, **grid), columns=10)

    # 1,000 samples against 1,000 training images, both measured on the test images. Emoji lie in order of their groups: these are drawn.
    count = min(1000, len(x))
    start = time.perf_counter()
    labels = None if y is None else np.random.default_rng(seed).choice(y, count, replace=False)
    samples = model.sample(count, seed=1, labels=labels)
    sample_seconds = time.perf_counter() - start
    figures = {}
    if data in kgen.metrics.classifiers():
        classifier = kgen.metrics.load_classifier(data)
        figures = kgen.metrics.fidelity_report(
            samples, train=x, test=x_test, extractor=classifier, labels=labels, test_labels=y_test
        )
        report = kgen.metrics.memorization_report(
            classifier.features(samples), classifier.features(x), classifier.features(x_test), seed=seed
        )
        figures |= {f"memorised_{name}": figure for name, figure in report.items()}
        kgen.metrics.save_nearest_pairs(samples, x, run.path("nearest.png"), n=10)
    run.save_metrics(
        figures,
        data=data,
        seed=seed,
        epochs=stop.epochs,
        interrupted=stop.interrupted,
        batch_size=batch_size,
        training_steps=int(model.optimizer.iterations),
        parameters=model.network.count_params(),
        final_loss=history.history["loss"][-1],
        train_seconds=round(train_seconds, 1),
        seconds_per_1000_samples=round(sample_seconds / count * 1000, 2),
    )
    run.write_card(
        f"A diffusion model of {data} in colour by the design of Karras et al. (EDM), conditioned on the group of characters. Samples are in "
        "[-1, 1]; they are drawn by SDE-DPM-Solver++ in 30 steps, a call of the network each. nearest.png shows the samples that lie nearest to "
        "training pictures, above them."
    )
    run.export(model)
    if not stop.interrupted:
        checkpoint.clear()


if __name__ == "__main__":
    main()
