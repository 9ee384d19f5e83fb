"""A VQ-VAE-2 of Fashion-MNIST, each image as 7x7 codes above 14x14, and a PixelCNN of the codes of both levels to sample from."""

import time

import keras
import numpy as np

import kgen


def main(
    data="fashion_mnist",
    epochs=5,
    batch_size=64,
    seed=0,
    out="saved_models/vqvae2_fashion_mnist",
    image_size=None,
    resume=False,
):
    keras.utils.set_random_seed(seed)

    x, y = kgen.data.load(data, split="train", image_size=image_size)
    x_test, y_test = kgen.data.load(data, split="test", image_size=image_size)
    classes = None if y is None else kgen.data.class_names(data, y)

    # Short codes and few of them: the fewer there are, the better they are told apart by the prior.
    sides = [(x.shape[1] // n, x.shape[2] // n) for n in (4, 2)]
    vectors, channels = tuple((*side, 8) for side in sides), (64, 48, 24)
    model = kgen.vae.VQVAE2(
        x.shape[1:],
        num_codes=32,
        code_dim=8,
        encoder=kgen.networks.LadderEncoder(x.shape[1:], vectors, channels),
        decoder=kgen.networks.LadderDecoder(vectors, x.shape[1:], channels, stochastic=False),
    )
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

    # The prior: the codes of the top given the class, and those below given all of the top. What is wrong in the few codes of the top is wrong
    # in the whole picture, so that the wider network is theirs.
    prior = kgen.autoregressive.CodePixelCNN(
        model.code_shapes, model.num_codes, channels=(48, 32), blocks=(5, 4), num_classes=classes, ema=0.999
    )
    pair = kgen.hybrid.PriorRefit(model, prior)
    prior_epochs = epochs + epochs // 2 + 1
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
        y,
        epochs=prior_epochs,
        batch_size=batch_size,
        validation_data=(x_test,) if y is None else (x_test, y_test),
        callbacks=[stop_prior, checkpoint_prior],
    )
    prior_seconds = time.perf_counter() - start

    run = kgen.Run(out)
    run.save_model(pair)
    run.save_preset(pair, dtype="float16")  # half the size, the same figures
    run.save_facts(pair, x_test)  # what kgen demo shows of the data
    run.save_curves(history)
    labels = {} if y is None else {"labels": [i % len(classes) for i in range(100)]}
    run.save_samples(pair.sample(100, seed=0, **labels), columns=10)
    run.save_picture("independent", model.sample(100, seed=0))
    reconstructions = model.reconstruct(x_test)
    # Rows of test images: originals, what both levels make of them, and what the top makes of them with draws of the level below.
    few = min(10, len(x_test))
    top = int(np.prod(model.code_shapes[0]))
    labels = {} if y is None else {"labels": y_test[:few]}
    mixed = pair.prior.sample(few, seed=0, above=model.encode(x_test[:few])[:, :top], **labels)
    rows = np.concatenate([x_test[:few], reconstructions[:few], model.decode(mixed)])
    run.save_picture("reconstructions", rows, columns=few)

    error = float(np.square(reconstructions - x_test).mean())
    bits = pair.evaluate(x_test, y_test, batch_size=batch_size, verbose=0, return_dict=True)
    length = len(mixed[0]) * np.log2(model.num_codes)
    figures = {
        "mean_squared_error": {"value": error, "unit": "of values in [-1, 1]", "samples": len(x_test)},
        "psnr": {"value": float(10 * np.log10(4 / error)), "unit": "dB", "samples": len(x_test)},
        "bits_per_image": {"value": float(length), "unit": "bits, length of the codes of both levels"},
    }
    for name, what in (("bits", "both levels"), ("bits_0", "the top"), ("bits_1", "the level below, given the top")):
        unit = f"bits of {what} under the prior"
        figures[name] = {"value": bits[name], "unit": unit, "samples": len(x_test)}
    if data in kgen.metrics.classifiers():
        classifier = kgen.metrics.load_classifier(data)
        count = min(10_000, len(x))
        labels = None if y is None else y[:count]
        generated = {
            "": (pair.sample(count, seed=1, labels=labels), labels),
            "independent_": (model.sample(count, seed=1), None),
            "reconstruction_": (
                model.reconstruct(x[:count]),
                None,
            ),  # of training images: the test images are the reference
        }
        for what, (images, labels) in generated.items():
            report = kgen.metrics.fidelity_report(
                images, train=x, test=x_test, extractor=classifier, labels=labels, test_labels=y_test
            )
            figures |= {f"{what}{name}": figure for name, figure in report.items()}
    run.save_metrics(
        figures,
        data=data,
        seed=seed,
        epochs=stop.epochs,
        prior_epochs=stop_prior.epochs,
        interrupted=stop.interrupted or stop_prior.interrupted,
        batch_size=batch_size,
        parameters=model.encoder.count_params() + model.decoder.count_params() + 2 * model.num_codes * model.code_dim,
        prior_parameters=prior.network.count_params(),
        final_loss=history.history["loss"][-1],
        final_prior_loss=history_prior.history["loss"][-1],
        train_seconds=round(train_seconds, 1),
        prior_seconds=round(prior_seconds, 1),
    )
    shapes = " above ".join(" x ".join(map(str, shape)) for shape in model.code_shapes)
    run.write_card(
        f"A VQ-VAE-2 of {data}, each image as {shapes} codes out of {model.num_codes}, and a PixelCNN of the codes given the class, of "
        "which those of the lower level are drawn given all of the top. independent.png, and figures called so, draw every code by its "
        "frequency at its place alone. reconstructions.png has test images, their reconstructions, and images of their top codes with draws "
        "of those below."
    )
    run.export(pair)
    if not (stop.interrupted or stop_prior.interrupted):
        checkpoint_prior.clear()
        checkpoint.clear()


if __name__ == "__main__":
    main()
