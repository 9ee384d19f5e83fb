"""``python -m benchmarks.pythae_peer``: autoencoders beside pythae's of the same networks, data and steps.

Dense networks of 512 units, which are pythae's own, with weights drawn by torch's law on both sides; digits, batches of 64, Adam(1e-3).
A figure of each side is the mean over several seeds, with its standard deviation. Variational autoencoders have Bernoulli likelihoods: figures
are their bounds of test data, in nats. The others are judged by the squared error of test data, summed over an image, values in [0, 1]. One
function measures both sides. Needs pythae (``pip install -e ".[bench]"``). Writes ``benchmarks/pythae_peer.json`` and a table; what is in the
file already is not measured again.

Left out: pythae's AdversarialAE, whose posterior is random where kgen's is one code; VQVAE, whose codes follow other averages; VAEGAN, which
weights its players by rules of its own and has no bound.
"""

import json
import pathlib
import statistics

import click
import keras
import numpy as np
import torch
from keras import layers, ops
from pythae import models as pythae

import kgen
from kgen import hybrid, vae

FILE = pathlib.Path(__file__).with_suffix(".json")
WIDTH, LATENT, BATCH, DRAWS = 512, 8, 64, 50


def dense(units, before, activation=None):
    """A dense layer with the weights of ``torch.nn.Linear``: uniform within 1/sqrt(inputs), biases too."""
    law = keras.initializers.RandomUniform(-(before**-0.5), before**-0.5)
    again = keras.initializers.RandomUniform(-(before**-0.5), before**-0.5)
    return layers.Dense(units, activation=activation, kernel_initializer=law, bias_initializer=again)


def networks(size, outputs, scaled):
    """Encoder and decoder; with ``scaled``, of values in [-1, 1] and to logits, as a Bernoulli likelihood wants them."""
    x, z = keras.Input((size,)), keras.Input((LATENT,))
    h = layers.Rescaling(0.5, 0.5)(x) if scaled else x
    code = dense(outputs, WIDTH)(dense(WIDTH, size, "relu")(h))
    encoder = keras.Model(x, _as_log_variance(code) if scaled else code)
    decoder = keras.Model(z, dense(size, WIDTH, None if scaled else "sigmoid")(dense(WIDTH, LATENT, "relu")(z)))
    return {"encoder": encoder, "decoder": decoder}


def _as_log_variance(code):
    """What becomes exp(v/2) where kgen takes softplus of its second half: pythae's encoders give logarithms of variances v."""
    loc, v = code[:, :LATENT], code[:, LATENT:]
    return ops.concatenate([loc, ops.log(ops.expm1(ops.exp(0.5 * v))) - np.log(np.e - 1)], axis=-1)


def variational(kind, **kwargs):
    def made(size):
        return kind((size,), LATENT, observation="bernoulli", **networks(size, 2 * LATENT, True), **kwargs)

    return made


def deterministic(kind, **kwargs):
    return lambda size: kind((size,), LATENT, **networks(size, LATENT, False), **kwargs)


def factor(size):
    """With pythae's discriminator; pythae's encoder sees half of each batch, so that here batches of that size are the same work."""
    z = h = keras.Input((LATENT,))
    before = LATENT
    for _ in range(5):
        h, before = layers.LeakyReLU(0.2)(dense(1000, before)(h)), 1000
    return variational(hybrid.FactorVAE, correlation=2.0, discriminator=keras.Model(z, dense(1, before)(h)))(size)


def vamp(size):
    return variational(vae.VAE, prior=vae.VampPrior((size,), 50))(size)


