"""Completing pictures of Fashion-MNIST of which half is known, by the diffusion model `ddpm_fashion_mnist` as it is: nothing is trained here."""

import pathlib
import time

import keras
import numpy as np

import kgen
import kgen.recipes.ddpm_fashion_mnist


def main(
    data="fashion_mnist",
    epochs=10,
    batch_size=64,
    seed=0,
    out="saved_models/inpaint_fashion_mnist",
    image_size=None,
    diffusion=None,
    steps=25,
    resamples=4,
    resume=False,
):
    keras.utils.set_random_seed(seed)

    x, _ = kgen.data.load(data, split="train", image_size=image_size)
    x_test, y_test = kgen.data.load(data, split="test", image_size=image_size)

    # The model that the recipe ddpm_fashion_mnist left, or one trained here on this data: epochs and batch_size are for it.
    if diffusion is None:
        diffusion = pathlib.Path("saved_models/ddpm_fashion_mnist")
        if data != "fashion_mnist" or image_size is not None or not (diffusion / "config.json").exists():
            diffusion = pathlib.Path(out) / "diffusion"
            kgen.recipes.ddpm_fashion_mnist.main(
                data, epochs, batch_size, seed, diffusion, image_size=image_size, resume=resume
            )
    model = kgen.load(diffusion)

    count = min(1000, len(x_test))
    given, labels = x_test[:count], None if y_test is None else y_test[:count]
    height, width = x.shape[1:3]
    masks = {"left": np.zeros((height, width), bool), "top": np.zeros((height, width), bool)}
    masks["left"][:, : width // 2] = True  # True is known
    masks["top"][: height // 2] = True

    figures, rows, seconds = {}, [], 0.0
    for half, mask in masks.items():
        start = time.perf_counter()
        completed = kgen.diffusion.inpaint(
            model, given, mask, resamples=resamples, steps=steps, seed=seed, labels=labels
        )
        seconds += time.perf_counter() - start
        rows += [np.where(mask[..., None], given[:16], 0.0), completed[:16]]
        if data in kgen.metrics.classifiers():
            # Completed test pictures measured on training pictures: on test pictures, the known halves would count for the model.
            classifier = kgen.metrics.load_classifier(data)
            report = kgen.metrics.fidelity_report(completed, train=x_test, test=x, extractor=classifier)
            figures[f"frechet_distance_{half}_half_known"] = report["frechet_distance"]
        unknown = ~np.broadcast_to(mask[..., None], given.shape[1:])
        error = np.sqrt(np.mean(np.square(completed[:, unknown] - given[:, unknown])))
        floor = np.sqrt(np.mean(np.square(given[:, unknown] - given[:, unknown].mean(0))))
        figures[f"error_{half}_half_known"] = {
            "value": float(error),
            "floor": float(floor),
            "unit": "root mean square of the unknown half, range 2; the floor is that of the mean picture",
            "samples": count,
        }

    run = kgen.Run(out)
    run.save_samples(np.concatenate([*rows, given[:16]]), columns=16)
    run.save_metrics(
        figures,
        data=data,
        seed=seed,
        diffusion=str(diffusion),
        steps=steps,
        resamples=resamples,
        seconds_per_1000_samples=round(seconds / count / len(masks) * 1000, 1),
    )
    run.write_card(
        f"Test pictures of {data} completed by a diffusion model that was trained for nothing of the kind (RePaint). In samples.png, from above: "
        "the left half that is given, pictures completed from it; the upper half, pictures completed from it; the pictures themselves."
    )


if __name__ == "__main__":
    main()
