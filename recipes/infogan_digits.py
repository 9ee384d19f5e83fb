"""InfoGAN of 8x8 digits: categories found without a label, each of which comes to be a way to write a digit; some minutes on two cores."""

import time

import keras
import numpy as np

import kgen


def main(
    data="digits", epochs=120, batch_size=64, seed=0, out="saved_models/infogan_digits", image_size=None, resume=False
):
    keras.utils.set_random_seed(seed)
    x, y = kgen.data.load(data, split="train", image_size=image_size)
    x_test, y_test = kgen.data.load(data, split="test", image_size=image_size)
    # More categories than classes: ten of them cut across the digits (0.56 of the test images had the category of their class), as a digit
    # is written in several ways, and two digits in one. Little noise: what varies has to be said by the codes. A normalised discriminator
    # pulls gently; what is read off the samples is not to pull harder, or samples come to be signs of their codes rather than digits.
    categories, noise, shape = 50, 4, x.shape[1:]
    model = kgen.gan.InfoGAN(
        shape,
        noise_dim=noise,
        categories=categories,
        codes=2,
        generator=kgen.gan.Generator(noise + categories + 2, shape, (64,)),
        discriminator=kgen.gan.Discriminator(shape, (64,), spectral=True, readings=(categories, 4)),
        adversarial_loss="hinge",
        reading_weight=0.3,
        ema=0.999,
    )
    steps = epochs * -(-len(x) // batch_size)

    def adam():
        return keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(5e-4, steps), beta_1=0.5)

    model.compile({"generator": adam(), "discriminator": adam()})

    stop = kgen.callbacks.GracefulStop()  # Ctrl-C ends training; the rest still runs
    checkpoint = kgen.callbacks.Checkpoint(f"{out}/checkpoints", every=500, resume=resume)  # kgen train --resume
    start = time.perf_counter()
    history = model.fit(x, epochs=epochs, batch_size=batch_size, verbose=2, callbacks=[stop, checkpoint])
    train_seconds = time.perf_counter() - start

    run = kgen.Run(out)
    run.save_model(model)
    run.save_preset(model, dtype="float16")  # half the size, the same figures
    run.save_curves(history)
    category = np.arange(10 * categories) % categories
    run.save_samples(model.sample(len(category), seed=0, category=category), columns=categories)
    # A column is a category; downwards one code goes from -1 to 1.
    for k, name in enumerate(("first_code", "second_code")):
        codes = np.zeros((len(category), 2), "float32")
        codes[:, k] = np.repeat(np.linspace(-1, 1, 10), categories)
        z = np.tile(np.random.default_rng(0).normal(size=(1, noise)), (len(category), 1))
        z = np.concatenate([z, np.eye(categories)[category], codes], axis=1)
        run.save_picture(name, model.decode(z), columns=categories)

    samples = model.sample(len(x), seed=1)
    figures = {}
    if data in kgen.metrics.classifiers():
        classifier = kgen.metrics.load_classifier(data)
        figures = kgen.metrics.fidelity_report(samples, train=x, test=x_test, extractor=classifier)
    # Training had no labels. Afterwards those of the training images say how often a category is which class: the classes that a test image's
    # categories vote for, each by its probability.
    if y is not None:
        read, read_test = (model.encode(part)[:, :categories] for part in (x, x_test))
        votes = read.T @ np.eye(y.max() + 1)[y]
        votes /= np.maximum(votes.sum(axis=1, keepdims=True), 1e-9)
        figures["categories_name_the_class"] = {
            "value": float(((read_test @ votes).argmax(1) == y_test).mean()),
            "unit": "share of test images whose class most of what is read votes for",
            "samples": len(x_test),
        }
        names = votes.argmax(axis=1)
        figures["likeliest_category_names_the_class"] = {
            "value": float((names[read_test.argmax(1)] == y_test).mean()),
            "unit": "share of test images whose likeliest category is mostly of their class",
            "samples": len(x_test),
        }
    figures["codes_found_again"] = {
        "value": history.history["category_accuracy"][-1],
        "unit": "share of samples whose category is read off them",
        "samples": len(x),
    }
    figures["information"] = {
        "value": history.history["information"][-1],
        "unit": f"nats that samples tell of their codes, at least; the categories have {np.log(categories):.2f}",
        "samples": len(x),
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
        f"InfoGAN (Chen et al. 2016) of {data}: {categories} categories and two numbers beside {noise} normal ones, spectral normalisation. No "
        "label was seen in training; where there are labels, those of the training images name the categories afterwards. A column of the "
        "pictures is a category."
    )
    run.export(model)
    if not stop.interrupted:
        checkpoint.clear()


if __name__ == "__main__":
    main()
