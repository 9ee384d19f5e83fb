"""Editing digits in the latent space of a VAE: directions between classes, analogies, and two ways from one digit to another."""

import keras
import numpy as np

import kgen


def main(
    data="digits", epochs=150, batch_size=64, seed=0, out="saved_models/latent_digits", image_size=None, resume=False
):
    keras.utils.set_random_seed(seed)
    x, y = kgen.data.load(data, split="train", image_size=image_size)
    x_test, y_test = kgen.data.load(data, split="test", image_size=image_size)
    classifier = kgen.metrics.load_classifier(data)
    if y is None or not {3, 8} <= set(y.tolist()):
        raise ValueError(f"data: expected labelled images with classes 3 and 8, {data} lacks them.")
    if data == "digits":
        model = kgen.load("vae_digits")  # the pretrained one
    else:
        model = kgen.vae.VAE(x.shape[1:], latent_dim=12, ema=0.995)
        model.compile(keras.optimizers.Adam(2e-3))
        checkpoint = kgen.callbacks.Checkpoint(f"{out}/checkpoints", every=200, resume=resume)  # kgen train --resume
        model.fit(x, epochs=epochs, batch_size=batch_size, callbacks=[checkpoint])
        checkpoint.clear()

    # From each test image of a 3, as much of the direction from 3 to 8 as lies between the two classes' means.
    direction = kgen.apply.latent.attribute_vector(model, x[y == 8], x[y == 3])
    threes = x_test[y_test == 3][:8]
    edited = kgen.apply.latent.edit(model, threes, direction, np.linspace(0.0, 1.0, 7))

    def share(images, label):
        return float(np.mean(classifier.probabilities(np.clip(images, -1, 1)).argmax(1) == label))

    every = x_test[y_test == 3]
    moved = kgen.apply.latent.edit(model, every, direction, [0.0, 1.0])
    figures = {
        "threes_made_eights": {
            "value": share(moved[:, 1], 8),
            "floor": share(moved[:, 0], 8),
            "unit": "share that the classifier calls 8; the floor is that of their reconstructions",
            "samples": len(every),
        }
    }
    # On the straight line between two latent vectors and on the great circle: how sure the classifier is on the way.
    a, b = (model.encode(images) for images in (x_test[:100], x_test[100:200]))
    ways = {"line": np.linspace(a, b, 9, axis=1), "circle": kgen.apply.latent.slerp(a, b, 9)}
    for name, way in ways.items():
        images = np.clip(model.decode(way[:, 4].astype("float32")), -1, 1)
        figures[f"sure_halfway_on_the_{name}"] = {
            "value": float(np.mean(classifier.probabilities(images).max(1) > 0.9)),
            "unit": "share of halfway images with a class above 0.9",
            "samples": len(images),
        }

    run = kgen.Run(out)
    run.save_picture("samples", edited.reshape(-1, *x.shape[1:]), columns=7)
    # b - a + c: a two is to a seven as a one is to ...
    classes = [(2, 7, 1), (0, 8, 6), (5, 9, 3)]
    rows = [[x_test[y_test == label][:6] for label in triple] for triple in classes]
    pictured = [np.concatenate([*row, kgen.apply.latent.analogy(model, *row)]) for row in rows]
    run.save_picture("analogies", np.concatenate(pictured), columns=6)
    between = np.concatenate([model.decode(way[i].astype("float32")) for i in range(4) for way in ways.values()])
    run.save_picture("ways", between, columns=9)
    run.save_metrics(figures, data=data, seed=seed, parameters=model.count_params())
    run.write_card(
        "Latent arithmetic with the model of vae_digits. samples.png: test images of a 3 on the way to an 8; analogies.png: for each of three "
        "triples four rows, a, b, c and b - a + c; ways.png: by turns the straight line and the great circle between two digits."
    )


if __name__ == "__main__":
    main()
