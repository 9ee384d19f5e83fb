"""Pix2Pix from edges to clothes: what a garment of Fashion-MNIST is filled with, between its lines. 23 minutes on one core."""

import time

import keras
import numpy as np
from scipy import ndimage

import kgen


def edges(x, threshold=2.0):
    """Lines of pictures (N, H, W, C): 1 where Sobel's slope of the grey, which a step from -1 to 1 has 8 of, is steep, else -1, (N, H, W, 1)."""
    grey = x.mean(axis=-1)
    # ndimage.sobel would smooth from one picture to the next, too.
    slopes = [
        ndimage.correlate1d(ndimage.correlate1d(grey, [-1, 0, 1], axis=a), [1, 2, 1], axis=b)
        for a, b in ((1, 2), (2, 1))
    ]
    return np.where(np.hypot(*slopes) > threshold, 1.0, -1.0).astype("float32")[..., None]


def main(
    data="fashion_mnist",
    epochs=8,
    batch_size=16,
    seed=0,
    out="saved_models/pix2pix_fashion_mnist",
    image_size=None,
    resume=False,
):
    keras.utils.set_random_seed(seed)

    x, _ = kgen.data.load(data, split="train", image_size=image_size)
    x_test, y_test = kgen.data.load(data, split="test", image_size=image_size)
    lines, lines_test = edges(x), edges(x_test)

    model = kgen.gan.Pix2Pix(lines.shape[1:], x.shape[1:], ema=0.999)
    model.compile()

    stop = kgen.callbacks.GracefulStop()  # Ctrl-C ends training; the rest still runs
    checkpoint = kgen.callbacks.Checkpoint(f"{out}/checkpoints", every=500, resume=resume)  # kgen train --resume
    start = time.perf_counter()
    history = model.fit(lines, x, epochs=epochs, batch_size=batch_size, callbacks=[stop, checkpoint])
    train_seconds = time.perf_counter() - start

    run = kgen.Run(out)
    run.save_model(model)
    run.save_preset(model, dtype="float16")  # half the size, the same figures
    run.save_curves(history)
    made = model.translate(lines_test)
    columns = min(10, len(x_test))
    rows = []
    for i in range(0, min(3 * columns, len(x_test)), columns):
        part = slice(i, i + columns)
        rows += [np.broadcast_to(lines_test[part], x_test[part].shape), made[part], x_test[part]]
    run.save_picture("samples", np.concatenate(rows), columns=columns)

    figures = {
        "l1": {"value": float(np.abs(made - x_test).mean()), "unit": "of values in [-1, 1]", "samples": len(x_test)}
    }
    if data in kgen.metrics.classifiers():
        classifier = kgen.metrics.load_classifier(data)
        # The lines are of test pictures: the floor, of as many training pictures, is without lines that say what is to be drawn.
        given = {} if y_test is None else {"labels": y_test, "test_labels": y_test}
        figures |= kgen.metrics.fidelity_report(made, train=x, test=x_test, extractor=classifier, **given)
        seen = kgen.metrics.perceptual_distance(made, x_test, classifier)
        figures["perceptual_distance"] = {
            "value": float(seen.mean()),
            "unit": f"from the pictures of the lines, by the maps of the {classifier.name}",
            "samples": len(x_test),
        }
    run.save_metrics(
        figures,
        data=data,
        seed=seed,
        epochs=stop.epochs,
        interrupted=stop.interrupted,
        batch_size=batch_size,
        training_steps=int(model.optimizer["generator"].iterations),
        parameters=model.generator.count_params() + model.discriminator.count_params(),
        train_seconds=round(train_seconds, 1),
    )
    run.write_card(
        f"Pix2Pix (Isola et al. 2017) of {data}: `translate(lines)` fills the lines of a picture, which a Sobel filter finds. In samples.png "
        "each three rows are lines, what is made of them, and the pictures that they were found in, of the test split."
    )
    run.export(model)
    if not stop.interrupted:
        checkpoint.clear()


if __name__ == "__main__":
    main()
