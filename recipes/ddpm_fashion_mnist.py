"""Denoising diffusion on Fashion-MNIST, conditioned on the class: an hour and a half on two cores.

With a GPU for longer: ``--batch-size 256 --epochs 57``, some ten minutes.
"""

import time

import keras

import kgen


def main(
    data="fashion_mnist",
    epochs=10,
    batch_size=64,
    seed=0,
    out="saved_models/ddpm_fashion_mnist",
    image_size=None,
    resume=False,
):
    keras.utils.set_random_seed(seed)

    x, y = kgen.data.load(data, split="train", image_size=image_size)
    x_test, y_test = kgen.data.load(data, split="test", image_size=image_size)
    classes = None if y is None else kgen.data.class_names(data, y)
    num_classes = None if y is None else len(classes)

    network = kgen.networks.UNet(
        x.shape[1:],
        channels=(16, 32, 64),
        blocks=1,
        attention=(False, False, True),
        num_classes=num_classes,
        dropout=0.05,
    )
    model = kgen.diffusion.DDPM(
        x.shape[1:],
        network=network,
        schedule="cosine",
        prediction="velocity",
        num_classes=classes,
        sampler=kgen.diffusion.DPMSolverMultistepSampler(30, stochastic=True, grid="karras"),
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
    run.save_curves(history)
    labels = {} if y is None else {"labels": [i % num_classes for i in range(100)]}
    run.save_samples(model.sample(100, seed=0, **labels), columns=10)

    # 1,000 samples against 1,000 training images, both measured on the test images.
    count = min(1000, len(x))
    start = time.perf_counter()
    labels = None if y is None else y[:count]
    samples = model.sample(count, seed=1, labels=labels)
    sample_seconds = time.perf_counter() - start
    figures = {}
    if data in kgen.metrics.classifiers():
        classifier = kgen.metrics.load_classifier(data)
        figures = kgen.metrics.fidelity_report(
            samples, train=x, test=x_test, extractor=classifier, labels=labels, test_labels=y_test
        )
        guided = model.sample(count, seed=1, labels=labels, guidance=1.5)
        report = kgen.metrics.fidelity_report(guided, train=x, test=x_test, extractor=classifier)
        figures["guided_frechet_distance"] = {**report["frechet_distance"], "unit": "Fréchet distance, guidance 1.5"}
    held_out = slice(0, 1000)
    images = kgen.data.at_levels(x_test[held_out])
    bits = model.bits_per_dim(images, labels=None if y is None else y_test[held_out], num_samples=20)
    # What kgen demo shows of the data.
    run.save_facts(model, images[:200], log_prob={"levels": 256, "num_samples": 50})
    # The probability flow tells the likelihood nearer than the bound; to a thousandth of a value, which is far below what pictures differ by.
    method = kgen.diffusion.ODELikelihood(solver=kgen.numerics.DormandPrinceSolver(1e-3, 1e-3))
    exact = model.bits_per_dim(images, labels=None if y is None else y_test[held_out], method=method, batch_size=100)
    units = {"bits_per_dim": "upper bound", "bits_per_dim_by_flow": "by the flow's ODE, dequantised"}
    for (name, unit), values in zip(units.items(), (bits, exact), strict=True):
        figures[name] = {
            "value": float(values.mean()),
            "unit": f"bits/dim, {unit}, 256 levels",
            "samples": len(values),
            "standard_error": float(values.std() / len(values) ** 0.5),
        }
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
        f"A class-conditional diffusion model (velocity prediction, cosine schedule) of {data}. Samples are in [-1, 1]; they are "
        "drawn by SDE-DPM-Solver++ in 30 steps, a call of the network each."
    )
    run.export(model)
    if not stop.interrupted:
        checkpoint.clear()


if __name__ == "__main__":
    main()
