"""Real NVP on 8x8 digits, conditioned on the class: about three minutes on two cores."""

import time

import keras

import kgen


def main(
    data="digits", epochs=30, batch_size=64, seed=0, out="saved_models/realnvp_digits", image_size=None, resume=False
):
    keras.utils.set_random_seed(seed)

    x, y = kgen.data.load(data, split="train", image_size=image_size)
    x_test, y_test = kgen.data.load(data, split="test", image_size=image_size)
    num_classes = None if y is None else int(y.max()) + 1

    # Pixels of the digits have 17 levels; uniform noise within a level's cell gives them a density.
    levels = 17 if data == "digits" else 256
    model = kgen.flow.RealNVP(
        x.shape[1:],
        dropout=0.2,  # 1,437 images are few for an exact likelihood: without it the flow learns them by heart
        num_classes=num_classes,
        dequantize=levels,
        ema=0.995,
    )
    steps = epochs * -(-len(x) // batch_size)
    learning_rate = keras.optimizers.schedules.CosineDecay(2e-3, steps)
    model.compile(optimizer=keras.optimizers.AdamW(learning_rate, weight_decay=1e-2, clipnorm=50.0))

    stop = kgen.callbacks.GracefulStop()  # Ctrl-C ends training; the rest still runs
    checkpoint = kgen.callbacks.Checkpoint(f"{out}/checkpoints", every=200, resume=resume)  # kgen train --resume
    start = time.perf_counter()
    test = (x_test,) if y is None else (x_test, y_test)
    history = model.fit(x, y, epochs=epochs, batch_size=batch_size, validation_data=test, callbacks=[stop, checkpoint])
    train_seconds = time.perf_counter() - start

    run = kgen.Run(out)
    run.save_model(model)
    run.save_preset(model, dtype="float16")  # half the size, the same figures
    # What kgen demo shows of the data.
    run.save_facts(model, x_test, log_prob={}, **({} if y is None else {"labels": y_test}))
    run.save_curves(history)
    rows = {} if y is None else {"labels": [i % num_classes for i in range(100)]}
    run.save_samples(model.sample(100, seed=0, **rows), columns=10)
    # A row from one test image to the next of its class.
    same = range(16) if y is None else [i for c in range(num_classes) for i in (y_test == c).nonzero()[0][:2]]
    ends, labels = x_test[same].reshape(-1, 2, *x.shape[1:]), None if y is None else y_test[same][::2]
    between = model.interpolate(ends[:, 0], ends[:, 1], steps=10, labels=labels)
    run.save_picture("interpolations", between.reshape(-1, *x.shape[1:]), columns=10)

    samples = model.sample(len(x), seed=1, labels=y)
    figures = {}
    if data in kgen.metrics.classifiers():
        classifier = kgen.metrics.load_classifier(data)
        figures = kgen.metrics.fidelity_report(
            samples, train=x, test=x_test, extractor=classifier, labels=y, test_labels=y_test
        )
    bits = model.bits_per_dim(x_test, labels=y_test, num_samples=100)
    figures["bits_per_dim"] = {
        "value": float(bits.mean()),
        "unit": f"bits/dim, upper bound of 100 draws of the dequantisation noise, {levels} levels",
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
        parameters=model.chain.count_params(),
        final_loss=history.history["loss"][-1],
        train_seconds=round(train_seconds, 1),
    )
    run.write_card(
        f"A Real NVP of {data}: affine couplings by convolutions, of checkerboards and of channels, at several scales, conditioned on the "
        "class, over uniformly dequantised pixels. Samples are levels in [-1, 1]; the bits per dimension are given the class."
    )
    run.export(model)
    if not stop.interrupted:
        checkpoint.clear()


if __name__ == "__main__":
    main()
