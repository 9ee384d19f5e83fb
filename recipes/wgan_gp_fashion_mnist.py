"""A Wasserstein GAN with gradient penalty on Fashion-MNIST, as far as half an hour on two cores goes."""

import time

import keras

import kgen


def main(
    data="fashion_mnist",
    epochs=14,
    batch_size=64,
    seed=0,
    out="saved_models/wgan_gp_fashion_mnist",
    image_size=None,
    resume=False,
):
    keras.utils.set_random_seed(seed)

    x, _ = kgen.data.load(data, split="train", image_size=image_size)
    x_test, _ = kgen.data.load(data, split="test", image_size=image_size)

    # The discriminator has no normalisation: its penalty is one of each image.
    shape = x.shape[1:]
    model = kgen.gan.WGANGP(
        shape,
        latent_dim=64,
        generator=kgen.gan.Generator(64, shape, widths=(32, 64)),
        discriminator=kgen.gan.Discriminator(shape, widths=(32, 64)),
        n_critic=1,
        ema=0.999,
    )
    # Two time scales (Heusel et al. 2017): the discriminator learns faster, rather than oftener. The paper's rate is 1e-4, for ten times as many
    # steps.
    steps = epochs * -(-len(x) // batch_size)

    def adam(learning_rate):
        learning_rate = keras.optimizers.schedules.CosineDecay(learning_rate, steps)
        return keras.optimizers.Adam(learning_rate, beta_1=0.0, beta_2=0.9)

    model.compile({"generator": adam(3e-4), "discriminator": adam(6e-4)})

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
    figures["discriminator_distance"] = {
        "value": history.history["real_logit"][-1] - history.history["fake_logit"][-1],
        "unit": "Euclidean distance of images, the discriminator's estimate of Wasserstein-1",
        "samples": len(x),
    }
    run.save_metrics(
        figures,
        data=data,
        seed=seed,
        epochs=stop.epochs,
        interrupted=stop.interrupted,
        batch_size=batch_size,
        generator_steps=int(model.optimizer["generator"].iterations),
        discriminator_steps=int(model.optimizer["discriminator"].iterations),
        parameters=model.generator.count_params() + model.discriminator.count_params(),
        train_seconds=round(train_seconds, 1),
    )
    run.write_card(
        f"A Wasserstein GAN with gradient penalty (Gulrajani et al. 2017) of {data}, small networks and few steps: the settings below say "
        "how many. Samples are in [-1, 1], drawn with the generator's averaged weights."
    )
    run.export(model)
    if not stop.interrupted:
        checkpoint.clear()


if __name__ == "__main__":
    main()
