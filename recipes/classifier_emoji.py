"""A convolutional classifier of the groups of emoji, the one that kgen measures samples with.

Trained on the train split alone, so that features and labels of test images are those of unseen data. There are few
pictures, and a group is a matter of meaning: to tell an object from an activity takes more than their pixels, so many test
images are beyond it. Random flips, rotations, shifts, zooms and hues belong to the training model around the
classifier, not to the classifier: what is saved is the plain network. No label smoothing: the probabilities are used as
confidences.

The penultimate layer is named "features": `kgen.metrics.load_classifier` looks for it by that name. The file
`kgen/metrics/classifiers/emoji.keras` is the `model.keras` of this script with its defaults on TensorFlow. It holds no
optimizer, since only the model around it was compiled.
"""

import time

import keras
import numpy as np

import kgen


def block(x, filters, kernel_size=3, strides=1):
    x = keras.layers.Conv2D(filters, kernel_size, strides, padding="same", use_bias=False)(x)
    x = keras.layers.BatchNormalization(momentum=0.95)(x)  # an epoch has few steps
    return keras.layers.Activation("relu")(x)


def build_classifier(shape, num_classes):
    """Images (B, H, W, C) in [-1, 1] to class probabilities (B, num_classes); "features" is (B, 64)."""
    images = keras.Input(shape, name="images")
    x = block(images, 32, kernel_size=5, strides=2)
    x = block(x, 48)
    x = keras.layers.MaxPooling2D()(x)
    x = block(x, 64)
    x = block(x, 96)
    x = keras.layers.MaxPooling2D()(x)
    x = keras.layers.SpatialDropout2D(0.2)(x)
    x = block(x, 96)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dropout(0.3)(x)
    features = keras.layers.Dense(64, activation="silu", name="features")(x)
    x = keras.layers.Dropout(0.5)(features)
    probabilities = keras.layers.Dense(num_classes, activation="softmax", name="probabilities")(x)
    return keras.Model(images, probabilities, name="classifier")


def main(data="emoji", epochs=80, batch_size=64, seed=0, out="saved_models/classifier_emoji"):
    keras.utils.set_random_seed(seed)
    x, y = kgen.data.load(data, split="train", image_size=32)
    x_test, y_test = kgen.data.load(data, split="test", image_size=32)

    classifier = build_classifier(x.shape[1:], int(y.max()) + 1)
    white = {"fill_mode": "constant", "fill_value": 1.0}
    model = keras.Sequential(
        [
            keras.Input(x.shape[1:]),
            keras.layers.RandomFlip("horizontal"),
            keras.layers.RandomRotation(0.06, **white),
            keras.layers.RandomTranslation(0.1, 0.1, **white),
            keras.layers.RandomZoom((-0.1, 0.2), (-0.1, 0.2), **white),
            # Hue is defined on [0, 1]; white has none and stays.
            keras.layers.Rescaling(0.5, 0.5),
            keras.layers.RandomHue(0.05, value_range=(0, 1)),
            keras.layers.RandomSaturation((0.3, 0.7), value_range=(0, 1)),
            keras.layers.Rescaling(2.0, -1.0),
            classifier,
        ]
    )
    steps = epochs * -(-len(x) // batch_size)
    learning_rate = keras.optimizers.schedules.CosineDecay(
        1e-4, steps - steps // 10, warmup_target=3e-3, warmup_steps=steps // 10
    )
    model.compile(
        optimizer=keras.optimizers.AdamW(learning_rate, weight_decay=2e-2),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    start = time.perf_counter()
    model.fit(x, y, batch_size=batch_size, epochs=epochs, verbose=2)
    seconds = time.perf_counter() - start

    probabilities = classifier.predict(x_test, batch_size=512, verbose=0)
    hit = probabilities.argmax(axis=1) == y_test
    nll = -np.log(np.maximum(probabilities[np.arange(len(y_test)), y_test], 1e-12))
    sure = probabilities.max(axis=1) > 0.9
    figures = {
        "accuracy": {"value": float(hit.mean()), "unit": "fraction"},
        "majority": {"value": float(np.bincount(y_test).max() / len(y_test)), "unit": "fraction in the largest group"},
        "negative_log_likelihood": {"value": float(nll.mean()), "unit": "nats per example"},
        "confidence": {"value": float(sure.mean()), "unit": "fraction above 0.9"},
        "accuracy_where_confident": {"value": float(hit[sure].mean() if sure.any() else 0.0), "unit": "fraction"},
    }
    for figure in figures.values():
        figure["samples"] = len(y_test)
    hit = classifier.predict(x, batch_size=512, verbose=0).argmax(axis=1) == y
    figures["train_accuracy"] = {"value": float(hit.mean()), "unit": "fraction", "samples": len(y)}

    run = kgen.Run(out)
    run.save_model(classifier)
    run.save_metrics(
        figures, data=data, seed=seed, epochs=epochs, batch_size=batch_size, train_seconds=round(seconds, 1)
    )
    run.write_card(
        "A convolutional classifier of 32x32 colour images (float32 in [-1, 1]) with a 64-dimensional layer of features, "
        "trained on the train split of the eight groups of emoji. It measures generated emoji. "
        "Its figures are on the test split, but for the accuracy on the images that it was trained on."
    )
    return figures


if __name__ == "__main__":
    main()
