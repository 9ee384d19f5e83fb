"""Pictures of samples while a model trains."""

import pathlib

import keras

from kgen.core import checks, pictures


class SampleGrid(keras.callbacks.Callback):
    """Writes a grid of samples to ``folder/epoch_0001.png``, ``epoch_0002.png`` ... while a model trains.

    The seed is the same each time, so that the pictures show the same samples getting better.

    Args:
        folder: where the pictures go; made if it is not there.
        n: number of samples.
        every: epochs between pictures.
        seed: int, the samples' seed.
        **kwargs: passed to ``model.sample``, such as ``labels=``, ``steps=``.
    """

    def __init__(self, folder, n=16, *, every=1, seed=0, **kwargs):
        super().__init__()
        self.folder = pathlib.Path(folder)
        self.n, self.every = checks.positive_int("n", n), checks.positive_int("every", every)
        self.seed, self.kwargs = seed, kwargs

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every == 0:
            images = self.model.sample(self.n, seed=self.seed, **self.kwargs)
            pictures.save_grid(images, self.folder / f"epoch_{epoch + 1:04d}.png")
