"""A beta-TC-VAE of sprites, whose five factors are known, beside a VAE with the same networks and steps: 20 minutes beside other work."""

import shutil
import time

import keras
import numpy as np

import kgen

CODE = 10


def main(
    data="sprites",
    epochs=100,
    batch_size=128,
    seed=0,
    out="saved_models/btcvae_sprites",
    image_size=None,
    resume=False,
):
    x, _ = kgen.data.load(data, split="train", image_size=image_size)
    x_test, _ = kgen.data.load(data, split="test", image_size=image_size)
    every, _ = kgen.data.load(data, image_size=image_size)
    factors = kgen.data.sprites_factors() if data == "sprites" else None
    steps = epochs * -(-len(x) // batch_size)

    run = kgen.Run(out)
    stop = kgen.callbacks.GracefulStop()  # Ctrl-C ends training; the rest still runs
    models, histories, figures, seconds = {}, {}, {}, {}
    for name, kind, options in (("vae", kgen.vae.VAE, {}), ("btcvae", kgen.vae.BetaTCVAE, {"beta": 6.0})):
        keras.utils.set_random_seed(seed)
        model = models[name] = kind(
            x.shape[1:],
            CODE,
            encoder=kgen.networks.MLP(x.shape[1:], (2 * CODE,), (512, 512)),
            decoder=kgen.networks.MLP((CODE,), x.shape[1:], (512, 512)),
            observation="bernoulli",
            kl_warmup=steps // 10,
            **options,
        )
        untrained = model.encode(every)
        model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-3, steps)))
        checkpoint = kgen.callbacks.Checkpoint(f"{out}/checkpoints/{name}", every=1000, resume=resume)
        start = time.perf_counter()
        histories[name] = model.fit(x, epochs=epochs, batch_size=batch_size, verbose=2, callbacks=[stop, checkpoint])
        seconds[name] = round(time.perf_counter() - start, 1)

        found, codes = {}, model.encode(every)
        if factors is not None:
            found = kgen.metrics.disentanglement_report(codes, factors, seed)
            before = kgen.metrics.disentanglement_report(untrained, factors, seed)
            found = {k: {**figure, "floor": before[k]["value"]} for k, figure in found.items()}
        logs = model.evaluate(x_test, batch_size=batch_size, verbose=0, return_dict=True)
        again = model.reconstruct(x_test)
        variance = model.encode(x_test).var(axis=0)
        for k, value, unit in (
            ("elbo", -logs["reconstruction"] - logs["kl"], "nats per test example"),
            ("kl", logs["kl"], "nats per test example"),
            ("mean_squared_error", kgen.metrics.reconstruction_error(x_test, again).mean(), "of values in [-1, 1]"),
            ("active_units", int((variance > 0.01).sum()), f"of {CODE}, of a variance above 0.01"),
        ):
            found[k] = {"value": value, "unit": unit, "samples": len(x_test)}
        figures |= {f"{name}_{k}": figure for k, figure in found.items()}
        # A row for each latent, those of the largest variance first, with the factor that says most of it.
        order = np.argsort(-variance)
        columns = 9
        rows = model.traverse(x_test[0], steps=columns)[order].reshape(-1, *x.shape[1:])
        run.save_picture(f"traversals_{name}", rows, columns, names=[said(z, factors) for z in codes.T[order]])
        if stop.interrupted:
            break
    run.save_model(model)
    run.save_preset(model, dtype="float16")  # half the size
    run.save_facts(model, x_test, log_prob={"num_samples": 50})  # what kgen demo shows of the data
    run.save_curves(histories[name])
    run.save_samples(model.sample(64, seed=0))
    columns = min(16, len(x_test))
    rows = [x_test[:columns], *(m.reconstruct(x_test[:columns]) for m in models.values())]
    run.save_picture("reconstructions", np.concatenate(rows), columns, names=["data", *models])
    run.save_metrics(
        figures,
        data=data,
        seed=seed,
        epochs=epochs,
        steps=steps,
        interrupted=stop.interrupted,
        batch_size=batch_size,
        parameters=model.encoder.count_params() + model.decoder.count_params(),
        seconds=seconds,
    )
    run.write_card(
        f"A beta-TC-VAE of {data}, whose total correlation costs 6 times what it costs a VAE, beside that VAE, with the same networks and "
        f"steps ({steps}). The sprites are all combinations of shape, size, direction, row and column. Figures of "
        "disentanglement are of the posterior means of all of them; their floors are those of the network before training. "
        "traversals_btcvae.png and traversals_vae.png have a row for "
        "each latent, from -2.5 to 2.5, with the factor that explains most of its variance and the share that it explains. The model saved is the "
        "beta-TC-VAE."
    )
    run.export(model)
    if not stop.interrupted:
        shutil.rmtree(f"{out}/checkpoints")


def said(z, factors):
    """What a latent z (N,) stands for: the factor that explains most of its variance, and the share that it explains."""
    if factors is None or np.var(z) <= 0.01:
        return "" if factors is None else "not used"
    shares = {}
    for name, values in factors.items():
        means = [z[values == v].mean() for v in np.unique(values)]
        shares[name] = np.var(means) / np.var(z)  # each value is as frequent as the other
    best = max(shares, key=shares.get)
    return f"{best} {shares[best]:.2f}"


if __name__ == "__main__":
    main()
