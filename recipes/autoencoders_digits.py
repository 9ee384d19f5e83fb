"""Fifteen autoencoders of 8x8 digits on the same network, code and steps, side by side: half an hour in all beside other work."""

import shutil
import time

import keras
import numpy as np
from keras import layers, ops

import kgen

CODE = 12  # numbers; of the models of integer codes 4 vectors of 3
SAMPLES = 1000


def models(x, labels=None):
    """Dict from a model's name to what makes it, with two hidden layers of 256 on both sides."""
    shape = x.shape[1:]

    def made(kind, size, **kwargs):
        encoder, decoder = kgen.networks.MLP(shape, (size,)), kgen.networks.MLP((CODE,), shape)
        return kind(shape, CODE, encoder=encoder, decoder=decoder, **kwargs)

    def point(kind, **kwargs):
        return lambda: made(kind, CODE, **kwargs)

    def gaussian(kind, **kwargs):
        return lambda: made(kind, 2 * CODE, **kwargs)

    def vamp():
        model = made(kgen.vae.VAE, 2 * CODE, prior=kgen.vae.VampPrior(shape, 50))
        model.prior.pseudo_inputs.assign(np.resize(x, (50, *shape)))
        return model

    def integers(quantizer):
        encoder, decoder = kgen.networks.MLP(shape, (4, 3)), kgen.networks.MLP((4, 3), shape)
        return lambda: kgen.vae.VQVAE(shape, encoder=encoder, decoder=decoder, quantizer=quantizer)

    found = {
        "AE": point(kgen.vae.Autoencoder),
        "denoising": point(kgen.vae.DenoisingAutoencoder),
        "sparse": point(kgen.vae.SparseAutoencoder),
        "contractive": point(kgen.vae.ContractiveAutoencoder),
        "VAE": gaussian(kgen.vae.VAE),
        "beta-VAE": gaussian(kgen.vae.VAE, beta=4.0),
        "beta-TC-VAE": gaussian(kgen.vae.BetaTCVAE),
        "FactorVAE": gaussian(kgen.hybrid.FactorVAE),
        "conditional": lambda: conditional(shape, int(labels.max()) + 1),
        "WAE": point(kgen.vae.WAE),
        "adversarial": point(kgen.hybrid.AdversarialAutoencoder, adversarial=1.0),
        "IWAE": gaussian(kgen.vae.IWAE),
        "VampPrior": vamp,
        "FSQ": integers(kgen.layers.FiniteScalarQuantizer((8, 6, 5))),
        "VQ": integers(kgen.layers.VectorQuantizer(256, 3)),
    }
    if labels is None:
        del found["conditional"]
    return found


def conditional(shape, classes):
    """A VAE given the label, which stands behind x and z as a one-hot vector."""
    x, z, label = keras.Input(shape), keras.Input((CODE,)), keras.Input((), dtype="int32")
    known = ops.one_hot(label, classes)
    seen = ops.concatenate([layers.Flatten()(x), known], axis=-1)
    encoder = keras.Model([x, label], kgen.networks.MLP(seen.shape[1:], (2 * CODE,))(seen))
    both = ops.concatenate([z, known], axis=-1)
    decoder = keras.Model([z, label], kgen.networks.MLP(both.shape[1:], shape)(both))
    return kgen.vae.ConditionalVAE(shape, CODE, num_classes=classes, encoder=encoder, decoder=decoder)


def optimizer(model, steps):
    def decaying(rate):
        return keras.optimizers.schedules.CosineDecay(rate, steps)

    own = keras.optimizers.AdamW(decaying(2e-3), weight_decay=1e-3)
    if not hasattr(model, "discriminator"):
        return own
    # A discriminator that goes on at full speed while the encoder slows down wins, and the codes are then its alone.
    return {"vae": own, "discriminator": keras.optimizers.Adam(decaying(5e-4), beta_1=0.5, beta_2=0.9)}


def has_prior(model):
    return getattr(model, "has_prior", True)


def of_code(model, x, given):
    """What reconstructions and codes of test examples say: ``(reconstructions, figures)``."""
    again, codes = model.reconstruct(x, **given), model.encode(x, **given)
    error, psnr = kgen.metrics.reconstruction_error(x, again), kgen.metrics.peak_signal_to_noise_ratio(x, again)
    found = {"mean_squared_error": mean(error, "of values in [-1, 1]"), "psnr": mean(psnr, "dB")}
    if model.likelihood == "bound":
        for name, draws in (("elbo", 1), ("log_prob", 100)):
            nats = model.log_prob(x, num_samples=draws, **given)
            found[name] = mean(nats, f"nats per test example, bound of {draws} importance samples")
    if codes.dtype.kind == "i":
        used, unit = len(np.unique(codes)), f"codes of {model.num_codes} that test examples are given"
    else:
        variance, alone = codes.var(axis=0), not has_prior(model)  # alone, codes have no unit
        used = int((variance > 0.01 * (variance.max() if alone else 1.0)).sum())
        unit = f"of {CODE}, of a variance above 0.01{' of the largest' if alone else ''}"
    return again, {**found, "active_units": {"value": used, "unit": unit, "samples": len(x)}}


def mean(values, unit):
    error = float(values.std() / len(values) ** 0.5)
    return {"value": float(values.mean()), "unit": unit, "samples": len(values), "standard_error": error}


