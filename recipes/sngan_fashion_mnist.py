"""A spectrally normalised GAN of Fashion-MNIST: 12,194 steps of 64 images, a little over an hour on two cores."""

import time

import keras

import kgen


def main(
    data="fashion_mnist",
    epochs=13,
    batch_size=64,
    seed=0,
    out="saved_models/sngan_fashion_mnist",
    image_size=None,
    resume=False,
):
    keras.utils.set_random_seed(seed)

    x, _ = kgen.data.load(data, split="train", image_size=image_size)
    x_test, _ = kgen.data.load(data, split="test", image_size=image_size)

    # Hinge loss and one step of each player, two halvings of the sides: 7x7x256 is what the generator begins with.
    shape = x.shape[1:]
    model = kgen.gan.SNGAN(
        shape,
        latent_dim=64,
        generator=kgen.gan.Generator(64, shape, widths=(64, 128)),
        discriminator=kgen.gan.Discriminator(shape, widths=(64, 128), spectral=True),
        ema=0.999,
    )
    model.compile(keras.optimizers.Adam(2e-4, beta_1=0.5))

    stop = kgen.callbacks.GracefulStop()  # Ctrl-C ends training; the rest still runs
    checkpoint = kgen.callbacks.Checkpoint(f"{out}/checkpoints", every=500, resume=resume)  # kgen train --resume
    start = time.perf_counter()
    history = model.fit(x, epochs=epochs, batch_size=batch_size, callbacks=[stop, checkpoint])
    train_seconds = time.perf_counter() - start

    run = kgen.Run(out)
    run.save_model(model)
    run.save_preset(model, dtype="float16")  # half the size, the same figures
    run.save_curves(history)
    run.save_samples(model.sample(100, seed=0), columns=10)

    samples = model.sample(len(x_test), seed=1)
    figures = {}
    if data in kgen.metrics.classifiers():
        classifier = kgen.metrics.load_classifier(data)
        figures = kgen.metrics.fidelity_report(samples, train=x, test=x_test, extractor=classifier)
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
        f"A spectrally normalised GAN (Miyato et al. 2018) of {data} with the hinge loss. Samples are in [-1, 1], drawn with the generator's "
        "averaged weights."
    )
    run.export(model)
    if not stop.interrupted:
        checkpoint.clear()


if __name__ == "__main__":
    main()
