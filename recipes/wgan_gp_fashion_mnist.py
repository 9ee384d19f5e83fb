"""A Wasserstein GAN with gradient penalty on Fashion-MNIST, as far as about twelve minutes on a CPU go."""

import time

import keras
from keras import layers

import kgen


def main(
    data="fashion_mnist",
    epochs=4,
    batch_size=192,
    seed=0,
    out="saved_models/wgan_gp_fashion_mnist",
    image_size=None,
    resume=False,
):
    keras.utils.set_random_seed(seed)

    x, _ = kgen.data.load(data, split="train", image_size=image_size)
    x_test, _ = kgen.data.load(data, split="test", image_size=image_size)

    # Strided 5x5 convolutions as in DCGAN, without BatchNorm in the critic: its penalty is one of each image.
    def convolution(filters):
        return layers.Conv2D(filters, 5, strides=2, padding="same", activation="leaky_relu")

    critic = [keras.Input(x.shape[1:]), convolution(24), convolution(48), layers.Flatten(), layers.Dense(1)]
    model = kgen.gan.WGANGP(
        x.shape[1:],
        latent_dim=64,
        generator=kgen.gan.DCGANGenerator(64, x.shape[1:], widths=(24, 48)),
        discriminator=keras.Sequential(critic, name="critic"),
        n_critic=3,
        ema=0.99,
    )
    # One step of the generator for a batch, which three critic steps share: 64 images each. The paper's learning rate is 1e-4, for a
    # hundred times as many steps.
    model.compile(keras.optimizers.Adam(5e-4, beta_1=0.0, beta_2=0.9))

    stop = kgen.callbacks.GracefulStop()  # Ctrl-C ends training; the rest still runs
    checkpoint = kgen.callbacks.Checkpoint(f"{out}/checkpoints", every=200, resume=resume)  # kgen train --resume
    start = time.perf_counter()
    history = model.fit(x, epochs=epochs, batch_size=batch_size, callbacks=[stop, checkpoint])
    train_seconds = time.perf_counter() - start

    run = kgen.Run(out)
    run.save_model(model)
    run.save_curves(history)
    run.save_samples(model.sample(100, seed=0), columns=10)

    samples = model.sample(len(x_test), seed=1)
    figures = {}
    if data in kgen.metrics.classifiers():
        classifier = kgen.metrics.load_classifier(data)
        figures = kgen.metrics.fidelity_report(samples, train=x, test=x_test, extractor=classifier)
    figures["critic_distance"] = {
        "value": history.history["real_logit"][-1] - history.history["fake_logit"][-1],
        "unit": "Euclidean distance of images, the critic's estimate of Wasserstein-1",
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
        critic_steps=int(model.optimizer["discriminator"].iterations),
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
