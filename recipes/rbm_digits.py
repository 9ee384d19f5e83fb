"""A restricted Boltzmann machine of black and white 8x8 digits: a few minutes on two cores."""

import time

import keras
import numpy as np

import kgen


def main(
    data="digits", epochs=400, batch_size=64, seed=0, out="saved_models/rbm_digits", image_size=None, resume=False
):
    keras.utils.set_random_seed(seed)

    x, _ = kgen.data.load(data, split="train", image_size=image_size)
    x_test, _ = kgen.data.load(data, split="test", image_size=image_size)
    x, x_test = kgen.data.binarize(x), kgen.data.binarize(x_test)

    model = kgen.energy.RBM(x.shape[1:], hidden=128, chains=256, gibbs_steps=2, ema=0.995)
    model.adapt(x)
    independent = kgen.energy.RBM(x.shape[1:], hidden=1)  # with no couplings: the floor of the likelihood
    independent.adapt(x)
    steps = epochs * -(-len(x) // batch_size)
    learning_rate = keras.optimizers.schedules.CosineDecay(3e-3, steps)
    model.compile(optimizer=keras.optimizers.AdamW(learning_rate, weight_decay=0.05))

    stop = kgen.callbacks.GracefulStop()  # Ctrl-C ends training; the rest still runs
    checkpoint = kgen.callbacks.Checkpoint(f"{out}/checkpoints", every=200, resume=resume)  # kgen train --resume
    start = time.perf_counter()
    history = model.fit(x, epochs=epochs, batch_size=batch_size, callbacks=[stop, checkpoint])
    train_seconds = time.perf_counter() - start

    run = kgen.Run(out)
    run.save_model(model)
    run.save_curves(history)
    run.save_samples(model.sample(64, seed=0, steps=2000, noise=False))
    # Completions: the upper half is given; three answers below each other.
    mask = np.zeros(x.shape[1:], bool)
    mask[: mask.shape[0] // 2] = True
    known = x_test[:12]
    answers = [model.complete(known, mask, seed=i, noise=False) for i in range(3)]
    run.save_picture("completions", np.concatenate([known, np.where(mask, known, 0.0), *answers]), columns=len(known))

    log_z = model.ais(chains=512, temperatures=10_000, seed=0)
    figures = {}
    for name, rows in (("test", x_test), ("train", x)):
        log_prob = model.log_prob(rows, log_z=log_z.log_z)
        figures[f"log_likelihood_{name}"] = {
            "value": float(log_prob.mean()),
            "unit": "nats per image, ln Z by annealed importance sampling",
            "floor": float(independent.log_prob(rows).mean()),
            "samples": len(rows),
            "standard_error": float(log_prob.std() / len(rows) ** 0.5),
        }
    figures["log_partition"] = {"value": log_z.log_z, "unit": "nats", "low": log_z.low, "high": log_z.high}
    errors = np.mean((model.reconstruct(x_test) > 0) != (x_test > 0))
    constant = np.mean((x_test > 0) != (x.mean(axis=0) > 0))
    figures["reconstruction_errors"] = {
        "value": float(errors),
        "unit": "share of pixels",
        "floor": float(constant),
        "samples": len(x_test),
    }
    run.save_metrics(
        figures,
        data=data,
        seed=seed,
        epochs=stop.epochs,
        interrupted=stop.interrupted,
        batch_size=batch_size,
        parameters=model.couplings.count_params(),
        final_reconstruction=history.history["reconstruction"][-1],
        train_seconds=round(train_seconds, 1),
    )
    run.write_card(
        f"A restricted Boltzmann machine with 128 hidden units of {data} in black and white (above or below middle grey), trained by "
        "persistent contrastive divergence. Samples are the pixels' means after 2,000 Gibbs steps. The floors of this card are those of "
        "independent pixels with the training data's means; the interval of 3 standard errors of ln Z is in metrics.json."
    )
    run.export(model)
    if not stop.interrupted:
        checkpoint.clear()


if __name__ == "__main__":
    main()
