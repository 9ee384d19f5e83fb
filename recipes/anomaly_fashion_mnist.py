"""Finding a kind of image that a model has not seen: bags among the other clothes of Fashion-MNIST, by a VAE.

Twenty minutes on one core, most of them for the likelihoods.
"""

import time

import keras
import numpy as np

import kgen


def main(
    data="fashion_mnist",
    epochs=2,
    batch_size=128,
    seed=0,
    out="saved_models/anomaly_fashion_mnist",
    image_size=None,
    resume=False,
):
    keras.utils.set_random_seed(seed)
    held_out = 8  # the class that plays the anomaly
    x, y = kgen.data.load(data, split="train", image_size=image_size)
    x_test, y_test = kgen.data.load(data, split="test", image_size=image_size)
    if y is None or held_out not in y:
        raise ValueError(f"data: expected labelled images with a class {held_out} to hold out, {data} has none.")
    train = x[y != held_out]

    observation = kgen.vae.GaussianLikelihood()
    model = kgen.vae.VAE(x.shape[1:], latent_dim=16, observation=observation, ema=0.995)
    steps = epochs * -(-len(train) // batch_size)
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(2e-3, steps), clipnorm=10.0))
    stop = kgen.callbacks.GracefulStop()  # Ctrl-C ends training; the rest still runs
    checkpoint = kgen.callbacks.Checkpoint(f"{out}/checkpoints", every=200, resume=resume)  # kgen train --resume
    start = time.perf_counter()
    history = model.fit(train, epochs=epochs, batch_size=batch_size, callbacks=[stop, checkpoint])
    seconds = time.perf_counter() - start

    # Normal test images set the threshold and are told from the anomalies: half of them each.
    normal, unusual = x_test[y_test != held_out], x_test[y_test == held_out]
    half = len(normal) // 2
    figures = {}
    for by in ("reconstruction", "likelihood"):
        usual, strange = (kgen.apply.anomaly.scores(model, images, by=by) for images in (normal[half:], unusual))
        figures[f"auroc_{by}"] = {
            "value": kgen.apply.anomaly.auroc(usual, strange),
            "floor": kgen.apply.anomaly.auroc(usual, kgen.apply.anomaly.scores(model, train[: len(unusual)], by=by)),
            "unit": "AUROC; the floor is that of training images, which are no anomalies",
            "samples": len(usual) + len(strange),
        }
    detector = kgen.apply.anomaly.Detector(model, normal[:half], by="reconstruction")
    figures["caught"] = {
        "value": float(detector(unusual).mean()),
        "floor": float(detector(normal[half:]).mean()),
        "unit": "share of anomalies above the threshold of 5 % false alarms; the floor is that of normal images",
        "samples": len(unusual),
    }

    run = kgen.Run(out)
    run.save_model(model)
    run.save_preset(model, dtype="float16")  # half the size, the same figures
    run.save_curves(history)
    order = np.argsort(kgen.apply.anomaly.scores(model, x_test, by="reconstruction"))
    run.save_picture("samples", x_test[order[-64:]])  # the most unusual test images
    run.save_picture("usual", x_test[order[:64]])
    run.save_metrics(
        figures,
        data=data,
        seed=seed,
        epochs=stop.epochs,
        interrupted=stop.interrupted,
        batch_size=batch_size,
        parameters=model.count_params(),
        train_seconds=round(seconds, 1),
    )
    run.write_card(
        f"A VAE of {data} without class {held_out}, which scores how unusual an image is. samples.png shows the test images with the "
        "largest reconstruction errors, usual.png those with the smallest."
    )
    run.export(model)
    if not stop.interrupted:
        checkpoint.clear()


if __name__ == "__main__":
    main()
