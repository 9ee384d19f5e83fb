"""StyleGAN2 on some 1,200 emoji in colour, with adaptive augmentation and without.

As it is, 32x32 pixels: two hours on one core. With a GPU 64x64: what is shipped took ``--image-size 64 --batch-size 64 --epochs 1300``, 25,000
steps of either; ten minutes are enough for 10,000.
"""

import time

import keras
import numpy as np

import kgen


def made(shape, augmentation):
    """The model: without path lengths, and R1 as weak as images of this size want it, as ADA's authors train on CIFAR-10."""
    model = kgen.gan.StyleGAN2(
        shape,
        latent_dim=64,
        width=(96, 96, 96, 64, 32) if shape[0] > 32 else (96, 96, 64, 32),
        depth=4,
        regularizers=kgen.gan.R1(0.05 * shape[0] / 32, every=16),
        generator_regularizers=(),
        augmentation=augmentation,
        ema=0.999,
    )
    # On a CPU, TensorFlow's own convolutions are faster than XLA's.
    model.compile(jit_compile=keras.config.backend() == "jax")
    return model


def main(
    data="emoji", epochs=200, batch_size=32, seed=0, out="saved_models/stylegan2_emoji", image_size=32, resume=False
):
    keras.utils.set_random_seed(seed)

    x, _ = kgen.data.load(data, split="train", image_size=image_size)
    x_test, _ = kgen.data.load(data, split="test", image_size=image_size)

    # With so few pictures a discriminator soon knows them by heart: ADA changes what it sees as often as that asks for. The same training without
    # it comes first, and shows what it is worth.
    plain, model = made(x.shape[1:], None), made(x.shape[1:], kgen.gan.ADA(images=100_000))
    checkpoint_plain = kgen.callbacks.Checkpoint(f"{out}/checkpoints/plain", every=500, resume=resume)
    stop_plain = kgen.callbacks.GracefulStop()
    plain.fit(x, epochs=epochs, batch_size=batch_size, callbacks=[stop_plain, checkpoint_plain])

    stop = kgen.callbacks.GracefulStop()  # Ctrl-C ends training; the rest still runs
    checkpoint = kgen.callbacks.Checkpoint(f"{out}/checkpoints", every=500, resume=resume)  # kgen train --resume
    start = time.perf_counter()
    history = model.fit(x, epochs=epochs, batch_size=batch_size, callbacks=[stop, checkpoint])
    train_seconds = time.perf_counter() - start

    run = kgen.Run(out)
    run.save_model(model)
    run.save_preset(model, dtype="float16")  # half the size, the same figures
    run.save_curves(history)
    run.save_samples(model.sample(64, seed=0))
    run.save_picture("without_ada", plain.sample(32, seed=0), columns=8)
    # The same eight samples, from the mean style (above) to their own (below).
    strengths = (0.0, 0.25, 0.5, 0.75, 1.0)
    rows = [model.sample(8, seed=1, truncation=psi) for psi in strengths]
    run.save_picture("truncation", np.concatenate(rows), columns=8)
    # Each row takes its smaller sizes' styles from one sample, each column its larger sizes' from another.
    z = np.random.default_rng(0).normal(size=(16, model.latent_dim)).astype("float32")
    w = model.styles(z)
    layers = model.generator.synthesis.depth
    first, second = np.repeat(w[:8], 8, axis=0), np.tile(w[8:], (8, 1))
    coarse = np.arange(layers)[None, :, None] < layers // 2
    run.save_picture("style_mixing", model.synthesize(np.where(coarse, first[:, None], second[:, None])), columns=8)

    figures = {}
    if data in kgen.metrics.classifiers():
        classifier = kgen.metrics.load_classifier(data)
        for name, gan in (("", model), ("without_ada_", plain)):
            samples = gan.sample(len(x), seed=1)
            report = kgen.metrics.fidelity_report(samples, train=x, test=x_test, extractor=classifier)
            figures |= {f"{name}{k}": figure for k, figure in report.items()}
    run.save_metrics(
        figures,
        data=data,
        seed=seed,
        epochs=stop.epochs,
        interrupted=stop.interrupted or stop_plain.interrupted,
        batch_size=batch_size,
        training_steps=int(model.optimizer["generator"].iterations),
        training_steps_without_ada=int(plain.optimizer["generator"].iterations),
        parameters=model.generator.count_params() + model.discriminator.count_params(),
        augmentation_probability=float(keras.ops.convert_to_numpy(model.discriminator_augmentation_p)),
        train_seconds=round(train_seconds, 1),
    )
    run.write_card(
        f"StyleGAN2 (Karras et al. 2020) of {data} with adaptive discriminator augmentation. Samples are in [-1, 1], drawn with the generator's "
        "averaged weights and without truncation. without_ada.png, and figures called so, are of the same training with nothing between "
        "pictures and discriminator. Path lengths are not regularised. In truncation.png the samples' styles go from the mean to their own; in "
        "style_mixing.png rows share the styles of the smaller sizes, columns those of the larger. The classifier behind the figures knows 32x32 "
        "pixels, to which larger pictures are reduced."
    )
    run.export(model)
    if not (stop.interrupted or stop_plain.interrupted):
        checkpoint_plain.clear()
        checkpoint.clear()


if __name__ == "__main__":
    main()
