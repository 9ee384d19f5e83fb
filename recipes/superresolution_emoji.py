"""Super-resolution of emoji by diffusion: from 16x16 to 32x32 pixels, beside bicubic enlargement.

Half an hour on one core; with a GPU from 32x32 to 64x64: ``--image-size 64 --epochs 390``, some ten minutes.
"""

import time

import keras
import numpy as np

import kgen


def main(
    data="emoji",
    epochs=40,
    batch_size=64,
    seed=0,
    out="saved_models/superresolution_emoji",
    image_size=None,
    resume=False,
):
    keras.utils.set_random_seed(seed)

    x, _ = kgen.data.load(data, split="train", image_size=image_size)
    x_test, _ = kgen.data.load(data, split="test", image_size=image_size)
    mirrored = np.concatenate([x, x[:, :, ::-1]])
    if x.shape[1] % 2 or x.shape[2] % 2:
        raise ValueError(f"image_size: expected even sides, received {x.shape[1:3]}.")

    model_shape, low_shape = x.shape[1:], (x.shape[1] // 2, x.shape[2] // 2, x.shape[3])
    network = kgen.networks.UNet(
        model_shape,
        channels=(32, 64, 64),
        blocks=1,
        attention=(False, False, False),
        conditions=[kgen.diffusion.SmallerPicture(low_shape, 2)],
    )
    # What is to be drawn is what bicubic enlargement leaves open: the network finds the rest from the small picture.
    model = kgen.diffusion.SuperResolution(
        model_shape, 2, network=network, prediction="velocity", sampler="ddim", ema=0.999
    )
    steps = epochs * -(-len(mirrored) // batch_size)
    learning_rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps, warmup_target=1e-3, warmup_steps=min(500, steps // 5)
    )
    model.compile(optimizer=keras.optimizers.AdamW(learning_rate, weight_decay=1e-4, clipnorm=1.0))

    stop = kgen.callbacks.GracefulStop()  # Ctrl-C ends training; the rest still runs
    checkpoint = kgen.callbacks.Checkpoint(f"{out}/checkpoints", every=200, resume=resume)  # kgen train --resume
    start = time.perf_counter()
    history = model.fit(mirrored, epochs=epochs, batch_size=batch_size, callbacks=[stop, checkpoint])
    train_seconds = time.perf_counter() - start

    run = kgen.Run(out)
    run.save_model(model)
    run.save_preset(model, dtype="float16")  # half the size, the same figures
    run.save_curves(history)
    # Test pictures made smaller, enlarged again by cubic interpolation, by the model, and the mean of four of its draws.
    small = x_test.reshape(len(x_test), low_shape[0], 2, low_shape[1], 2, -1).mean((2, 4))
    bicubic = keras.ops.image.resize(small, model_shape[:2], interpolation="bicubic", data_format="channels_last")
    bicubic = np.clip(keras.ops.convert_to_numpy(bicubic), -1, 1)
    start = time.perf_counter()
    draws = [model.upscale(small, seed=s) for s in range(4)]
    sample_seconds = (time.perf_counter() - start) / 4
    count = len(x_test)
    enlarged = small.repeat(2, 1).repeat(2, 2)
    run.save_samples(
        np.stack([enlarged[:16], bicubic[:16], draws[0][:16], x_test[:16]]).reshape(-1, *model_shape), columns=16
    )
    figures = {}
    for name, images in (("psnr_bicubic", bicubic), ("psnr", draws[0]), ("psnr_mean_of_4", np.mean(draws, 0))):
        values = kgen.metrics.peak_signal_to_noise_ratio(images, x_test)
        figures[name] = {"value": float(np.mean(values)), "unit": "dB, of test pictures", "samples": count}
    again = draws[0].reshape(count, low_shape[0], 2, low_shape[1], 2, -1).mean((2, 4))
    figures["consistency"] = {
        "value": float(np.mean(kgen.metrics.peak_signal_to_noise_ratio(again, small))),
        "unit": "dB, what was drawn, made small again, against what was given",
        "samples": count,
    }
    run.save_metrics(
        figures,
        data=data,
        seed=seed,
        epochs=stop.epochs,
        interrupted=stop.interrupted,
        batch_size=batch_size,
        training_steps=int(model.optimizer.iterations),
        parameters=model.network.count_params(),
        final_loss=history.history["loss"][-1],
        train_seconds=round(train_seconds, 1),
        seconds_per_1000_samples=round(sample_seconds / count * 1000, 2),
    )
    run.write_card(
        f"A diffusion model that draws {data} of twice the size: `upscale(small)`. In samples.png, from above: what is given, enlarged by whole "
        "pixels; by cubic interpolation; what the model draws; the pictures themselves, of the test split."
    )
    run.export(model)
    if not stop.interrupted:
        checkpoint.clear()


if __name__ == "__main__":
    main()
