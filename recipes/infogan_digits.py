"""InfoGAN of 8x8 digits: ten categories found without a label, some of which come to be digits, some minutes on two cores."""

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
    categories, shape = 10, x.shape[1:]

    # Little noise: what varies has to be said by the codes. A normalised discriminator pulls gently; what is read off the samples is not to
    # pull harder, or samples come to be signs of their codes rather than digits.
    model = kgen.gan.InfoGAN(
        shape,
        noise_dim=16,
        categories=categories,
        codes=2,
        generator=kgen.gan.Generator(16 + categories + 2, shape, (64,)),
        discriminator=kgen.gan.Discriminator(shape, (64,), spectral=True, readings=(categories, 4)),
        adversarial_loss="hinge",
        reading_weight=0.1,
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
    run.save_curves(history)
    category = np.arange(10 * categories) % categories
    run.save_samples(model.sample(len(category), seed=0, category=category), columns=categories)
    # A column is a category; downwards one code goes from -1 to 1.
    for k, name in enumerate(("first_code", "second_code")):
        codes = np.zeros((len(category), 2), "float32")
        codes[:, k] = np.repeat(np.linspace(-1, 1, 10), categories)
        z = np.tile(np.random.default_rng(0).normal(size=(1, 16)), (len(category), 1))
        z = np.concatenate([z, np.eye(categories)[category], codes], axis=1)
        run.save_picture(name, model.decode(z), columns=categories)

    samples = model.sample(len(x), seed=1)
    figures = {}
    if data in kgen.metrics.classifiers():
        classifier = kgen.metrics.load_classifier(data)
        figures = kgen.metrics.fidelity_report(samples, train=x, test=x_test, extractor=classifier)
    # Each category is named after the class that most of its training images have. They need not be the digits: in the three
    # settings tried, 0.38 to 0.58 of the test images had the category of their class.
    if y is not None:
        read, read_test = (model.encode(part)[:, :categories].argmax(1) for part in (x, x_test))
        names = np.array([np.bincount(y[read == k], minlength=y.max() + 1).argmax() for k in range(categories)])
        figures["category_names_the_class"] = {
            "value": float((names[read_test] == y_test).mean()),
            "unit": "share of test images whose category is that of their class",
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
        f"InfoGAN (Chen et al. 2016) of {data}: ten categories and two numbers beside 16 normal ones, spectral normalisation. No label was seen in "
        "training; where there are labels, those of the training images name the categories afterwards. A column of the pictures is a category."
    )
    run.export(model)
    if not stop.interrupted:
        checkpoint.clear()


if __name__ == "__main__":
    main()
