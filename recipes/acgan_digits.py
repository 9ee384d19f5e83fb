"""A GAN of 8x8 digits with an auxiliary classifier: every class on demand, some minutes on two cores."""

import time

import keras
import numpy as np

import kgen


def main(
    data="digits", epochs=150, batch_size=64, seed=0, out="saved_models/acgan_digits", image_size=None, resume=False
):
    keras.utils.set_random_seed(seed)
    x, y = kgen.data.load(data, split="train", image_size=image_size)
    x_test, y_test = kgen.data.load(data, split="test", image_size=image_size)
    classes, shape = int(y.max()) + 1, x.shape[1:]

    # Each class has a scale and a shift of its own in the generator's normalisations.
    model = kgen.gan.ACGAN(
        shape,
        classes,
        latent_dim=32,
        generator=kgen.gan.Generator(32, shape, (64,), num_classes=classes, conditioning="batch_norm"),
        discriminator=kgen.gan.Discriminator(shape, (64,), spectral=True, readings=(classes,)),
        adversarial_loss="hinge",
        ema=0.999,
    )
    steps = epochs * -(-len(x) // batch_size)

    def adam():
        return keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(5e-4, steps), beta_1=0.5)

    model.compile({"generator": adam(), "discriminator": adam()})

    stop = kgen.callbacks.GracefulStop()  # Ctrl-C ends training; the rest still runs
    checkpoint = kgen.callbacks.Checkpoint(f"{out}/checkpoints", every=500, resume=resume)  # kgen train --resume
    start = time.perf_counter()
    history = model.fit(x, y, epochs=epochs, batch_size=batch_size, verbose=2, callbacks=[stop, checkpoint])
    train_seconds = time.perf_counter() - start

    run = kgen.Run(out)
    run.save_model(model)
    run.save_preset(model, dtype="float16")  # half the size, the same figures
    run.save_curves(history)
    run.save_samples(model.sample(10 * classes, seed=0, labels=np.arange(10 * classes) % classes), columns=classes)

    labels = np.arange(len(x)) % classes
    samples = model.sample(len(x), seed=1, labels=labels)
    figures = {}
    if data in kgen.metrics.classifiers():
        classifier = kgen.metrics.load_classifier(data)
        figures = kgen.metrics.fidelity_report(
            samples, train=x, test=x_test, extractor=classifier, labels=labels, test_labels=y_test
        )
    hit = model.classify(x_test).argmax(1) == y_test
    figures["own_classifier_accuracy"] = {
        "value": float(hit.mean()),
        "unit": "share of test images that the discriminator classifies rightly",
        "samples": len(x_test),
    }
    run.save_metrics(
        figures,
        data=data,
        seed=seed,
        epochs=stop.epochs,
        interrupted=stop.interrupted,
        batch_size=batch_size,
        training_steps=int(model.optimizer["generator"].iterations),
        parameters=model.generator.count_params() + model.discriminator.count_params(),
        train_seconds=round(train_seconds, 1),
    )
    run.write_card(
        f"A GAN with an auxiliary classifier (Odena et al. 2017) of {data}: hinge loss, spectral normalisation, batch normalisation by class. "
        "Samples are in [-1, 1], drawn with the generator's averaged weights; a column of the picture is a class."
    )
    run.export(model)
    if not stop.interrupted:
        checkpoint.clear()


if __name__ == "__main__":
    main()
