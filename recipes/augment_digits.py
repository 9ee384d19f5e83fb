"""A classifier of digits from ten of each, without and with samples of a diffusion model that saw no more: 15 minutes on one core."""

import time

import keras
import numpy as np

import kgen


def main(
    data="digits", epochs=1500, batch_size=50, seed=0, out="saved_models/augment_digits", image_size=None, resume=False
):
    keras.utils.set_random_seed(seed)
    x, y = kgen.data.load(data, split="train", image_size=image_size)
    x_test, y_test = kgen.data.load(data, split="test", image_size=image_size)
    if y is None:
        raise ValueError(f"data: expected labelled images, {data} has no labels.")
    num_classes = int(y.max()) + 1
    rows = np.concatenate([np.flatnonzero(y == label)[:10] for label in range(num_classes)])
    few_x, few_y = x[rows], y[rows]

    network = kgen.networks.UNet(
        x.shape[1:], channels=(24, 48), blocks=1, attention=(False, True), num_classes=num_classes, dropout=0.3
    )
    model = kgen.diffusion.DDPM(
        x.shape[1:],
        network=network,
        schedule="cosine",
        prediction="velocity",
        num_classes=num_classes,
        sampler="ddim",
        ema=0.99,
    )
    steps = epochs * -(-len(few_x) // batch_size)
    learning_rate = keras.optimizers.schedules.CosineDecay(0.0, steps, warmup_target=2e-3, warmup_steps=steps // 20)
    model.compile(keras.optimizers.AdamW(learning_rate, weight_decay=1e-2, clipnorm=1.0))
    stop = kgen.callbacks.GracefulStop()  # Ctrl-C ends training; the rest still runs
    checkpoint = kgen.callbacks.Checkpoint(f"{out}/checkpoints", every=500, resume=resume)  # kgen train --resume
    start = time.perf_counter()
    history = model.fit(
        few_x,
        few_y,
        epochs=epochs,
        batch_size=batch_size,
        verbose=2 if epochs < 20 else 0,
        callbacks=[stop, checkpoint],
    )
    seconds = time.perf_counter() - start

    found = kgen.apply.augment.compare(model, few_x, few_y, x_test, y_test, per_class=100, seed=seed)
    others = np.setdiff1d(np.arange(len(x)), rows)
    real = kgen.apply.augment.compare(
        _Data(x[others], y[others]), few_x, few_y, x_test, y_test, per_class=100, seed=seed
    )
    figures = {
        "accuracy": {
            "value": found["after"],
            "floor": found["before"],
            "unit": "share of test images, by logistic regression; the floor is that of the real examples alone",
            "standard_error": found["standard_error"],
            "samples": len(x_test),
        },
        "accuracy_with_real": {
            "value": real["after"],
            "unit": "the same with as many more real images in the samples' place",
            "samples": len(x_test),
        },
    }
    run = kgen.Run(out)
    run.save_model(model)
    run.save_preset(model, dtype="float16")  # half the size, the same figures
    run.save_curves(history)
    labels = [i % num_classes for i in range(8 * num_classes)]
    run.save_samples(model.sample(len(labels), seed=1, labels=labels), columns=num_classes)
    run.save_picture("examples", few_x[np.argsort(np.arange(len(few_x)) % 10, kind="stable")], columns=num_classes)
    run.save_metrics(
        figures,
        data=data,
        seed=seed,
        epochs=stop.epochs,
        interrupted=stop.interrupted,
        batch_size=batch_size,
        parameters=model.network.count_params(),
        train_seconds=round(seconds, 1),
    )
    run.write_card(
        f"A diffusion model of ten examples of each class of {data}, whose samples are added to them to train a classifier. examples.png "
        "shows all that it was trained on."
    )
    run.export(model)
    if not stop.interrupted:
        checkpoint.clear()


class _Data:
    """Real images in the place of a model: the most that samples could give."""

    def __init__(self, x, y):
        self.x, self.y, self.num_classes = x, y, int(y.max()) + 1

    def sample(self, n, *, labels, seed):
        rng = np.random.default_rng(seed)
        found = np.empty((n, *self.x.shape[1:]), "float32")
        for label in np.unique(labels):
            there, wanted = np.flatnonzero(self.y == label), np.flatnonzero(labels == label)
            found[wanted] = self.x[rng.choice(there, len(wanted), replace=len(wanted) > len(there))]
        return found


if __name__ == "__main__":
    main()
