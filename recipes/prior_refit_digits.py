"""Four priors of one trained VAE of digits: the standard normal, a mixture of Gaussians, a flow and a second VAE."""

import time

import keras
import numpy as np

import kgen


def main(
    data="digits",
    epochs=20,
    batch_size=256,
    seed=0,
    out="saved_models/prior_refit_digits",
    image_size=None,
    resume=False,
):
    keras.utils.set_random_seed(seed)
    x, _ = kgen.data.load(data, split="train", image_size=image_size)
    x_test, _ = kgen.data.load(data, split="test", image_size=image_size)
    if data == "digits":
        vae = kgen.load("vae_digits").autoencoder  # the pretrained one, with the standard normal
    else:
        vae = kgen.vae.VAE(x.shape[1:], latent_dim=12, ema=0.995)
        vae.compile(keras.optimizers.Adam(2e-3))
        checkpoint = kgen.callbacks.Checkpoint(f"{out}/checkpoints", every=200, resume=resume)  # kgen train --resume
        vae.fit(x, epochs=epochs, batch_size=batch_size, callbacks=[checkpoint])
        checkpoint.clear()

    shape, d = vae.latent_shape, vae.latent_dim
    encoder, decoder = kgen.networks.MLP(shape, (2 * d,)), kgen.networks.MLP(shape, shape)
    priors = {
        "mixture": kgen.vae.GaussianMixture(shape, min(40, max(1, len(x) // 30))),
        "flow": kgen.flow.RealNVP(shape, couplings=6, widths=(64, 64), dropout=0.1, ema=0.99),
        "second_vae": kgen.vae.VAE(shape, d, encoder=encoder, decoder=decoder, kl_warmup=200, ema=0.99),
    }
    models = {"standard_normal": vae, **{name: kgen.hybrid.PriorRefit(vae, prior) for name, prior in priors.items()}}

    # Ten draws of each example's posterior: no prior is to close in on one code.
    many = np.repeat(x, 10, axis=0)
    figures, seconds = {}, {}
    for name, model in models.items():
        start = time.perf_counter()
        if name == "mixture":
            model.fit(many)
        elif name != "standard_normal":
            steps = epochs * -(-len(many) // batch_size)
            learning_rate = keras.optimizers.schedules.CosineDecay(2e-3, steps)
            model.compile(keras.optimizers.Adam(learning_rate, clipnorm=10.0))
            model.fit(many, epochs=epochs, batch_size=batch_size, verbose=2)
        seconds[name] = round(time.perf_counter() - start, 1)
        if data in kgen.metrics.classifiers():
            classifier = kgen.metrics.load_classifier(data)
            samples = model.sample(len(x), seed=1)
            report = kgen.metrics.fidelity_report(samples, train=x, test=x_test, extractor=classifier)
            for figure in ("frechet_distance", "recall", "coverage", "confidence"):
                figures[f"{name}_{figure}"] = report[figure]
        nats = model.log_prob(x_test, num_samples=100)
        figures[f"{name}_log_prob"] = {
            "value": float(nats.mean()),
            "unit": "nats per test example, lower bound of 100 importance samples",
            "samples": len(x_test),
            "standard_error": float(nats.std() / len(nats) ** 0.5),
        }

    run = kgen.Run(out)
    run.save_model(models["mixture"])
    run.save_preset(models["mixture"], dtype="float16")  # half the size, the same figures
    run.save_facts(models["mixture"], x_test, log_prob={"num_samples": 50})  # what kgen demo shows of the data
    # A row of samples of each prior, in the order of the table.
    rows = np.concatenate([model.sample(16, seed=0) for model in models.values()])
    run.save_picture("samples", rows, columns=16)
    run.save_metrics(figures, data=data, seed=seed, epochs=epochs, batch_size=batch_size, seconds=seconds)
    run.write_card(
        f"Priors of one VAE of {data}, each fitted to draws of its posteriors when it was done: a mixture of Gaussians with full "
        "covariances, a flow and a second VAE, beside the standard normal that it was trained with. samples.png has a row of each, in "
        "that order; the model is the pair with the mixture."
    )
    run.export(models["mixture"])


if __name__ == "__main__":
    main()
