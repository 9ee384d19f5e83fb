"""Energy models of three densities of the plane: about six minutes on one core."""

import shutil
import time

import keras
import numpy as np

import kgen

HALF, STEP = 6.0, 0.03  # a square around all of them, and the step of a grid on it


def main(
    data="eight_gaussians,moons,rings",
    epochs=60,
    batch_size=256,
    seed=0,
    out="saved_models/ebm_toys",
    image_size=None,
    resume=False,
):
    run = kgen.Run(out)
    stop = kgen.callbacks.GracefulStop()  # Ctrl-C ends training; the rest still runs
    figures, seconds = {}, 0.0
    for name in data.split(","):
        keras.utils.set_random_seed(seed)
        x, _ = kgen.data.load(name, split="train", image_size=image_size)
        density = kgen.data.TOYS[name]()

        # Chains that start at the data, for each is where it belongs: what is between the rings no chain of a buffer crosses, and of those
        # that begin in noise too few arrive inside, so that the energy there falls without end.
        model = kgen.energy.EnergyModel(
            (2,),
            criterion=kgen.energy.ContrastiveDivergence(steps=20, buffer_size=0, alpha=1e-3),
            sampler=kgen.energy.MALASampler(step_size=0.15, steps=1000),
            reference_scale=2.5,
            ema=0.999,
        )
        learning_rate = keras.optimizers.schedules.CosineDecay(2e-3, epochs * -(-len(x) // batch_size))
        model.compile(optimizer=keras.optimizers.Adam(learning_rate))
        checkpoint = kgen.callbacks.Checkpoint(f"{out}/checkpoints/{name}", every=1000, resume=resume)
        start = time.perf_counter()
        model.fit(x, epochs=epochs, batch_size=batch_size, callbacks=[stop, checkpoint])
        seconds += time.perf_counter() - start

        # In two dimensions the partition function and the divergence are sums over a grid.
        ticks = np.arange(-HALF, HALF, STEP, dtype="float32")
        grid = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
        log_q = model.log_prob(grid, batch_size=4096).astype("float64")
        log_z = np.log(np.sum(np.exp(log_q - log_q.max())) * STEP**2) + log_q.max()
        log_p = density.log_prob(grid)
        p = np.exp(log_p)
        figures[f"kl_{name}"] = {
            "value": float(np.sum(np.where(p > 0, p * (log_p - (log_q - log_z)), 0.0)) * STEP**2),
            "unit": "nats, KL(data ‖ model), by quadrature",
            "samples": len(grid),
        }
        figures[f"gaussians_kl_{name}"] = {
            "value": _gaussian_divergence(x, density),
            "unit": "nats, the same of a Gaussian of the data's mean and covariance",
        }
        samples = model.sample(4000, seed=0, batch_size=2000)
        panels = {
            "data": x[:4000],
            "density": density.log_prob,
            "model": lambda points, model=model, log_z=log_z: model.log_prob(points, batch_size=4096) - log_z,
            "model's samples": samples,
        }
        run.save_density(name, panels, extent=(-4.0, 4.0, -4.0, 4.0))
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
        parameters=model.network.count_params(),
        train_seconds=round(seconds, 1),
    )
    run.write_card(
        f"Energy models of {data}, trained by contrastive divergence with Metropolis-adjusted Langevin chains of 20 steps from the data. "
        "Samples are chains of 1,000 steps from noise: each ends in the part that it meets first, so that they weigh the parts otherwise than the "
        "density does. model.keras and the export hold the last of them."
    )
    run.export(model)
    if not stop.interrupted:
        shutil.rmtree(f"{out}/checkpoints")


def _gaussian_divergence(x, density):
    """KL from the density to the Gaussian with the moments of the points x: its entropy less that of the density."""
    return float(0.5 * np.linalg.slogdet(2 * np.pi * np.e * np.cov(x.T))[1] - density.entropy)


if __name__ == "__main__":
    main()
