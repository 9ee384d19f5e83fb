"""A variational autoencoder of Fashion-MNIST, and a mixture of Gaussians of its codes to sample from."""

import time

import keras

import kgen


def with_levels(means, x, epochs, batch_size, stop, components=3):
    """The VAE ``means`` with a likelihood of levels around its means, trained on images x with all else as it is."""
    size, (height, width, channels) = means.latent_dim, means.shape
    decoder, count = means.averaged("decoder"), 3 * components
    spread = kgen.networks.ConvDecoder(
        size, (height, width, channels * count), channels=(32, 48), dense=64, convs=0, name="spread"
    )
    z = keras.Input((size,))
    each = [
        keras.layers.Reshape((height, width, channels, n))(network(z)) for network, n in ((decoder, 1), (spread, count))
    ]
    decoder.trainable = False
    both = keras.layers.Reshape((height, width, -1))(keras.layers.Concatenate()(each))
    model = kgen.vae.VAE(
        means.shape,
        size,
        encoder=means.averaged("encoder"),
        decoder=keras.Model(z, both),
        observation=kgen.vae.MeanAndLevelsLikelihood(components),
    )
    model.encoder.trainable = False
    learning_rate = keras.optimizers.schedules.CosineDecay(2e-3, epochs * -(-len(x) // batch_size))
    model.compile(optimizer=keras.optimizers.AdamW(learning_rate, weight_decay=1e-4, clipnorm=100.0))
    if not stop.interrupted:
        second = kgen.callbacks.GracefulStop()
        model.fit(x, epochs=epochs, batch_size=batch_size, callbacks=[second])
        stop.interrupted = second.interrupted
    return model


def main(
    data="fashion_mnist",
    epochs=6,
    batch_size=64,
    seed=0,
    out="saved_models/vae_fashion_mnist",
    image_size=None,
    resume=False,
):
    keras.utils.set_random_seed(seed)

    x, _ = kgen.data.load(data, split="train", image_size=image_size)
    x_test, _ = kgen.data.load(data, split="test", image_size=image_size)

    # The deviation that fits best at each moment says how much a wrong grey costs: with it codes keep what a picture needs. Three quarters
    # of the weights are the dense layers' as it is, so those are narrow.
    encoder = kgen.networks.ConvEncoder(x.shape[1:], 2 * 24, channels=(64, 128), dense=128, convs=0)
    decoder = kgen.networks.ConvDecoder(24, x.shape[1:], channels=(64, 128), dense=128, convs=0)
    model = kgen.vae.VAE(
        x.shape[1:],
        latent_dim=24,
        encoder=encoder,
        decoder=decoder,
        observation=kgen.vae.GaussianLikelihood("analytic"),
        ema=0.999,
    )
    steps = epochs * -(-len(x) // batch_size)
    learning_rate = keras.optimizers.schedules.CosineDecay(1e-3, steps)
    model.compile(optimizer=keras.optimizers.AdamW(learning_rate, weight_decay=1e-4, clipnorm=100.0))

    stop = kgen.callbacks.GracefulStop()  # Ctrl-C ends training; the rest still runs
    checkpoint = kgen.callbacks.Checkpoint(f"{out}/checkpoints", every=200, resume=resume)  # kgen train --resume
    start = time.perf_counter()
    history = model.fit(
        x, epochs=epochs, batch_size=batch_size, validation_data=(x_test,), callbacks=[stop, checkpoint]
    )
    # One deviation for all greys is a poor account of a background that is always black: with codes and means as they are, a small decoder says
    # how much each grey may lie beside them.
    model = with_levels(model, x, max(1, epochs // 2), batch_size, stop)
    train_seconds = time.perf_counter() - start

    # The decoder knows the codes of clothes, and a standard normal draws many that are none. So what is sampled, saved and served draws
    # from a mixture that is fitted to the codes, one draw of each example's posterior.
    components = min(60, max(1, len(x) // 30))
    refit = kgen.hybrid.PriorRefit(model, kgen.vae.GaussianMixture(model.latent_shape, components))
    refit.fit(x)

    run = kgen.Run(out)
    run.save_model(refit)
    run.save_preset(refit, dtype="float16")  # half the size, the same figures
    run.save_facts(refit, x_test, log_prob={"num_samples": 50})  # what kgen demo shows of the data
    run.save_curves(history)
    run.save_samples(refit.sample(100, seed=0))
    run.save_picture("standard_normal", model.sample(100, seed=0))
    # A row from one test image to another; a row for each latent coordinate of one of them.
    half = min(8, len(x_test) // 2)
    between = model.interpolate(x_test[:half], x_test[half : 2 * half], steps=10)
    run.save_picture("interpolations", between.reshape(-1, *x.shape[1:]), columns=10)
    run.save_picture("traversals", model.traverse(x_test[0], steps=9).reshape(-1, *x.shape[1:]), columns=9)

    # 10,000 samples against 10,000 training images, both measured on the test images.
    count = min(10_000, len(x))
    figures, normal = {}, {}
    if data in kgen.metrics.classifiers():
        classifier = kgen.metrics.load_classifier(data)
        figures, normal, copies = (
            kgen.metrics.fidelity_report(images, train=x, test=x_test, extractor=classifier)
            for images in (refit.sample(count, seed=1), model.sample(count, seed=1), model.reconstruct(x[:count]))
        )
        figures["reconstructions_frechet_distance"] = copies["frechet_distance"]
    images = kgen.data.at_levels(x_test[:500])
    for found, m in ((figures, refit), (normal, model)):
        bits = kgen.core.bits_per_dim(m.log_prob(images, num_samples=50), x.shape[1:])
        found["bits_per_dim"] = {
            "value": float(bits.mean()),
            "unit": "bits/dim, upper bound of 50 importance samples, 256 levels",
            "samples": len(bits),
            "standard_error": float(bits.std() / len(bits) ** 0.5),
        }
    figures |= {f"standard_normal_{name}": figure for name, figure in normal.items()}
    elbo = model.evaluate(x_test, verbose=0, return_dict=True)
    figures["elbo"] = {"value": -elbo["loss"], "unit": "nats per example", "samples": len(x_test)}
    figures["kl"] = {"value": elbo["kl"], "unit": "nats per example", "samples": len(x_test)}
    run.save_metrics(
        figures,
        data=data,
        seed=seed,
        epochs=stop.epochs,
        interrupted=stop.interrupted,
        batch_size=batch_size,
        parameters=model.encoder.count_params() + model.decoder.count_params(),
        final_loss=history.history["loss"][-1],
        train_seconds=round(train_seconds, 1),
    )
    run.write_card(
        f"A variational autoencoder of {data} with 24 latent dimensions, trained by a Gaussian likelihood whose deviation is measured in training; "
        "with its codes and means as they are, a second decoder was trained to give a mixture of logistics around each mean, which is the "
        "likelihood. "
        f"Its prior is a mixture of {components} Gaussians with full covariances, fitted to the codes of the training images after "
        "training; figures of the standard normal that it was trained with stand beside, and standard_normal.png shows its samples. "
        "Samples are the first decoder's means, in [-1, 1]."
    )
    run.export(refit)
    if not stop.interrupted:
        checkpoint.clear()


if __name__ == "__main__":
    main()
