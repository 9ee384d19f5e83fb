"""A variational autoencoder of 8x8 digits, and a mixture of Gaussians of its codes to sample from: about three minutes on two cores."""

import time

import keras
import numpy as np

import kgen


def main(
    data="digits", epochs=150, batch_size=64, seed=0, out="saved_models/vae_digits", image_size=None, resume=False
):
    keras.utils.set_random_seed(seed)

    x, _ = kgen.data.load(data, split="train", image_size=image_size)
    x_test, _ = kgen.data.load(data, split="test", image_size=image_size)

    # Pixels of the digits have 17 levels; their likelihood is then a probability, and bits/dim mean what they say.
    levels = 17 if data == "digits" else 256
    observation = kgen.vae.DiscretizedLogisticLikelihood(components=3, levels=levels)
    model = kgen.vae.VAE(x.shape[1:], latent_dim=12, observation=observation, kl_warmup=1000, ema=0.995)
    steps = epochs * -(-len(x) // batch_size)
    learning_rate = keras.optimizers.schedules.CosineDecay(2e-3, steps)
    model.compile(optimizer=keras.optimizers.AdamW(learning_rate, weight_decay=1e-3))

    stop = kgen.callbacks.GracefulStop()  # Ctrl-C ends training; the rest still runs
    checkpoint = kgen.callbacks.Checkpoint(f"{out}/checkpoints", every=200, resume=resume)  # kgen train --resume
    start = time.perf_counter()
    history = model.fit(
        x, epochs=epochs, batch_size=batch_size, validation_data=(x_test,), callbacks=[stop, checkpoint]
    )
    train_seconds = time.perf_counter() - start

    # The decoder knows the codes of digits, and a standard normal draws many that are none. So what is sampled, saved and served draws
    # from a mixture that is fitted to the codes, eight draws of each example's posterior: of one, it fits the draws. It takes seconds.
    components = min(30, max(1, len(x) // 30))
    refit = kgen.hybrid.PriorRefit(model, kgen.vae.GaussianMixture(model.latent_shape, components))
    refit.fit(np.repeat(x, 8, axis=0))

    run = kgen.Run(out)
    run.save_model(refit)
    run.save_preset(refit, dtype="float16")  # half the size, the same figures
    run.save_facts(refit, x_test, log_prob={"num_samples": 50})  # what kgen demo shows of the data
    run.save_curves(history)
    run.save_samples(refit.sample(64, seed=0))
    run.save_picture("standard_normal", model.sample(64, seed=0))
    # A row from one test image to another; a row for each latent coordinate of one of them.
    half = min(8, len(x_test) // 2)
    between = model.interpolate(x_test[:half], x_test[half : 2 * half], steps=10)
    run.save_picture("interpolations", between.reshape(-1, *x.shape[1:]), columns=10)
    run.save_picture("traversals", model.traverse(x_test[0], steps=9).reshape(-1, *x.shape[1:]), columns=9)

    figures, normal = {}, {}
    if data in kgen.metrics.classifiers():
        classifier = kgen.metrics.load_classifier(data)
        figures, normal = (
            kgen.metrics.fidelity_report(m.sample(len(x), seed=1), train=x, test=x_test, extractor=classifier)
            for m in (refit, model)
        )
    for found, m in ((figures, refit), (normal, model)):
        bits = kgen.core.bits_per_dim(m.log_prob(x_test, num_samples=200), x.shape[1:])
        found["bits_per_dim"] = {
            "value": float(bits.mean()),
            "unit": f"bits/dim, upper bound of 200 importance samples, {levels} levels",
            "samples": len(x_test),
            "standard_error": float(bits.std() / len(bits) ** 0.5),
        }
    figures |= {f"standard_normal_{name}": figure for name, figure in normal.items()}
    elbo = model.evaluate(x_test, verbose=0, return_dict=True)
    figures["elbo"] = {"value": -elbo["loss"], "unit": "nats per example", "samples": len(x_test)}
    figures["kl"] = {"value": elbo["kl"], "unit": "nats per example", "samples": len(x_test)}
    run.save_metrics(
        figures,
        data=data,
        seed=seed,
        epochs=stop.epochs,
        interrupted=stop.interrupted,
        batch_size=batch_size,
        parameters=model.encoder.count_params() + model.decoder.count_params(),
        final_loss=history.history["loss"][-1],
        train_seconds=round(train_seconds, 1),
    )
    run.write_card(
        f"A variational autoencoder of {data} with 12 latent dimensions and a mixture of discretised logistics as likelihood. "
        f"Its prior is a mixture of {components} Gaussians with full covariances, fitted to the codes of the training images after "
        "training; figures of the standard normal that it was trained with stand beside, and standard_normal.png shows its samples. "
        "Samples are the means of p(x | z), in [-1, 1]."
    )
    run.export(refit)
    if not stop.interrupted:
        checkpoint.clear()


if __name__ == "__main__":
    main()
