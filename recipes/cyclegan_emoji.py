"""CycleGAN between two fonts of emoji, outlines and colours, without pairs: 32x32 pixels."""

import time

import keras
import numpy as np

import kgen


def main(data="emoji", epochs=10, batch_size=4, seed=0, out="saved_models/cyclegan_emoji", image_size=32, resume=False):
    keras.utils.set_random_seed(seed)

    # Set a: black lines on white. Set b: pictures in colour, of characters that are not in set a, so that there are no pairs. Of data of
    # your own, set a is the first half in grey.
    colours, colours_test = (kgen.data.load(data, split=s, image_size=image_size)[0] for s in ("train", "test"))
    if data == "emoji":
        outlines, a_test = (
            kgen.data.load("emoji_outline", split=s, image_size=image_size)[0] for s in ("train", "test")
        )
        a, taken = outlines[::2], set(kgen.data.emoji_captions("emoji_outline", split="train")[::2])
        b = colours[[name not in taken for name in kgen.data.emoji_captions("emoji", split="train")]]
    else:
        half = len(colours) // 2
        a, a_test, b = colours[:half], colours_test, colours[half:]
    a, a_test = (np.repeat(v.mean(-1, keepdims=True), b.shape[-1], axis=-1) for v in (a, a_test))
    a, b = (np.concatenate([v, v[:, :, ::-1]]) for v in (a, b))

    # Identity keeps a translator from moving colours about; here nearly all colours are new, so that it weighs little. Discriminators judge patches
    # of 34 pixels, about as large as the pictures; what they are shown is moved and cut, in the colours that it has.
    discriminators = {
        n: kgen.networks.PatchDiscriminator(b.shape[1:], strided=2, name=n)
        for n in ("discriminator_a", "discriminator_b")
    }
    augmentation = kgen.gan.DiffAugment(("translation", "cutout"))
    model = kgen.gan.CycleGAN(b.shape[1:], identity=0.5, **discriminators, augmentation=augmentation, ema=0.999)
    pairs = kgen.data.Unpaired(a, b, batch_size=batch_size, seed=seed)
    # The paper's rate: the same for the first half, then down to nothing.
    half = max(1, epochs * len(pairs) // 2)

    def optimizer():
        rate = keras.optimizers.schedules.CosineDecay(2e-4, half, warmup_target=2e-4, warmup_steps=half)
        return keras.optimizers.Adam(rate, beta_1=0.5)

    model.compile({name: optimizer() for name in ("generators", "discriminator_a", "discriminator_b")})

    stop = kgen.callbacks.GracefulStop()  # Ctrl-C ends training; the rest still runs
    checkpoint = kgen.callbacks.Checkpoint(f"{out}/checkpoints", every=200, resume=resume)  # kgen train --resume
    start = time.perf_counter()
    history = model.fit(pairs, epochs=epochs, callbacks=[stop, checkpoint])
    train_seconds = time.perf_counter() - start

    run = kgen.Run(out)
    run.save_model(model)
    run.save_preset(model, dtype="float16")  # half the size, the same figures
    run.save_curves(history)
    coloured = model.translate(a_test)
    drawn = model.translate(colours_test, "b_to_a")
    back = model.translate(coloured, "b_to_a")
    columns = min(16, len(a_test), len(colours_test))
    rows = (a_test, coloured, back, colours_test, drawn, model.translate(drawn))
    names = ["outline", "coloured", "and back", "colour", "outlined", "and back"]
    run.save_picture("samples", np.concatenate([images[:columns] for images in rows]), columns=columns, names=names)

    figures = {
        "cycle": {
            "value": float(np.abs(back - a_test).mean()),
            "unit": "mean distance of a value in [-1, 1] from outlines to themselves, there and back",
            "samples": len(a_test),
        }
    }
    if data in kgen.metrics.classifiers():
        classifier = kgen.metrics.load_classifier(data)
        for name, images in (("coloured", coloured), ("outlines", a_test)):
            report = kgen.metrics.fidelity_report(images, train=colours, test=colours_test, extractor=classifier)
            figures |= {f"{name}_{k}": figure for k, figure in report.items()}
    run.save_metrics(
        figures,
        data=data,
        seed=seed,
        epochs=stop.epochs,
        interrupted=stop.interrupted,
        batch_size=batch_size,
        training_steps=int(model.optimizer["generators"].iterations),
        parameters=sum(
            n.count_params() for n in (model.a_to_b, model.b_to_a, model.discriminator_a, model.discriminator_b)
        ),
        train_seconds=round(train_seconds, 1),
    )
    run.write_card(
        f"CycleGAN (Zhu et al. 2017) between outlines and colours of {data}, which it never saw of one character: `translate(x)` colours, "
        '`translate(x, "b_to_a")` draws the outline. samples.png shows test pictures, their translation, and that translated back.'
    )
    run.export(model)
    if not stop.interrupted:
        checkpoint.clear()


if __name__ == "__main__":
    main()