# Name: kgen's, pythae's class, its options.
CASES = {
    "VAE": (variational(vae.VAE), "VAE", {}),
    "beta-VAE, 4": (variational(vae.VAE, beta=4.0), "BetaVAE", {"beta": 4.0}),
    "beta-TC-VAE, 4": (variational(vae.BetaTCVAE, beta=4.0), "BetaTCVAE", {"beta": 4.0, "use_mss": False}),
    "FactorVAE, 2": (factor, "FactorVAE", {"gamma": 2.0}),
    "IWAE, 10 draws": (variational(vae.IWAE, num_samples=10), "IWAE", {"number_samples": 10}),
    "InfoVAE, 10": (variational(vae.InfoVAE, discrepancy=10.0), "INFOVAE_MMD", {"alpha": 0.0, "lbd": 10.0}),
    "VampPrior, 50": (vamp, "VAMP", {"number_components": 50}),
    "AE": (deterministic(vae.Autoencoder), "AE", {}),
    "WAE, 10": (
        deterministic(vae.WAE, discrepancy=10.0),
        "WAE_MMD",
        {"reg_weight": 10.0, "reconstruction_loss_scale": 0.5},
    ),
}


def bound(x, loc, scale, decode, log_prior, draws):
    """The mean over x (N, D) in [0, 1] of the bound of ``draws`` draws, from 50 or more of them."""
    rng, found = np.random.default_rng(0), []
    for _ in range(DRAWS):
        noise = rng.standard_normal(loc.shape).astype("float32")
        z = loc + scale * noise
        p = np.clip(decode(z).astype("float64"), 1e-7, 1 - 1e-7)
        fit = (x * np.log(p) + (1 - x) * np.log1p(-p)).sum(-1)
        log_q = (-0.5 * noise**2 - np.log(scale)).sum(-1)  # without ln sqrt(2 pi), as the prior
        found.append(fit + log_prior(z) - log_q)
    found = np.reshape(found, (-1, draws, len(x)))
    return float((np.logaddexp.reduce(found, axis=1) - np.log(draws)).mean())


def standard_normal(z):
    return -0.5 * (z**2).sum(-1)


