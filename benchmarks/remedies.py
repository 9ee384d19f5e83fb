"""``python -m benchmarks.remedies``: what a GAN's remedies add to its training step: R1 at each step and at every 16th, ADA's augmentations.

One GAN with the same networks and data, each remedy alone; rounds go through all of them in turn, and what is given are the medians of each
round's ratios to the step without a remedy. kgen runs on the backend that KERAS_BACKEND names.
"""

import os
import statistics
import time

import click
import keras

from benchmarks import machine, sizes
from benchmarks.langevin import PAUSE
from benchmarks.timing import FitJob
from kgen.gan import ADA, DCGAN, R1, Discriminator, StyleGAN2

LAZY = 16
REMEDIES = {
    "none": {},
    "R1": {"regularizers": R1(1.0)},
    f"R1, every {LAZY}": {"regularizers": R1(1.0, every=LAZY)},
    "ADA": {"augmentation": ADA()},
}


def dcgan(**kwargs):
    """With a discriminator that normalises spectra: R1 is of each example, and BatchNormalization mixes them."""
    discriminator = Discriminator(sizes.VAE_IMAGE, sizes.GAN_WIDTHS, spectral=True)
    kwargs = {"discriminator": discriminator, "ema": None, **kwargs}
    return sizes.VAE_IMAGE, DCGAN(sizes.VAE_IMAGE, sizes.GAN_LATENT, widths=sizes.GAN_WIDTHS, **kwargs)


def stylegan2(**kwargs):
    """That of ``recipes/stylegan2_emoji.py``, without its own regularisers."""
    kwargs = {"regularizers": (), "generator_regularizers": (), **kwargs}
    shape = sizes.STYLE_IMAGE
    return shape, StyleGAN2(shape, sizes.STYLE_LATENT, width=96, depth=sizes.STYLE_DEPTH, ema=None, **kwargs)


def job(model, remedy, batch, steps):
    shape, gan = model(**REMEDIES[remedy])
    gan.compile()
    return FitJob(gan, sizes.images((steps + 1) * batch, shape), batch)


@click.command()
@click.option("--model", type=click.Choice(["dcgan", "stylegan2"]), default="dcgan", show_default=True)
@click.option("--batch", default=64, show_default=True)
@click.option("--rounds", default=5, show_default=True, help="Repetitions of each.")
def main(model, batch, rounds):
    """Measures R1, lazy R1 and ADA on this machine's CPU. Run it on a machine that does nothing else."""
    make = {"dcgan": dcgan, "stylegan2": stylegan2}[model]
    click.echo(machine.describe(len(os.sched_getaffinity(0))))
    click.echo(f"{model}, batch {batch}, on {keras.config.backend()}: {rounds} rounds of {LAZY} steps")
    jobs = {name: job(make, name, batch, LAZY) for name in REMEDIES}
    for each in jobs.values():
        each(LAZY)  # compiles, the step of a penalty and the one without
    seconds = {name: [] for name in jobs}
    names = list(jobs)
    for r in range(rounds):
        for name in names[r % len(names) :] + names[: r % len(names)]:
            time.sleep(PAUSE)
            seconds[name].append(jobs[name](LAZY))
    added = {
        name: statistics.median(a / b - 1 for a, b in zip(values, seconds["none"], strict=True))
        for name, values in seconds.items()
    }
    for name, values in seconds.items():
        click.echo(f"{name:14s} {1000 * statistics.median(values):8.1f} ms per step, {100 * added[name]:+6.1f} %")
    share = added[f"R1, every {LAZY}"] / added["R1"]
    click.echo(
        f"R1 at every {LAZY}th step costs {share:.2f} of what R1 at each costs; ADA {100 * added['ADA']:.1f} % of a step."
    )


if __name__ == "__main__":
    main()
