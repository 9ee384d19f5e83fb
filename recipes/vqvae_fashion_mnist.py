"""A VQ-VAE of Fashion-MNIST, each image as 7x7 codes out of 256, and a PixelCNN of its codes to sample from."""

import time

import keras
import numpy as np

import kgen


def main(
    data="fashion_mnist",
    epochs=3,
    batch_size=64,
    seed=0,
    out="saved_models/vqvae_fashion_mnist",
    image_size=None,
    resume=False,
):
    keras.utils.set_random_seed(seed)

    x, _ = kgen.data.load(data, split="train", image_size=image_size)
    x_test, _ = kgen.data.load(data, split="test", image_size=image_size)

    # Two strides: 28x28 becomes 7x7. Few numbers for each code keep the latents small for a diffusion model on top.
    model = kgen.vae.VQVAE(x.shape[1:], num_codes=256, code_dim=8)
    steps = epochs * -(-len(x) // batch_size)
    learning_rate = keras.optimizers.schedules.CosineDecay(1e-3, steps)
    # On a CPU, TensorFlow's own convolutions are faster than XLA's.
    jit_compile = keras.config.backend() == "jax"
    model.compile(optimizer=keras.optimizers.AdamW(learning_rate, weight_decay=1e-4), jit_compile=jit_compile)

    stop = kgen.callbacks.GracefulStop()  # Ctrl-C ends training; the rest still runs
    checkpoint = kgen.callbacks.Checkpoint(f"{out}/checkpoints", every=200, resume=resume)  # kgen train --resume
    start = time.perf_counter()
    history = model.fit(
        x, epochs=epochs, batch_size=batch_size, validation_data=(x_test,), callbacks=[stop, checkpoint]
    )
    train_seconds = time.perf_counter() - start

    # The prior of the codes, which knows what stands beside what.
    prior = kgen.autoregressive.CodePixelCNN([model.code_shape], model.num_codes, channels=64, blocks=5, ema=0.999)
    pair = kgen.hybrid.PriorRefit(model, prior)
    prior_epochs = 2 * epochs
    steps = prior_epochs * -(-len(x) // batch_size)
    learning_rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps, warmup_target=2e-3, warmup_steps=min(200, steps // 2)
    )
    pair.compile(optimizer=keras.optimizers.Adam(learning_rate, clipnorm=1.0), jit_compile=jit_compile)
    stop_prior = kgen.callbacks.GracefulStop()
    checkpoint_prior = kgen.callbacks.Checkpoint(f"{out}/checkpoints/prior", every=200, resume=resume)
    start = time.perf_counter()
    history_prior = pair.fit(
        x,
        epochs=prior_epochs,
        batch_size=batch_size,
        validation_data=(x_test,),
        callbacks=[stop_prior, checkpoint_prior],
    )
    prior_seconds = time.perf_counter() - start

    run = kgen.Run(out)
    run.save_model(pair)
    run.save_preset(pair, dtype="float16")  # half the size, the same figures
    run.save_facts(pair, x_test)  # what kgen demo shows of the data
    run.save_curves(history)
    run.save_samples(pair.sample(100, seed=0))
    run.save_picture("independent", model.sample(100, seed=0))
    reconstructions = model.reconstruct(x_test)
    # Rows of originals, each above the row of their reconstructions.
    pairs = (
        np.stack([x_test[:50], reconstructions[:50]]).reshape(2, -1, 10, *x.shape[1:]) if len(x_test) >= 50 else None
    )
    if pairs is not None:
        run.save_picture("reconstructions", pairs.swapaxes(0, 1).reshape(-1, *x.shape[1:]), columns=10)

    error = float(np.square(reconstructions - x_test).mean())
    codes = model.encode(x_test)
    share = np.bincount(codes.ravel(), minlength=model.num_codes) / codes.size
    figures = {
        "mean_squared_error": {"value": error, "unit": "of values in [-1, 1]", "samples": len(x_test)},
        "psnr": {"value": float(10 * np.log10(4 / error)), "unit": "dB", "samples": len(x_test)},
        "perplexity": {
            "value": float(np.exp(-(share * np.log(np.maximum(share, 1e-12))).sum())),
            "unit": f"codes of {model.num_codes}, over the test data",
            "samples": len(x_test),
        },
        "bits_per_image": {
            "value": float(np.log2(model.num_codes) * codes[0].size),
            "unit": "bits, length of the code",
        },
        "bits": {
            "value": pair.evaluate(x_test, batch_size=batch_size, verbose=0, return_dict=True)["bits"],
            "unit": "bits of an image's codes under the prior",
            "samples": len(x_test),
        },
    }
    if data in kgen.metrics.classifiers():
        classifier = kgen.metrics.load_classifier(data)
        generated = {
            "reconstruction": model.reconstruct(
                x[: len(x_test)]
            ),  # of training images: the test images are the reference
            "sample": pair.sample(len(x_test), seed=1),
            "independent": model.sample(len(x_test), seed=1),
        }
        for what, images in generated.items():
            report = kgen.metrics.fidelity_report(images, train=x, test=x_test, extractor=classifier)
            figures.update({f"{what}_{name}": figure for name, figure in report.items()})
    run.save_metrics(
        figures,
        data=data,
        seed=seed,
        epochs=stop.epochs,
        prior_epochs=stop_prior.epochs,
        interrupted=stop.interrupted or stop_prior.interrupted,
        batch_size=batch_size,
        parameters=model.encoder.count_params() + model.decoder.count_params() + model.num_codes * model.code_dim,
        prior_parameters=prior.network.count_params(),
        final_loss=history.history["loss"][-1],
        final_prior_loss=history_prior.history["loss"][-1],
        train_seconds=round(train_seconds, 1),
        prior_seconds=round(prior_seconds, 1),
    )
    run.write_card(
        f"A VQ-VAE of {data}: each image becomes a map of {' x '.join(map(str, model.code_shape))} codes out of {model.num_codes}, and "
        "back. reconstructions.png shows test images, each row above its reconstructions. Samples are of a PixelCNN of the codes, "
        "fitted after training; independent.png, and figures called so, draw every code by its frequency at its place alone. "
        "The floor of the reconstructions' figures is that of training images."
    )
    run.export(pair)
    if not (stop.interrupted or stop_prior.interrupted):
        checkpoint_prior.clear()
        checkpoint.clear()


if __name__ == "__main__":
    main()