def of_kgen(make, x, test, epochs, seed):
    keras.utils.set_random_seed(seed)
    model = make(x.shape[1])
    varied = not isinstance(model, vae.Autoencoder)
    halves = isinstance(model, hybrid.FactorVAE)
    adam = keras.optimizers.Adam(1e-3)
    model.compile({"vae": adam, "discriminator": keras.optimizers.Adam(1e-3)} if halves else adam)
    batch = BATCH // 2 if halves else BATCH
    # As many steps as the peer takes: of halves of its batches, half of the data.
    rng = np.random.default_rng(seed)
    for _ in range(epochs if halves else 1):
        rows = rng.permutation(len(x))[: len(x) // 2] if halves else np.arange(len(x))
        shown = 2 * x[rows] - 1 if varied else x[rows]
        model.fit(shown, batch_size=batch, epochs=1 if halves else epochs, verbose=0)
    if not varied:
        return float(np.square(model.reconstruct(test) - test).sum(-1).mean())
    predict = lambda network, rows: np.asarray(network.predict(rows, batch_size=512, verbose=0))  # noqa: E731
    parameters = predict(model.encoder, 2 * test - 1)
    loc, scale = parameters[:, :LATENT], np.logaddexp(parameters[:, LATENT:] + np.log(np.e - 1), 0) + 1e-6
    prior = standard_normal
    if isinstance(model.prior, vae.VampPrior):
        points = predict(model.encoder, keras.ops.convert_to_numpy(model.prior.pseudo_inputs))
        prior = mixture(points[:, :LATENT], np.logaddexp(points[:, LATENT:] + np.log(np.e - 1), 0) + 1e-6)
    draws = getattr(model, "num_samples", 1)
    return bound(test, loc, scale, lambda z: 1 / (1 + np.exp(-predict(model.decoder, z))), prior, draws)


def mixture(loc, scale):
    def log_prior(z):
        white = (z[:, None] - loc) / scale
        return np.logaddexp.reduce((-0.5 * white**2 - np.log(scale)).sum(-1), axis=1) - np.log(len(loc))

    return log_prior


def of_pythae(kind, options, x, test, epochs, seed):
    torch.manual_seed(seed)
    kind = getattr(pythae, kind)
    varied = kind not in (pythae.AE, pythae.WAE_MMD)
    configuration = getattr(pythae, f"{kind.__name__}Config", None) or getattr(pythae, f"{kind.__name__}_Config")
    loss = {"reconstruction_loss": "bce"} if varied else {}
    model = kind(configuration(input_dim=(x.shape[1],), latent_dim=LATENT, **loss, **options))
    discriminator = list(model.discriminator.parameters()) if kind is pythae.FactorVAE else []
    own = [p for p in model.parameters() if not any(p is c for c in discriminator)]
    optimizers = [torch.optim.Adam(group, lr=1e-3) for group in (own, discriminator) if group]
    rng, data = np.random.default_rng(seed), torch.from_numpy(x)
    for _ in range(epochs):
        order = rng.permutation(len(x))
        for i in range(0, len(x), BATCH):
            found = model({"data": data[order[i : i + BATCH]]}, dataset_size=len(x))
            for optimizer in optimizers:
                optimizer.zero_grad()
            if discriminator:
                found.autoencoder_loss.backward(inputs=own, retain_graph=True)
                found.discriminator_loss.backward(inputs=discriminator)
            else:
                found.loss.backward()
            for optimizer in optimizers:
                optimizer.step()
    model.eval()

    def decode(z):
        return model.decoder(torch.from_numpy(z)).reconstruction.numpy()

    with torch.inference_mode():
        encoded = model.encoder(torch.from_numpy(test))
        if not varied:
            return float(np.square(decode(encoded.embedding.numpy()) - test).sum(-1).mean())
        loc, scale = encoded.embedding.numpy(), np.exp(0.5 * encoded.log_covariance.numpy())
        prior = standard_normal
        if kind is pythae.VAMP:
            points = model.encoder(model.pseudo_inputs(model.idle_input))
            prior = mixture(points.embedding.numpy(), np.exp(0.5 * points.log_covariance.numpy()))
        return bound(test, loc, scale, decode, prior, options.get("number_samples", 1))


def table(found):
    yield "| | figure | kgen | pythae | difference, in standard deviations of a run |"
    yield "|---|---|---|---|---|"
    for name, sides in found.items():
        ours, theirs = (list(sides[side].values()) for side in ("kgen", "pythae"))
        spread = statistics.mean([statistics.variance(ours), statistics.variance(theirs)]) ** 0.5
        apart = (statistics.mean(ours) - statistics.mean(theirs)) / spread
        cells = [f"{statistics.mean(side):.2f} ± {statistics.stdev(side):.2f}" for side in (ours, theirs)]
        kind = "squared error" if name in ("AE", "WAE, 10") else "bound, nats"
        yield f"| {name} | {kind} | {cells[0]} | {cells[1]} | {apart:+.1f} |"


@click.command()
@click.option("--seeds", type=click.IntRange(2), default=3, show_default=True)
@click.option("--epochs", default=100, show_default=True)
@click.option("--only", default="", help="Names of rows, separated by semicolons.")
def main(seeds, epochs, only):
    """Trains each autoencoder with each seed on both sides and prints the table."""
    x, test = ((kgen.data.load("digits", split=s)[0].reshape(-1, 64) + 1) / 2 for s in ("train", "test"))
    found = json.loads(FILE.read_text()) if FILE.exists() else {}
    for name in only.split(";") if only else CASES:
        make, kind, options = CASES[name]
        runs = found.setdefault(name, {"kgen": {}, "pythae": {}})
        for seed in map(str, range(seeds)):
            if seed not in runs["kgen"] or seed not in runs["pythae"]:
                if seed not in runs["kgen"]:
                    runs["kgen"][seed] = of_kgen(make, x, test, epochs, int(seed))
                if seed not in runs["pythae"]:
                    runs["pythae"][seed] = of_pythae(kind, options, x, test, epochs, int(seed))
                click.echo(f"{name}, seed {seed}: {runs['kgen'][seed]:.3f}, pythae {runs['pythae'][seed]:.3f}")
                FILE.write_text(json.dumps(found, indent=1) + "\n")
    for line in table(found):
        click.echo(line)


if __name__ == "__main__":
    main()