COLUMNS = {
    "mean_squared_error": ("squared error", ".4f"),
    "psnr": ("PSNR", ".1f"),
    "frechet_distance": ("Fréchet distance", ".1f"),
    "mixture_frechet_distance": ("with the mixture", ".1f"),
    "elbo": ("ELBO", ".1f"),
    "log_prob": ("of 100 samples", ".1f"),
    "active_units": ("active", "d"),
}


def table(found, seconds):
    """Markdown: a row for each model."""
    heads = ["model", *(head for head, _ in COLUMNS.values()), "seconds"]
    lines = [heads, ["---"] * len(heads)]
    for name, figures in found.items():
        cells = (format(figures[k]["value"], how) if k in figures else "-" for k, (_, how) in COLUMNS.items())
        lines.append([name, *cells, f"{seconds[name]:.0f}"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main(
    data="digits",
    epochs=150,
    batch_size=64,
    seed=0,
    out="saved_models/autoencoders_digits",
    image_size=None,
    resume=False,
):
    x, y = kgen.data.load(data, split="train", image_size=image_size)
    x_test, y_test = kgen.data.load(data, split="test", image_size=image_size)
    classifier = kgen.metrics.load_classifier(data) if data in kgen.metrics.classifiers() else None
    count, steps = min(SAMPLES, len(x)), epochs * -(-len(x) // batch_size)

    stop = kgen.callbacks.GracefulStop()  # Ctrl-C ends training; the rest still runs
    found, pairs, seconds = {}, {}, {}
    pictures = {"samples": {}, "mixture": {}, "reconstructions": {"data": x_test[:16]}}
    for name, make in models(x, y).items():
        keras.utils.set_random_seed(seed)
        model = make()
        model.compile(optimizer(model, steps))
        checkpoint = kgen.callbacks.Checkpoint(f"{out}/checkpoints/{name}", every=1000, resume=resume)
        labelled = len(model.conditions) > 0
        start = time.perf_counter()
        model.fit(
            x, y if labelled else None, epochs=epochs, batch_size=batch_size, verbose=2, callbacks=[stop, checkpoint]
        )
        seconds[name] = round(time.perf_counter() - start, 1)

        # A second prior, and the first one of those that have none: ten Gaussians (Ghosh et al. 2020) of the codes.
        mixture = kgen.vae.GaussianMixture(model.latent_shape, min(10, len(x) // 8))
        pairs[name] = kgen.hybrid.PriorRefit(model, mixture)
        pairs[name].fit({"image": x, "label": y} if labelled else x)

        given, wanted = ({"labels": y_test}, {"labels": y[:count]}) if labelled else ({}, {})
        pictures["reconstructions"][name], found[name] = of_code(model, x_test, given)
        for figure, m in (("mixture_frechet_distance", pairs[name]), ("frechet_distance", model)):
            if m is pairs[name] or has_prior(model):
                drawn = m.sample(count, seed=1, **wanted)
                pictures["mixture" if m is pairs[name] else "samples"][name] = drawn
                if classifier is not None:
                    report = kgen.metrics.fidelity_report(drawn, train=x, test=x_test, extractor=classifier)
                    found[name][figure] = report["frechet_distance"]
        if not has_prior(model):
            pictures["samples"][f"{name}, mixture"] = drawn
        if stop.interrupted:
            break

    run = kgen.Run(out)
    judged = "mean_squared_error" if classifier is None else "mixture_frechet_distance"
    best = min((name for name in pairs if name != "conditional"), key=lambda name: found[name][judged]["value"])
    run.save_model(pairs[best])
    run.save_preset(pairs[best], dtype="float16")  # half the size, the same figures
    run.save_facts(pairs[best], x_test)  # what kgen demo shows of the data
    for name, rows in pictures.items():
        columns = min(16, len(x_test))
        run.save_picture(name, np.concatenate([r[:columns] for r in rows.values()]), columns, names=list(rows))
    figures = {f"{name}_{k}": figure for name, figures in found.items() for k, figure in figures.items()}
    run.save_metrics(
        figures,
        data=data,
        seed=seed,
        epochs=epochs,
        steps=steps,
        interrupted=stop.interrupted,
        batch_size=batch_size,
        saved=best,
        seconds=seconds,
    )
    floor = "" if classifier is None else f" (floor {figures['AE_mixture_frechet_distance']['floor']:.1f})"
    run.write_card(
        f"Autoencoders of {data}, {steps} steps each on the same network, of two hidden layers of 256 on both sides, with codes of {CODE} "
        "numbers: for FSQ and VQ 4 vectors of 3, of 240 and 256 codes. Fréchet distances"
        f"{floor} are of {count} samples: from the model's own prior, which of FSQ and VQ is the frequency of each code by itself, and "
        "from a mixture of ten Gaussians that was fitted to the training images' codes, before they are rounded to integers where they are. "
        "ELBO and the bound of 100 importance samples are in nats per test image; of the conditional model given its label. Errors are "
        "those of posterior means, of values in [-1, 1]. Active are coordinates of the code whose variance over test images is above 0.01, "
        "where there is no prior above 0.01 of the largest one's; or the integer codes in use. reconstructions.png, samples.png and "
        "mixture.png have a row for each model; the one saved is that of the lowest distance with its mixture among those that take no "
        f"labels, {best}.\n\n{table(found, seconds)}"
    )
    run.export(pairs[best])
    if not stop.interrupted:
        shutil.rmtree(f"{out}/checkpoints")


if __name__ == "__main__":
    main()
