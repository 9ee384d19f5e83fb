"""Super-resolution of emoji by a GAN: from 16x16 to 32x32 pixels, beside bicubic enlargement and the same network trained on pixels alone.

An hour on one core; with a GPU from 32x32 to 64x64: ``--image-size 64 --epochs 210``, some seven minutes.
"""

import time

import keras
import numpy as np

import kgen


def main(data="emoji", epochs=60, batch_size=32, seed=0, out="saved_models/srgan_emoji", image_size=None, resume=False):
    keras.utils.set_random_seed(seed)

    x, _ = kgen.data.load(data, split="train", image_size=image_size)
    x_test, _ = kgen.data.load(data, split="test", image_size=image_size)
    shape = x.shape[1:]
    mirrored = np.concatenate([x, x[:, :, ::-1]])

    # How a classifier sees a picture, where one is at hand, else pixels alone.
    classifier = kgen.metrics.load_classifier(data) if data in kgen.metrics.classifiers() else None
    features = None
    if classifier is not None and min(shape[:2]) >= max(classifier.shape[:2]):
        features = classifier.maps_of(shape)
    generator = kgen.networks.SRResNet((shape[0] // 2, shape[1] // 2, shape[2]), 2, width=32, blocks=6)
    discriminator = kgen.networks.SRDiscriminator(shape, width=32, dense=256)

    # As in the paper, pixels come first: SRResNet, which the GAN then goes on from.
    first_epochs = max(1, epochs // 3)
    pixels = kgen.gan.SRGAN(shape, 2, generator=generator, discriminator=discriminator, adversarial_weight=0.0)
    pixels.compile(
        {
            "generator": keras.optimizers.Adam(
                keras.optimizers.schedules.CosineDecay(1e-3, first_epochs * -(-len(mirrored) // batch_size))
            ),
            "discriminator": keras.optimizers.Adam(0.0),  # nobody listens to it yet
        }
    )
    stop_pixels = kgen.callbacks.GracefulStop()  # Ctrl-C ends training; the rest still runs
    checkpoint_pixels = kgen.callbacks.Checkpoint(f"{out}/checkpoints/pixels", every=200, resume=resume)
    start = time.perf_counter()
    pixels.fit(mirrored, epochs=first_epochs, batch_size=batch_size, callbacks=[stop_pixels, checkpoint_pixels])
    small = keras.ops.convert_to_numpy(pixels.reduced(x_test))
    by_pixels = pixels.upscale(small)

    model = kgen.gan.SRGAN(
        shape,
        2,
        generator=generator,
        discriminator=discriminator,
        features=features,
        content=0.1,
        pixel=1.0,
        adversarial_weight=5e-3,
        regularizers=kgen.gan.R1(1.0),
        ema=0.999,
    )
    model.compile(keras.optimizers.Adam(2e-4, beta_1=0.5))
    stop = kgen.callbacks.GracefulStop()
    checkpoint = kgen.callbacks.Checkpoint(f"{out}/checkpoints", every=200, resume=resume)  # kgen train --resume
    history = model.fit(mirrored, epochs=epochs, batch_size=batch_size, callbacks=[stop, checkpoint])
    train_seconds = time.perf_counter() - start

    run = kgen.Run(out)
    run.save_model(model)
    run.save_preset(model, dtype="float16")  # half the size, the same figures
    run.save_curves(history)
    bicubic = keras.ops.image.resize(small, shape[:2], interpolation="bicubic", data_format="channels_last")
    bicubic = np.clip(keras.ops.convert_to_numpy(bicubic), -1, 1)
    drawn = {"bicubic": bicubic, "pixels": by_pixels, "srgan": model.upscale(small)}
    enlarged = small.repeat(2, 1).repeat(2, 2)
    columns = min(16, len(x_test))
    rows = {"given": enlarged, "cubic": bicubic, "pixels": by_pixels, "SRGAN": drawn["srgan"], "truth": x_test}
    pictures = np.concatenate([images[:columns] for images in rows.values()])
    run.save_picture("samples", pictures, columns=columns, names=list(rows))

    figures = {}
    for name, images in drawn.items():
        values = {"psnr": (kgen.metrics.peak_signal_to_noise_ratio(images, x_test), "dB, of test pictures")}
        if features is not None:
            seen = kgen.metrics.perceptual_distance(images, x_test, classifier)
            values["perceptual_distance"] = (seen, f"from test pictures, by the maps of the {classifier.name}")
        if classifier is not None and classifier.shape == shape:  # larger ones it sees made small, as what is given
            report = kgen.metrics.fidelity_report(images, train=x, test=x_test, extractor=classifier)
            figures[f"{name}_frechet_distance"] = report["frechet_distance"]
        for figure, (each, unit) in values.items():
            figures[f"{name}_{figure}"] = {"value": float(np.mean(each)), "unit": unit, "samples": len(x_test)}
    run.save_metrics(
        figures,
        data=data,
        seed=seed,
        epochs=stop.epochs,
        pixel_epochs=stop_pixels.epochs,
        interrupted=stop.interrupted or stop_pixels.interrupted,
        batch_size=batch_size,
        training_steps=int(model.optimizer["generator"].iterations),
        parameters=model.generator.count_params() + model.discriminator.count_params(),
        train_seconds=round(train_seconds, 1),
    )
    run.write_card(
        f"SRGAN (Ledig et al. 2017) of {data}: `upscale(x)` doubles the sides of a picture. In samples.png, from above: what is given, enlarged "
        "by whole pixels; by cubic interpolation; by the same network trained on pixels alone, which the GAN went on from; by the GAN; the "
        "pictures themselves, of the test split. The GAN's content loss is of the same classifier's maps as the perceptual distance."
    )
    run.export(model)
    if not (stop.interrupted or stop_pixels.interrupted):
        checkpoint_pixels.clear()
        checkpoint.clear()


if __name__ == "__main__":
    main()
