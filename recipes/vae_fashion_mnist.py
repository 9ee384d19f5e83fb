"""A variational autoencoder of Fashion-MNIST, and a mixture of Gaussians of its codes to sample from."""

import math
import time

import keras
import numpy as np

import kgen


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
    train_seconds = time.perf_counter() - start

    # The decoder knows the codes of clothes, and a standard normal draws many that are none. So what is sampled, saved and served draws
    # from a mixture that is fitted to the codes, one draw of each example's posterior.
    components = min(60, max(1, len(x) // 30))
    refit = kgen.hybrid.PriorRefit(model, kgen.vae.GaussianMixture(model.latent_shape, components))
    refit.fit(x)

    run = kgen.Run(out)
    run.save_model(refit)
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
    # A density says nothing of levels: with uniform noise as wide as one of 256 levels, its mean is a bound of the level's probability.
    level = 2 / 256
    noise = np.random.default_rng(seed).uniform(size=x_test[:500].shape)
    noisy = ((x_test[:500] + 1) * 127.5 + noise) * level - 1
    for found, m in ((figures, refit), (normal, model)):
        bits = kgen.core.bits_per_dim(m.log_prob(noisy.astype("float32"), num_samples=50), x.shape[1:]) - math.log2(
            level
        )
        found["bits_per_dim"] = {
            "value": float(bits.mean()),
            "unit": "bits/dim, upper bound of 50 importance samples and uniform noise, 256 levels",
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
        f"A variational autoencoder of {data} with 24 latent dimensions and a Gaussian likelihood whose deviation is measured in training. "
        f"Its prior is a mixture of {components} Gaussians with full covariances, fitted to the codes of the training images after "
        "training; figures of the standard normal that it was trained with stand beside, and standard_normal.png shows its samples. "
        "Samples are the means of p(x | z), in [-1, 1]."
    )
    run.export(refit)
    if not stop.interrupted:
        checkpoint.clear()


if __name__ == "__main__":
    main()
