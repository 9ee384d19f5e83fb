"""A DCGAN of 8x8 digits: a few minutes on two cores."""

import time

import keras
import numpy as np

import kgen


def main(
    data="digits", epochs=200, batch_size=64, seed=0, out="saved_models/dcgan_digits", image_size=None, resume=False
):
    keras.utils.set_random_seed(seed)

    x, _ = kgen.data.load(data, split="train", image_size=image_size)
    x_test, _ = kgen.data.load(data, split="test", image_size=image_size)

    model = kgen.gan.DCGAN(x.shape[1:], latent_dim=50, widths=(48, 96), ema=0.999)
    steps = epochs * -(-len(x) // batch_size)

    def adam():
        return keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(5e-4, steps), beta_1=0.5)

    model.compile({"generator": adam(), "discriminator": adam()})

    stop = kgen.callbacks.GracefulStop()  # Ctrl-C ends training; the rest still runs
    checkpoint = kgen.callbacks.Checkpoint(f"{out}/checkpoints", every=200, resume=resume)  # kgen train --resume
    start = time.perf_counter()
    history = model.fit(x, epochs=epochs, batch_size=batch_size, callbacks=[stop, checkpoint])
    train_seconds = time.perf_counter() - start

    run = kgen.Run(out)
    run.save_model(model)
    run.save_preset(model, dtype="float16")  # half the size, the same figures
    run.save_curves(history)
    run.save_samples(model.sample(64, seed=0))
    # Each row goes along a straight line from one latent vector to another.
    a, b = np.random.default_rng(0).uniform(-1, 1, (2, 8, 1, model.latent_dim)).astype("float32")
    between = (a + (b - a) * np.linspace(0, 1, 10, dtype="float32")[:, None]).reshape(-1, model.latent_dim)
    run.save_picture("interpolations", model.decode(between), columns=10)

    samples = model.sample(len(x), seed=1)
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
        generator_loss=history.history["generator_loss"][-1],
        discriminator_loss=history.history["discriminator_loss"][-1],
        train_seconds=round(train_seconds, 1),
    )
    run.write_card(
        f"A deep convolutional GAN (Radford et al. 2016) of {data}: z is uniform on [-1, 1]^50, samples are in [-1, 1]. Samples are drawn "
        "with the generator's averaged weights."
    )
    run.export(model)
    if not stop.interrupted:
        checkpoint.clear()


if __name__ == "__main__":
    main()
