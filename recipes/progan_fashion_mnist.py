"""A GAN of Fashion-MNIST that grows while it trains: from 7x7 by 14x14 to 28x28 pixels."""

import time

import keras

import kgen


def main(
    data="fashion_mnist",
    epochs=12,
    batch_size=64,
    seed=0,
    out="saved_models/progan_fashion_mnist",
    image_size=None,
    resume=False,
):
    keras.utils.set_random_seed(seed)

    x, _ = kgen.data.load(data, split="train", image_size=image_size)
    x_test, _ = kgen.data.load(data, split="test", image_size=image_size)

    # A quarter of the steps for growth: with two doublings there are four stages of it, each of a sixteenth, and the rest is at full size.
    steps = epochs * -(-len(x) // batch_size)
    # A Wasserstein discriminator's penalty at each step is twice the work; R1 at every 16th is as good (Karras et al. 2020, StyleGAN2).
    model = kgen.gan.ProgressiveGAN(
        x.shape[1:],
        latent_dim=64,
        stage_steps=max(1, steps // 16),
        width=(96, 48, 24),
        adversarial_loss="non_saturating",
        regularizers=kgen.gan.R1(0.01, every=16),
        ema=0.999,
    )
    # With the paper's 1e-3, ten times the penalty and wider networks, clothes were mottled after seven epochs (Fréchet distance 65.7).
    model.compile(keras.optimizers.Adam(2.5e-3, beta_1=0.0, beta_2=0.99))

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
        stage_steps=model.stage_steps,
        parameters=model.generator.count_params() + model.discriminator.count_params(),
        train_seconds=round(train_seconds, 1),
    )
    run.write_card(
        f"A progressive GAN (Karras et al. 2018) of {data}: equalised learning rates, minibatch deviation, a non-saturating loss with R1. "
        "Samples are in [-1, 1], drawn with the generator's averaged weights."
    )
    run.export(model)
    if not stop.interrupted:
        checkpoint.clear()


if __name__ == "__main__":
    main()
