"""``python -m benchmarks.grid``: what losses and remedies of GANs keep of 25 modes.

Plain dense networks, the same for all, on the grid of 25 Gaussians of ``recipes/gan_grid.py``, one step of each player a batch, the same
batches and optimizers; what differs is the loss, the penalty, or what the row's name says. The last row has the recipe's own networks. Each with
three seeds. Writes ``benchmarks/grid.json`` and a table; what is in the file already is not measured again. KERAS_BACKEND names the backend.
"""

import json
import pathlib
import statistics
import time

import click
import keras
from keras import layers

import kgen
from kgen import gan
from kgen.recipes import gan_grid

FILE = pathlib.Path(__file__).with_suffix(".json")
LATENT, WIDTH, BATCH, ROWS = 10, 128, 256, 200_000


def discriminator(minibatch=False):
    """Three dense layers; with ``minibatch``, the last sees how near the other rows are."""
    x = h = keras.Input((2,))
    for _ in range(3):
        h = layers.Dense(WIDTH, activation="leaky_relu")(h)
    if minibatch:
        h = kgen.layers.MinibatchDiscrimination(32, 5)(h)
    return keras.Model(x, layers.Dense(1)(h))


def spectral():
    return gan.Discriminator((2,), (WIDTH,) * 3, spectral=True)


def make(kind=gan.GAN, discriminator=discriminator, faster=1.0, **kwargs):
    """A function of the number of steps that makes the model; its discriminator learns ``faster`` times as fast as its generator."""

    def made(steps):
        generator = gan.Generator(LATENT, (2,), widths=(WIDTH,) * 3)
        model = kind((2,), LATENT, generator=generator, discriminator=discriminator(), ema=0.999, **kwargs)

        def adam(learning_rate):
            learning_rate = keras.optimizers.schedules.CosineDecay(learning_rate, steps)
            return keras.optimizers.Adam(learning_rate, beta_1=0.0, beta_2=0.99)

        jit_compile = keras.config.backend() != "torch"
        model.compile({"generator": adam(1e-3), "discriminator": adam(1e-3 * faster)}, jit_compile=jit_compile)
        return model

    return made


def plain(**kwargs):
    return make(**{"adversarial_loss": "non_saturating", **kwargs})


MODELS = {
    "GAN, minimax": make(adversarial_loss="minimax"),
    "GAN, non-saturating": plain(),
    "least squares": make(adversarial_loss="least_squares"),
    "hinge": make(adversarial_loss="hinge"),
    "WGAN": make(gan.WGAN, n_critic=1),
    "WGAN-GP": make(gan.WGANGP, n_critic=1, gradient_penalty=0.1),  # the paper's weight for toy data
    "SNGAN": make(gan.SNGAN, spectral),
    "R1": plain(regularizers=gan.R1(1.0)),
    "relativistic, R1, R2": make(adversarial_loss="relativistic", regularizers=[gan.R1(1.0), gan.R2(1.0)]),
    "DRAGAN": plain(regularizers=gan.DRAGAN(1.0, scale=0.1)),
    "LeCam": plain(regularizers=gan.LeCam(0.3)),
    "unrolled, 5 steps": plain(unrolled=gan.Unrolling(5, 0.05)),
    "minibatch discrimination": plain(discriminator=lambda: discriminator(minibatch=True)),
    "two time scales": plain(faster=4.0),
    "gan_grid, the recipe": gan_grid.make,
}


def measured(make, seed, epochs):
    """Modes, share of good samples and seconds of training, compilation included."""
    density = kgen.data.TOYS["gaussian_grid"]()
    x = density.sample(ROWS, seed=0)
    keras.utils.set_random_seed(seed)
    model = make(epochs * -(-len(x) // BATCH))
    start = time.perf_counter()
    model.fit(x, epochs=epochs, batch_size=BATCH, verbose=0)
    seconds = time.perf_counter() - start
    samples = model.sample(10_000, seed=seed, batch_size=10_000)
    found = kgen.metrics.mode_coverage(samples, density.modes, density.scale)
    return {"modes": found["modes"], "share": round(found["share"], 4), "seconds": round(seconds, 1)}


def table(found):
    yield "| | modes, each seed | share of good samples | seconds |"
    yield "|---|---|---|---|"
    for name, runs in found.items():
        modes, shares, seconds = ([r[key] for r in runs.values()] for key in ("modes", "share", "seconds"))
        yield (
            f"| {name} | {', '.join(map(str, modes))} | {min(shares):.3f} to {max(shares):.3f} | {statistics.median(seconds):.0f} |"
        )


@click.command()
@click.option("--seeds", default=3, show_default=True)
@click.option("--epochs", default=5, show_default=True, help="Of 200,000 examples.")
@click.option("--only", default="", help="Names of rows, separated by semicolons.")
def main(seeds, epochs, only):
    """Trains each model with each seed and prints the table."""
    found = json.loads(FILE.read_text()) if FILE.exists() else {}
    for name in only.split(";") if only else MODELS:
        runs = found.setdefault(name, {})
        for seed in range(seeds):
            if str(seed) not in runs:
                runs[str(seed)] = measured(MODELS[name], seed, epochs)
                click.echo(f"{name}, seed {seed}: {runs[str(seed)]}")
                FILE.write_text(json.dumps(found, indent=1) + "\n")
    for line in table(found):
        click.echo(line)


if __name__ == "__main__":
    main()
