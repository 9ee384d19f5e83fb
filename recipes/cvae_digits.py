"""A conditional variational autoencoder of 8x8 digits: the class is given, the code is the hand that wrote it: three minutes on two cores."""

import time

import keras
import numpy as np

import kgen


def main(
    data="digits", epochs=150, batch_size=64, seed=0, out="saved_models/cvae_digits", image_size=None, resume=False
):
    keras.utils.set_random_seed(seed)

    x, y = kgen.data.load(data, split="train", image_size=image_size)
    x_test, y_test = kgen.data.load(data, split="test", image_size=image_size)
    classes = int(y.max()) + 1

    # Pixels of the digits have 17 levels; their likelihood is then a probability, and bits/dim mean what they say.
    levels = 17 if data == "digits" else 256
    observation = kgen.vae.DiscretizedLogisticLikelihood(components=3, levels=levels)
    model = kgen.vae.ConditionalVAE(
        x.shape[1:], latent_dim=12, num_classes=classes, observation=observation, kl_warmup=1000, ema=0.995
    )
    steps = epochs * -(-len(x) // batch_size)
    learning_rate = keras.optimizers.schedules.CosineDecay(2e-3, steps)
    model.compile(optimizer=keras.optimizers.AdamW(learning_rate, weight_decay=1e-3))

    stop = kgen.callbacks.GracefulStop()  # Ctrl-C ends training; the rest still runs
    checkpoint = kgen.callbacks.Checkpoint(f"{out}/checkpoints", every=200, resume=resume)  # kgen train --resume
    start = time.perf_counter()
    history = model.fit(
        x, y, epochs=epochs, batch_size=batch_size, validation_data=(x_test, y_test), callbacks=[stop, checkpoint]
    )
    train_seconds = time.perf_counter() - start

    run = kgen.Run(out)
    run.save_model(model)
    run.save_preset(model, dtype="float16")  # half the size, the same figures
    run.save_curves(history)
    run.save_samples(model.sample(8 * classes, seed=0, labels=np.tile(np.arange(classes), 8)), columns=classes)
    # A test image a row, its code under every class: the hand stays, the digit changes.
    first = np.unique(y_test, return_index=True)[1]
    z = model.encode(x_test[first], labels=y_test[first])
    hands = model.decode(np.repeat(z, classes, axis=0), labels=np.tile(np.arange(classes), len(first)))
    rows = np.concatenate([x_test[first][:, None], hands.reshape(len(first), classes, *x.shape[1:])], axis=1)
    run.save_picture("hands", rows.reshape(-1, *x.shape[1:]), columns=1 + classes)

    figures = {}
    if data in kgen.metrics.classifiers():
        classifier = kgen.metrics.load_classifier(data)
        figures = kgen.metrics.fidelity_report(
            model.sample(len(x), seed=1, labels=y),
            train=x,
            test=x_test,
            extractor=classifier,
            labels=y,
            test_labels=y_test,
        )
    bits = kgen.core.bits_per_dim(model.log_prob(x_test, labels=y_test, num_samples=200), x.shape[1:])
    figures["bits_per_dim"] = {
        "value": float(bits.mean()),
        "unit": f"bits/dim of x given its class, upper bound of 200 importance samples, {levels} levels",
        "samples": len(x_test),
        "standard_error": float(bits.std() / len(bits) ** 0.5),
    }
    elbo = model.evaluate(x_test, y_test, verbose=0, return_dict=True)
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
        f"A conditional variational autoencoder (Sohn et al. 2015) of {data} with 12 latent dimensions and a mixture of discretised logistics "
        "as likelihood. A column of samples.png is a class; in hands.png each row is the code of the test image at its left under every "
        "class. Samples are the means of p(x | z, y), in [-1, 1]."
    )
    run.export(model)
    if not stop.interrupted:
        checkpoint.clear()


if __name__ == "__main__":
    main()
