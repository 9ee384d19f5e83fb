"""PixelCNN++ on 8x8 digits, conditioned on the class: about five minutes on one core."""

import time

import keras
import numpy as np

import kgen


def main(
    data="digits", epochs=60, batch_size=32, seed=0, out="saved_models/pixelcnn_digits", image_size=None, resume=False
):
    keras.utils.set_random_seed(seed)

    # Images in [-1, 1] and labels (None for data without classes); the test split is held out by a fixed permutation.
    x, y = kgen.data.load(data, split="train", image_size=image_size)
    x_test, y_test = kgen.data.load(data, split="test", image_size=image_size)
    num_classes = None if y is None else int(y.max()) + 1
    levels = 17 if data == "digits" else 256
    if image_size is not None:  # resizing leaves values between the levels
        x, x_test = (np.round((a + 1) * (levels - 1) / 2) * 2 / (levels - 1) - 1 for a in (x, x_test))

    # So few images are soon known by heart: dropout, averaged weights and weight decay hold against it.
    model = kgen.autoregressive.PixelCNN(
        x.shape[1:], channels=32, blocks=3, components=5, levels=levels, num_classes=num_classes, dropout=0.4, ema=0.998
    )
    steps = epochs * -(-len(x) // batch_size)
    learning_rate = keras.optimizers.schedules.CosineDecay(0.0, steps, warmup_target=3e-3, warmup_steps=steps // 20)
    model.compile(optimizer=keras.optimizers.AdamW(learning_rate, weight_decay=1e-3, clipnorm=1.0))

    stop = kgen.callbacks.GracefulStop()  # Ctrl-C ends training; the rest still runs
    checkpoint = kgen.callbacks.Checkpoint(f"{out}/checkpoints", every=200, resume=resume)  # kgen train --resume
    start = time.perf_counter()
    history = model.fit(x, y, epochs=epochs, batch_size=batch_size, callbacks=[stop, checkpoint])
    train_seconds = time.perf_counter() - start

    run = kgen.Run(out)
    run.save_model(model)
    run.save_preset(model, dtype="float16")  # half the size, the same figures
    # What kgen demo shows of the data.
    run.save_facts(model, x_test, log_prob={}, **({} if y is None else {"labels": y_test}))
    run.save_curves(history)
    labels = None if y is None else np.arange(64) % num_classes
    run.save_samples(model.sample(64, seed=0, labels=labels), columns=10)

    # Completions: what is given of a test image, seven ways to go on from there, and the image itself at the end of the row.
    upper = np.arange(x.shape[1])[:, None] < (x.shape[1] + 1) // 2
    mask = np.broadcast_to(upper, x.shape[1:3])
    originals, labels = np.repeat(x_test[:8], 7, axis=0), None if y is None else np.repeat(y_test[:8], 7)
    completed = model.inpaint(originals, mask, seed=0, labels=labels).reshape(-1, 7, *x.shape[1:])
    given = np.where(mask[..., None], x_test[:8], 0.0)
    rows = np.concatenate([given[:, None], completed, x_test[:8, None]], axis=1)
    run.save_picture("completions", rows.reshape(-1, *x.shape[1:]), columns=9)

    start = time.perf_counter()
    samples = model.sample(len(x), seed=1, labels=y)
    sample_seconds = time.perf_counter() - start
    figures = {}
    if data in kgen.metrics.classifiers():
        classifier = kgen.metrics.load_classifier(data)
        figures = kgen.metrics.fidelity_report(
            samples, train=x, test=x_test, extractor=classifier, labels=y, test_labels=y_test
        )
    # The probability of the image alone is the mean over the classes, each of which is as likely as another.
    classes = [None] if y is None else range(num_classes)
    by_class = np.stack([model.log_prob(x_test, labels=label) for label in classes])
    log_prob = np.logaddexp.reduce(by_class, axis=0) - np.log(len(by_class))
    bits = kgen.core.bits_per_dim(log_prob, x.shape[1:])
    figures["bits_per_dim"] = {
        "value": float(bits.mean()),
        "unit": f"bits/dim, exact, {levels} levels",
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
        f"A class-conditional PixelCNN++ of {data}: the exact probability of an image, and samples in [-1, 1] drawn pixel by pixel. "
        "In `completions.png` each row starts with the part of a test image that is given and ends with the image; between them, seven "
        "completions by `inpaint`."
    )
    run.export(model)
    if not stop.interrupted:
        checkpoint.clear()


if __name__ == "__main__":
    main()
