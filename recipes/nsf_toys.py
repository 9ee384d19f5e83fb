"""Neural spline flows of six densities of the plane whose entropy is known: each in less than three minutes on two cores."""

import shutil
import time

import keras
import numpy as np

import kgen

TOYS = "eight_gaussians,gaussian_grid,checkerboard,moons,rings,spirals"
POINTS, HELD_OUT = 300_000, 20_000


def main(data=TOYS, epochs=8, batch_size=1000, seed=0, out="saved_models/nsf_toys", image_size=None, resume=False):
    run = kgen.Run(out)
    stop = kgen.callbacks.GracefulStop()  # Ctrl-C ends training; the rest still runs
    figures = {}
    for name in data.split(","):
        if name not in kgen.data.TOYS or image_size is not None:
            raise ValueError(f"data: expected names of densities of the plane, from {TOYS}, received {name!r}.")
        keras.utils.set_random_seed(seed)
        density = kgen.data.TOYS[name]()
        x, held_out = density.sample(POINTS, seed=seed + 1), density.sample(HELD_OUT, seed=seed + 2)

        model = kgen.flow.NeuralSplineFlow((2,), layers=2, bins=32, widths=(128, 128), autoregressive=True)
        learning_rate = keras.optimizers.schedules.CosineDecay(3e-3, epochs * -(-POINTS // batch_size))
        # XLA joins the many small operations of a spline: twice the speed here.
        model.compile(keras.optimizers.Adam(learning_rate), jit_compile=True, steps_per_execution=20)
        checkpoint = kgen.callbacks.Checkpoint(f"{out}/checkpoints/{name}", every=1000, resume=resume)
        start = time.perf_counter()
        model.fit(x, epochs=epochs, batch_size=batch_size, callbacks=[stop, checkpoint])
        seconds = time.perf_counter() - start

        # KL(p || q) = E_p[log p - log q], on points that training has not seen.
        difference = density.log_prob(held_out) - model.log_prob(held_out, batch_size=5000)
        figures[f"kl_{name}"] = {
            "value": float(difference.mean()),
            "unit": "nats, KL(density || model)",
            "samples": HELD_OUT,
            "standard_error": float(difference.std() / HELD_OUT**0.5),
            "entropy": float(density.entropy),
            "train_seconds": round(seconds, 1),
        }
        side = 1.15 * np.abs(held_out).max()
        panels = {
            "density": density.log_prob,
            "model": lambda points, model=model: model.log_prob(points, batch_size=5000),
            "model's samples": model.sample(5000, seed=0, batch_size=5000),
        }
        run.save_density(name, panels, extent=(-side, side, -side, side))
        if stop.interrupted:
            break

    run.save_model(model)
    run.save_metrics(
        figures,
        data=data,
        seed=seed,
        epochs=epochs,
        interrupted=stop.interrupted,
        batch_size=batch_size,
        points=POINTS,
        parameters=model.chain.count_params(),
        train_seconds=round(sum(f["train_seconds"] for f in figures.values()), 1),
    )
    run.write_card(
        "Autoregressive neural spline flows, two steps of 32 bins each, of densities of the plane. Each figure is the divergence from the "
        f"density to the flow. model.keras and the export hold the last one, {name}."
    )
    run.export(model)
    if not stop.interrupted:
        shutil.rmtree(f"{out}/checkpoints")


if __name__ == "__main__":
    main()
