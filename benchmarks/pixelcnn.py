"""What PixelCNN's cached sampling saves: ``python -m benchmarks.pixelcnn`` prints milliseconds per image beside naive sampling."""

import time

import click
import keras
import numpy as np

from benchmarks import weights
from kgen.autoregressive import PixelCNN

IMAGE = (28, 28, 1)


def measure(batch, rounds):
    """Seconds per call of ``sample``: numpy (rounds, 2), cached and naive in turn."""
    model = PixelCNN(IMAGE, channels=32, blocks=3, components=5, ema=None)
    weights.randomise(model.network)
    seconds = np.zeros((rounds + 1, 2))
    for i in range(rounds + 1):  # the first round compiles
        images = []
        for k, cached in enumerate((True, False)):
            start = time.perf_counter()
            images.append(model.sample(batch, seed=i, cached=cached))
            seconds[i, k] = time.perf_counter() - start
        same = (images[0] == images[1]).mean()
        click.echo(f"round {i}: {seconds[i, 0]:.2f} s cached, {seconds[i, 1]:.2f} s naive, {same:.2%} of pixels equal")
    return seconds[1:]


@click.command()
@click.option("--batch", type=click.IntRange(min=1), default=1, show_default=True, help="Images per call.")
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="After one that compiles.")
def main(batch, rounds):
    """Samples 28x28 images both ways in turn and prints the medians."""
    seconds = measure(batch, rounds)
    cached, naive = 1000 * np.median(seconds, axis=0) / batch
    ratio = np.median(seconds[:, 1] / seconds[:, 0])
    click.echo(
        f"{keras.config.backend()}, batch {batch}: {cached:.1f} ms per image cached, {naive:.1f} ms naive, {ratio:.0f} times faster"
    )


if __name__ == "__main__":
    main()
