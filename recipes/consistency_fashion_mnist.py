"""A consistency model of Fashion-MNIST, tuned from the diffusion model `edm_fashion_mnist`: samples in one or two steps.

An hour on one core; with a GPU for longer: ``--batch-size 256 --epochs 69``, some nine minutes.
"""

import pathlib
import time

import keras

import kgen
import kgen.recipes.edm_fashion_mnist


def main(
    data="fashion_mnist",
    epochs=6,
    batch_size=64,
    seed=0,
    out="saved_models/consistency_fashion_mnist",
    image_size=None,
    teacher=None,
    resume=False,
):
    keras.utils.set_random_seed(seed)

    x, y = kgen.data.load(data, split="train", image_size=image_size)
    x_test, y_test = kgen.data.load(data, split="test", image_size=image_size)
    num_classes = None if y is None else int(y.max()) + 1

    # The diffusion model comes first: the one that the recipe edm_fashion_mnist left, or one trained here on this data.
    if teacher is None:
        teacher = pathlib.Path("saved_models/edm_fashion_mnist")
        if data != "fashion_mnist" or image_size is not None or not (teacher / "config.json").exists():
            teacher = pathlib.Path(out) / "teacher"
            kgen.recipes.edm_fashion_mnist.main(data, seed=seed, out=teacher, image_size=image_size)
    diffusion = kgen.load(teacher)
    # The student begins as the diffusion model and drops nothing: what it is compared with does not either.
    network = type(diffusion.network).from_config({**diffusion.network.get_config(), "dropout": 0.0})
    network.set_weights(diffusion.averaged("network").get_weights())
    steps = epochs * -(-len(x) // batch_size)
    # Easy consistency tuning: each noise is compared with the data at first, as in a diffusion model, and then with ever nearer noises. The target
    # is the student itself of the step before.
    model = kgen.diffusion.ConsistencyModel.from_diffusion(
        diffusion,
        network=network,
        label_dropout=0.0,
        noise_levels=kgen.diffusion.ShrinkingGaps(steps, stages=7),
        times=kgen.diffusion.LogNormalTimes(-1.1, 2.0),
        teacher=0.0,
        sampler=kgen.diffusion.ConsistencySampler(2),
        ema=0.999,
    )
    learning_rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps, warmup_target=5e-4, warmup_steps=min(200, steps // 5)
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
        for steps in (1, 4):
            images = model.sample(count, seed=1, labels=labels, steps=steps)
            report = kgen.metrics.fidelity_report(images, train=x, test=x_test, extractor=classifier)
            figures[f"frechet_distance_{steps}"] = {
                **report["frechet_distance"],
                "unit": f"Fréchet distance, {steps} steps",
            }
        flow = kgen.diffusion.HeunSampler(18)  # the way that the student learns to take in one step: no noise on it
        images = diffusion.sample(count, seed=1, labels=labels, sampler=flow)
        report = kgen.metrics.fidelity_report(images, train=x, test=x_test, extractor=classifier)
        figures["teachers_frechet_distance"] = {
            **report["frechet_distance"],
            "unit": f"Fréchet distance, {flow!r}",
        }
    run.save_metrics(
        figures,
        data=data,
        seed=seed,
        epochs=stop.epochs,
        interrupted=stop.interrupted,
        batch_size=batch_size,
        training_steps=int(model.optimizer.iterations),
        teacher=str(teacher),
        parameters=model.network.count_params(),
        final_loss=history.history["loss"][-1],
        train_seconds=round(train_seconds, 1),
        seconds_per_1000_samples=round(sample_seconds / count * 1000, 2),
    )
    run.write_card(
        f"A class-conditional consistency model of {data}, tuned from a diffusion model (Geng et al. 2024). Samples are in [-1, 1]; they are drawn "
        "in two steps, two calls of the network. The diffusion model's figure stands beside them."
    )
    run.export(model)
    if not stop.interrupted:
        checkpoint.clear()


if __name__ == "__main__":
    main()
