"""A GAN on the grid of 25 Gaussians, where GANs lose modes: ten runs, six minutes in all."""

import shutil
import time

import keras
from keras import layers, ops

import kgen

RUNS = 10


def make(steps):
    """The model, to be trained for so many steps."""
    # Beside z stand its signs: with them the generator can jump from one mode to the next, where a continuous one draws bridges.
    z = keras.Input((10,))
    h = layers.Concatenate()([z, ops.sign(z)])
    for _ in range(3):
        h = layers.Dense(128, activation="leaky_relu")(h)
    generator = keras.Model(z, layers.Dense(2)(h))

    # The modes are narrow (0.05) and far apart (2); waves of several lengths let a small discriminator see both.
    x = keras.Input((2,))
    waves = [wave(x * frequency) for frequency in (1.0, 2.0, 4.0, 8.0) for wave in (ops.sin, ops.cos)]
    h = layers.Concatenate()([x, *waves])
    for _ in range(3):
        h = layers.Dense(128, activation="leaky_relu")(h)
    discriminator = keras.Model(x, layers.Dense(1)(h))

    gamma = keras.optimizers.schedules.ExponentialDecay(1.0, steps, 1e-2)
    model = kgen.gan.GAN(
        (2,),
        latent_dim=10,
        generator=generator,
        discriminator=discriminator,
        adversarial_loss="relativistic",  # with this loss, and a discriminator that is smooth at first, no mode is lost
        regularizers=[kgen.gan.R1(gamma), kgen.gan.R2(gamma)],
        ema=0.999,
    )

    def adam():
        return keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-3, steps), beta_1=0.0, beta_2=0.99)

    model.compile({"generator": adam(), "discriminator": adam()}, jit_compile=keras.config.backend() != "torch")
    return model


def main(
    data="gaussian_grid", epochs=5, batch_size=256, seed=0, out="saved_models/gan_grid", image_size=None, resume=False
):
    density = kgen.data.TOYS[data]()
    x = density.sample(200_000, seed=seed)
    stop = kgen.callbacks.GracefulStop()  # Ctrl-C ends training; the rest still runs
    results = []
    for run_seed in range(seed, seed + RUNS):
        keras.utils.set_random_seed(run_seed)
        model = make(epochs * -(-len(x) // batch_size))
        checkpoint = kgen.callbacks.Checkpoint(f"{out}/checkpoints/{run_seed}", every=1000, resume=resume)
        start = time.perf_counter()
        model.fit(x, epochs=epochs, batch_size=batch_size, verbose=2, callbacks=[stop, checkpoint])
        seconds = round(time.perf_counter() - start, 1)
        samples = model.sample(10_000, seed=run_seed, batch_size=10_000)
        results.append(
            {"seed": run_seed, **kgen.metrics.mode_coverage(samples, density.modes, density.scale), "seconds": seconds}
        )
        print(results[-1])
        if stop.interrupted:
            break

    run = kgen.Run(out)
    run.save_model(model)
    run.save_density("samples", {"data": density.sample(10_000, seed=seed + 1), "samples": samples})
    ideal = kgen.metrics.mode_coverage(density.sample(10_000, seed=seed + 1), density.modes, density.scale)
    figures = {
        "modes": {
            "value": min(r["modes"] for r in results),
            "floor": ideal["modes"],
            "unit": "modes with a sample within 3 sd",
        },
        "share": {
            "value": min(r["share"] for r in results),
            "floor": ideal["share"],
            "unit": "samples within 3 sd of a mode",
        },
        "reverse_kl": {"value": max(r["reverse_kl"] for r in results), "floor": ideal["reverse_kl"], "unit": "nats"},
        "seconds": {"value": max(r["seconds"] for r in results), "unit": "seconds of training"},
    }
    for figure in figures.values():
        figure["samples"] = len(samples)
    run.save_metrics(
        figures,
        data=data,
        seed=seed,
        epochs=epochs,
        interrupted=stop.interrupted,
        batch_size=batch_size,
        parameters=model.generator.count_params() + model.discriminator.count_params(),
        runs=results,
    )
    run.write_card(
        f"A GAN of {data}: relativistic loss, R1 and R2 that fade, averaged generator. The figures are the worst of {len(results)} runs from as many "
        "seeds, the floors are those of samples of the density itself; the saved model is the last run's."
    )
    run.export(model)
    if not stop.interrupted:
        shutil.rmtree(f"{out}/checkpoints")


if __name__ == "__main__":
    main()
